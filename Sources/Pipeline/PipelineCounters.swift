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
    private let failedCount = Atomic<UInt64>(0)
    private let earlyCount = Atomic<UInt64>(0)
    private let pausedCount = Atomic<UInt64>(0)
    private let isSourceFailedFlag = Atomic<Bool>(false)
    // Not steady state: written when the camera is opened, hence a lock.
    private let problem = Mutex<(text: String, user: String?)?>(nil)
    // Written when a source has been opened.
    private let name = Mutex("")

    /// Good frames that the source delivered.
    public var captured: UInt64 { capturedCount.load(ordering: .relaxed) }
    /// Faulty, short or undecodable frames, never shown.
    public var bad: UInt64 { badCount.load(ordering: .relaxed) }
    /// Frames missing in the source's own numbering.
    public var lostBySource: UInt64 { lostBySourceCount.load(ordering: .relaxed) }
    /// Frames for which the transform had no usable result.
    public var failed: UInt64 { failedCount.load(ordering: .relaxed) }
    /// Frames with which nothing was shown yet, because pictures come later than their frames.
    public var early: UInt64 { earlyCount.load(ordering: .relaxed) }
    /// Frames that came while the pipeline was paused: not transformed, not shown.
    public var paused: UInt64 { pausedCount.load(ordering: .relaxed) }
    /// Whether the source broke off before its end.
    public var isSourceFailed: Bool { isSourceFailedFlag.load(ordering: .relaxed) }
    /// Why the camera could not be opened the last time; `nil` if it could. Control thread.
    public var sourceProblem: String? { problem.withLock { $0?.text } }

    /// The program that had the camera then, where that is known. Control thread.
    public var sourceUser: String? { problem.withLock { $0?.user } }

    /// Where frames come from; a camera that is found again may be another. Control thread.
    public var sourceName: String { name.withLock { $0 } }

    func setSourceName(_ text: String) { name.withLock { $0 = text } }
    func countCaptured() { capturedCount.wrappingAdd(1, ordering: .relaxed) }
    func countBad() { badCount.wrappingAdd(1, ordering: .relaxed) }
    func countLostBySource(_ count: UInt64) {
        lostBySourceCount.wrappingAdd(count, ordering: .relaxed)
    }
    func countFailed() { failedCount.wrappingAdd(1, ordering: .relaxed) }
    func countEarly() { earlyCount.wrappingAdd(1, ordering: .relaxed) }
    func countPaused() { pausedCount.wrappingAdd(1, ordering: .relaxed) }
    func setSourceProblem(_ text: String?, user: String? = nil) {
        problem.withLock { $0 = text.map { ($0, user) } }
    }
    func setSourceFailed() { isSourceFailedFlag.store(true, ordering: .relaxed) }
}
