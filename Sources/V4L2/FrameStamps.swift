// Makes timestamps and sequence numbers of drivers trustworthy. Capture thread.

/// Replaces capture timestamps that cannot be right by the time of arrival.
struct TimestampGuard {
    /// A frame older than this at dequeue was not captured then: some drivers stamp with another
    /// clock that happens to be close. A live camera's frame is at most a few intervals old.
    static let ageMaxNanoseconds: Int64 = 1_000_000_000

    /// How many were replaced.
    private(set) var replaced: UInt64 = 0
    private var last = Int64.min

    /// - Parameters:
    ///   - timestamp: the driver's, in nanoseconds.
    ///   - isMonotonic: whether the driver says that it is `CLOCK_MONOTONIC`.
    ///   - now: `CLOCK_MONOTONIC` at dequeue.
    /// - Returns: a time not in the future, not too old and never before the previous frame's.
    mutating func accept(_ timestamp: Int64, isMonotonic: Bool, now: Int64) -> Int64 {
        let isSane =
            isMonotonic && timestamp <= now && timestamp >= now - Self.ageMaxNanoseconds
            && timestamp > last
        if !isSane { replaced += 1 }
        last = isSane ? timestamp : max(now, last)
        return last
    }
}

/// Extends the driver's 32-bit frame count and counts the frames that the driver lost.
struct SequenceCounter {
    /// Frames missing between those that arrived.
    private(set) var lost: UInt64 = 0
    private var lastRaw: UInt32?
    private var extended: UInt64 = 0

    /// The 64-bit sequence number of a frame that the driver numbered `raw`.
    mutating func accept(_ raw: UInt32) -> UInt64 {
        defer { lastRaw = raw }
        guard let lastRaw else {
            extended = UInt64(raw)
            return extended
        }
        let step = raw &- lastRaw
        // Not counting at all, or counting anew after a restart: the next number is as good as any.
        guard step != 0, step < 1 << 31 else {
            extended += 1
            return extended
        }
        lost += UInt64(step) - 1
        extended += UInt64(step)
        return extended
    }
}
