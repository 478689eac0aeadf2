// Whether the transform fails for good or only now and then. Control thread.

/// Notices that every frame fails. A value without a clock: times are what the caller says.
struct FailureWatch {
    /// For so long, in nanoseconds, everything has to fail.
    static let lastingNanoseconds: Int64 = 1_000_000_000

    /// Whether nothing but failures has come for so long.
    private(set) var isLasting = false
    private var failed: UInt64 = 0
    private var useful: UInt64 = 0
    // When the first failure was noticed that nothing useful has followed.
    private var start: Int64?

    /// Takes note of what has come since the last time.
    ///
    /// - Parameters:
    ///   - failed: frames without a usable result so far.
    ///   - useful: frames with one so far.
    mutating func follow(failed: UInt64, useful: UInt64, at now: Int64) {
        defer { (self.failed, self.useful) = (failed, useful) }
        if useful != self.useful {
            start = nil
        } else if failed != self.failed {
            start = start ?? now
        }
        isLasting = start.map { now - $0 >= Self.lastingNanoseconds } ?? false
    }
}
