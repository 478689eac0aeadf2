// Ages and times of the frames that a sink wrote last, for those who watch a running pipeline.

internal import Synchronization

/// The last frames' figures in fixed memory: one output thread writes, any thread reads.
final class RecentFrames: Sendable {
    /// Four seconds of most cameras.
    static let countMax = 128

    private let cells: InlineArray<128, Cell>
    // Frames recorded. Relaxed throughout: a reader may see a frame's new age beside its old time,
    // which moves a figure by one frame.
    private let count = Atomic<UInt64>(0)

    private struct Cell: ~Copyable {
        let age = Atomic<Int64>(0)
        let time = Atomic<Int64>(0)
    }

    init() { cells = InlineArray { _ in Cell() } }

    /// - Realtime: safe
    func record(ageNanoseconds: Int64, at time: Int64) {
        let number = count.load(ordering: .relaxed)
        let index = Int(number % UInt64(Self.countMax))
        cells[index].age.store(ageNanoseconds, ordering: .relaxed)
        cells[index].time.store(time, ordering: .relaxed)
        count.store(number + 1, ordering: .relaxed)
    }

    /// The figures of the frames written after `start`. Allocates.
    func figures(since start: Int64) -> RecentFigures {
        let filled = Int(min(count.load(ordering: .relaxed), UInt64(Self.countMax)))
        var ages: [Int64] = []
        var (first, last) = (Int64.max, Int64.min)
        for index in 0..<filled {
            let time = cells[index].time.load(ordering: .relaxed)
            guard time >= start else { continue }
            ages.append(cells[index].age.load(ordering: .relaxed))
            (first, last) = (min(first, time), max(last, time))
        }
        ages.sort()
        let seconds = ages.count > 1 ? Double(last - first) / 1e9 : 0
        return RecentFigures(
            framesPerSecond: seconds > 0 ? Double(ages.count - 1) / seconds : 0,
            sortedAges: ages)
    }
}

/// Rate and ages of the last few seconds.
public struct RecentFigures: Sendable {
    /// Frames a second; 0 if hardly any came.
    public let framesPerSecond: Double
    private let ages: [Int64]

    init(framesPerSecond: Double, sortedAges: [Int64]) {
        self.framesPerSecond = framesPerSecond
        ages = sortedAges
    }

    /// The age in nanoseconds that a `fraction` (0–1) of the frames did not exceed; `nil` if none
    /// came.
    public func age(_ fraction: Double) -> Int64? {
        guard !ages.isEmpty else { return nil }
        let rank = Int((fraction * Double(ages.count)).rounded(.up))
        return ages[min(max(rank, 1), ages.count) - 1]
    }
}
