// What the running pipeline tells the control plane: plain counts, no locks.

internal import Synchronization

/// Counts that any thread may read while the pipeline runs.
///
/// Each is written by one stage thread alone, with relaxed ordering: they are statistics, nothing
/// is decided by comparing two of them.
public final class PipelineCounters: Sendable {
    private let capturedCount = Atomic<UInt64>(0)
    private let badCount = Atomic<UInt64>(0)
    private let lostBySourceCount = Atomic<UInt64>(0)
    private let transformedCount = Atomic<UInt64>(0)
    private let failedCount = Atomic<UInt64>(0)
    private let writtenCount = Atomic<UInt64>(0)
    private let latestAge = Atomic<Int64>(0)
    private let isSourceLostFlag = Atomic<Bool>(false)

    /// Good frames that the source delivered.
    public var captured: UInt64 { capturedCount.load(ordering: .relaxed) }
    /// Faulty, short or undecodable frames, dropped.
    public var bad: UInt64 { badCount.load(ordering: .relaxed) }
    /// Frames missing in the source's own numbering.
    public var lostBySource: UInt64 { lostBySourceCount.load(ordering: .relaxed) }
    /// Frames that the transform produced.
    public var transformed: UInt64 { transformedCount.load(ordering: .relaxed) }
    /// Frames for which the transform had no usable result.
    public var failed: UInt64 { failedCount.load(ordering: .relaxed) }
    /// Transformed frames written by the first sink.
    public var written: UInt64 { writtenCount.load(ordering: .relaxed) }
    /// Age of the frame that the first sink wrote last, in nanoseconds.
    public var latestAgeNanoseconds: Int64 { latestAge.load(ordering: .relaxed) }
    /// Whether the camera is away and looked for.
    public var isSourceLost: Bool { isSourceLostFlag.load(ordering: .relaxed) }

    func countCaptured() { capturedCount.wrappingAdd(1, ordering: .relaxed) }
    func countBad() { badCount.wrappingAdd(1, ordering: .relaxed) }
    func countLostBySource(_ count: UInt64) {
        lostBySourceCount.wrappingAdd(count, ordering: .relaxed)
    }
    func countTransformed() { transformedCount.wrappingAdd(1, ordering: .relaxed) }
    func countFailed() { failedCount.wrappingAdd(1, ordering: .relaxed) }
    func countWritten(ageNanoseconds: Int64) {
        latestAge.store(ageNanoseconds, ordering: .relaxed)
        writtenCount.wrappingAdd(1, ordering: .relaxed)
    }
    func setSourceLost(_ isLost: Bool) { isSourceLostFlag.store(isLost, ordering: .relaxed) }
}
