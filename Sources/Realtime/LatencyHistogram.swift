// Percentiles of durations over an unbounded run, in fixed memory.

/// A log-linear histogram of durations, as HdrHistogram arranges it: 32 linear steps in each power
/// of two, so that a percentile is exact to 1/32 (3 %) from 1 ns to 9 minutes.
///
/// Owned by one thread while it records; read it after that thread was joined.
public struct LatencyHistogram: Sendable {
    private static let stepBits = 5
    private static let stepCount = 1 << stepBits
    private static let octaveCount = 35

    private var counts = [UInt64](repeating: 0, count: (octaveCount + 1) * stepCount)
    /// Durations recorded.
    public private(set) var count: UInt64 = 0
    /// The longest duration recorded, in nanoseconds, exact.
    public private(set) var maximumNanoseconds: Int64 = 0

    /// An empty histogram.
    public init() {}

    /// Counts one duration; a negative one counts as 0.
    ///
    /// - Realtime: safe (the memory exists since `init`)
    public mutating func record(nanoseconds: Int64) {
        let value = max(0, nanoseconds)
        counts[Self.bucket(of: value)] += 1
        count += 1
        maximumNanoseconds = max(maximumNanoseconds, value)
    }

    /// Counts all that another has recorded, too.
    public mutating func add(_ other: LatencyHistogram) {
        for index in counts.indices { counts[index] += other.counts[index] }
        count += other.count
        maximumNanoseconds = max(maximumNanoseconds, other.maximumNanoseconds)
    }

    /// The duration that a `fraction` (0–1) of all recorded ones do not exceed, in nanoseconds,
    /// rounded up to the end of its bucket; 0 if nothing was recorded.
    public func percentile(_ fraction: Double) -> Int64 {
        guard count > 0 else { return 0 }
        let rank = max(1, UInt64((fraction * Double(count)).rounded(.up)))
        var seen: UInt64 = 0
        for index in counts.indices {
            seen += counts[index]
            if seen >= rank { return min(Self.upperBound(of: index), maximumNanoseconds) }
        }
        return maximumNanoseconds
    }

    private static func bucket(of value: Int64) -> Int {
        guard value >= stepCount else { return Int(value) }
        let octave = 63 - value.leadingZeroBitCount - stepBits
        let step = Int(value >> Int64(octave)) - stepCount
        return min((octave + 1) * stepCount + step, (octaveCount + 1) * stepCount - 1)
    }

    private static func upperBound(of bucket: Int) -> Int64 {
        guard bucket >= stepCount else { return Int64(bucket) }
        let octave = bucket / stepCount - 1
        let step = Int64(bucket % stepCount + stepCount + 1)
        return (step << Int64(octave)) - 1
    }
}
