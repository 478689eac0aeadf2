// Timestamps that every container accepts, from those of a camera.

internal import Video

/// Time in ticks of `ticksPerSecond` since the first frame, growing by a millisecond at least. Sink
/// thread only.
struct OutputClock {
    static let gapNanosecondsMax: Int64 = 3_600_000_000_000

    /// Ticks from one frame to the next at the nominal rate.
    let interval: Int64
    private let intervalNanoseconds: Int64
    // The frame time that counts as 0; nil before the first frame.
    private var origin: Int64?
    private var previousNanoseconds: Int64 = 0
    private var previous: Int64 = 0

    init(rate: FrameRate) {
        intervalNanoseconds = max(1_000_000, rate.intervalNanoseconds)
        interval = Self.ticks(intervalNanoseconds)
    }

    /// Ticks of the frame taken at `timestamp`.
    mutating func advance(to timestamp: Int64) -> Int64 {
        guard let origin else {
            self.origin = timestamp
            return 0
        }
        var time = timestamp &- origin
        let step = time &- previousNanoseconds
        if step <= 0 || step > Self.gapNanosecondsMax {
            // The clock was set or the source restarted: go on from here.
            time = previousNanoseconds + intervalNanoseconds
            self.origin = timestamp &- time
        }
        previousNanoseconds = time
        // Matroska and FLV count milliseconds: two frames in one would be refused.
        previous = max(previous + Int64(ticksPerSecond) / 1000, Self.ticks(time))
        return previous
    }

    private static func ticks(_ nanoseconds: Int64) -> Int64 {
        (nanoseconds * 3 + 25_000) / 50_000
    }
}
