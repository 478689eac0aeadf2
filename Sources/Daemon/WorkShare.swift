// How much of the network's work temporal reuse left to do.

internal import Synchronization

/// Averages over all frames so far, for the report, and over the last ones, for the status. Written
/// by the transform thread, read by any.
final class WorkShare: Sendable {
    // Relaxed: nothing else is ordered by them, and a reader between two sees one frame less.
    private let frames = Atomic<UInt64>(0)
    private let millionths = Atomic<UInt64>(0)
    // In millionths as well.
    private let recentMillionths = Atomic<UInt64>(0)

    /// Frames after which one counts e times less in `recent`: a second of most cameras.
    private static let memoryFrames: UInt64 = 30

    /// - Realtime: safe
    func record(_ share: Double) {
        // In this order NaN becomes 0.
        let new = UInt64(min(1, max(0, share)) * 1e6)
        let count = frames.load(ordering: .relaxed) + 1
        // The first frames weigh alike, or the very first, of which nothing can be reused, would
        // weigh most.
        let weight = Double(min(count, Self.memoryFrames))
        let before = Double(recentMillionths.load(ordering: .relaxed))
        recentMillionths.store(
            UInt64(before + (Double(new) - before) / weight), ordering: .relaxed)
        millionths.wrappingAdd(new, ordering: .relaxed)
        frames.store(count, ordering: .relaxed)
    }

    /// Over all frames. 1: everything was computed; nil before the first frame.
    var mean: Double? {
        let count = frames.load(ordering: .relaxed)
        guard count > 0 else { return nil }
        return Double(millionths.load(ordering: .relaxed)) / 1e6 / Double(count)
    }

    /// Over about the last second: an exponential average. Nil before the first frame.
    var recent: Double? {
        guard frames.load(ordering: .relaxed) > 0 else { return nil }
        return Double(recentMillionths.load(ordering: .relaxed)) / 1e6
    }
}
