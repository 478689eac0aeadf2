// Timestamps that can be trusted, from those that files contain.

internal import CLibAV
internal import Video

/// Counts frames and time from the first frame. Capture thread only.
struct StreamClock {
    /// A pause longer than this is shortened to one interval: damaged timestamps would otherwise
    /// stop a player for centuries.
    static let gapNanosecondsMax: Int64 = 60_000_000_000

    private let interval: Int64
    private var sequence: UInt64 = 0
    private var now: Int64 = 0
    // What the file said of the previous frame; nil before the first.
    private var previous: Int64?

    init(intervalNanoseconds: Int64) { interval = max(1, intervalNanoseconds) }

    /// Time and number of the next frame.
    ///
    /// - Parameter timestamp: in units of `base`, or `AV_NOPTS_VALUE`.
    mutating func advance(to timestamp: Int64, _ base: AVRational) -> FrameMetadata {
        var stated: Int64?
        if timestamp != clibav_no_timestamp, base.num > 0, base.den > 0 {
            stated = av_rescale_q(timestamp, base, AVRational(num: 1, den: 1_000_000_000))
        }
        if sequence > 0 {
            var step = interval
            if let stated, let previous {
                let (difference, overflow) = stated.subtractingReportingOverflow(previous)
                if !overflow && difference > 0 && difference <= Self.gapNanosecondsMax {
                    step = difference
                }
            }
            now += step
        }
        previous = stated
        defer { sequence += 1 }
        return FrameMetadata(timestampNanoseconds: now, sequence: sequence)
    }
}
