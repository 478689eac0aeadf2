// Whether the transform fails for good or only now and then. Control thread.

/// Notices that every frame fails. A value without a clock: times are what the caller says.
struct FailureWatch {
    /// For so long, in nanoseconds, everything has to fail.
    static let lastingNanoseconds: Int64 = 1_000_000_000

    /// Whether nothing but failures, and more than one, has come for so long.
    private(set) var isLasting = false
    private var failed: UInt64 = 0
    private var useful: UInt64 = 0
    // When the first failure was noticed that nothing useful has followed, and how many there were before.
    private var start: (time: Int64, failed: UInt64)?

    /// Takes note of what has come since the last time.
    ///
    /// - Parameters:
    ///   - failed: frames without a usable result so far.
    ///   - useful: frames with one so far.
    ///   - isLive: whether frames come at all.
    mutating func follow(failed: UInt64, useful: UInt64, isLive: Bool, at now: Int64) {
        if useful != self.useful || !isLive {
            start = nil
        } else if failed != self.failed {
            start = start ?? (now, self.failed)
        }
        (self.failed, self.useful) = (failed, useful)
        isLasting =
            start.map { now - $0.time >= Self.lastingNanoseconds && failed > $0.failed + 1 }
            ?? false
    }
}
