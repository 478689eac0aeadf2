// What the control thread may change while the pipeline runs: atomics, no locks.

internal import Realtime
internal import Synchronization

/// Pause, whether anybody looks, and what is shown without a picture. Written by the control thread, read by the
/// stages once a frame.
final class PipelineSwitches: Sendable {
    // Counts pauses and resumptions: odd while paused. A count, so that a stage that looks too late
    // for a short pause still learns that there was one. Released after `resumed`.
    private let turns = Atomic<UInt64>(0)
    // Stored before `turns`: what came in earlier was filmed before or during the pause.
    private let resumed = Atomic<Int64>(0)
    private let passesFailures: Atomic<Bool>
    private let clockIsRead = Atomic<Bool>(true)

    init(passesFailuresThrough: Bool) { passesFailures = Atomic(passesFailuresThrough) }

    /// Changes with each pause and each resumption.
    var turn: UInt64 { turns.load(ordering: .acquiring) }

    static func isPaused(_ turn: UInt64) -> Bool { turn % 2 == 1 }

    var isPaused: Bool { Self.isPaused(turn) }

    /// When the last pause ended.
    var resumedNanoseconds: Int64 { resumed.load(ordering: .relaxed) }

    /// Control thread.
    func setPaused(_ isPaused: Bool) {
        guard isPaused != self.isPaused else { return }
        if !isPaused { resumed.store(MonotonicClock.nowNanoseconds, ordering: .relaxed) }
        turns.wrappingAdd(1, ordering: .releasing)
    }

    // Atomic: relaxed, a card that is a moment late is as good.
    private let cardKind = Atomic<UInt8>(Card.Kind.starting.rawValue)
    private let idleFlag = Atomic<Bool>(false)

    /// Whether nobody looks, so that nothing but a card now and then is written.
    var isIdle: Bool {
        get { idleFlag.load(ordering: .relaxed) }
        set { idleFlag.store(newValue, ordering: .relaxed) }
    }

    /// What is shown while no picture comes and there is no pause.
    var card: Card.Kind {
        get { Card.Kind(rawValue: cardKind.load(ordering: .relaxed)) ?? .starting }
        set { cardKind.store(newValue.rawValue, ordering: .relaxed) }
    }

    /// Whether pictures show numbers that the frame clock knows: until another source takes over.
    var readsClock: Bool {
        get { clockIsRead.load(ordering: .relaxed) }
        set { clockIsRead.store(newValue, ordering: .relaxed) }
    }

    /// Whether the camera's own picture is shown when the transform fails.
    var passesFailuresThrough: Bool {
        get { passesFailures.load(ordering: .relaxed) }
        set { passesFailures.store(newValue, ordering: .relaxed) }
    }
}
