// How much of the network's work temporal reuse left to do.

internal import Synchronization

/// An average over all frames so far. Written by the transform thread, read by any.
final class WorkShare: Sendable {
    // Relaxed: nothing else is ordered by them, and a reader between the two sees one frame less.
    private let frames = Atomic<UInt64>(0)
    private let millionths = Atomic<UInt64>(0)

    /// - Realtime: safe
    func record(_ share: Double) {
        millionths.wrappingAdd(UInt64(max(share, 0) * 1e6), ordering: .relaxed)
        frames.wrappingAdd(1, ordering: .relaxed)
    }

    /// 1: everything was computed; nil before the first frame.
    var mean: Double? {
        let count = frames.load(ordering: .relaxed)
        guard count > 0 else { return nil }
        return Double(millionths.load(ordering: .relaxed)) / 1e6 / Double(count)
    }
}
