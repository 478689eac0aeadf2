// The supervision, every state with every event, on a clock of the test's own.

import Testing
import Video

@testable import Pipeline

@Suite struct SupervisionTests {
    typealias State = Supervision.State
    typealias Event = Supervision.Event
    typealias Action = Supervision.Action

    private static let second: Int64 = 1_000_000_000
    /// Not 0, so that a deadline counted from nowhere is seen.
    private static let start: Int64 = 100 * second

    /// A machine that has come to a state in the usual way, and the time then.
    private func machine(in state: State) -> (Supervision, Int64) {
        var machine = Supervision(timing: .init(), isOpen: false, at: Self.start)
        var now = Self.start
        func tell(_ event: Event, after seconds: Int64 = 0) {
            now += seconds * Self.second
            _ = machine.handle(event, at: now)
        }
        switch state {
        case .idle: break
        case .starting:
            tell(.watched(true))
            tell(.opened)
        case .live:
            tell(.watched(true))
            tell(.opened)
            tell(.picture)
        case .stalled:
            tell(.watched(true))
            tell(.opened)
            tell(.picture)
            tell(.time, after: 1)
        case .waiting:
            tell(.watched(true))
            tell(.failed(.busy))
        case .lingering:
            tell(.watched(true))
            tell(.opened)
            tell(.picture)
            tell(.watched(false))
        }
        #expect(machine.state == state)
        return (machine, now)
    }

    /// What is expected after an event: state, action, and seconds to the deadline from then.
    private struct Outcome: Equatable {
        let state: State
        let action: Action?
        let deadline: Int64?

        init(_ state: State, _ action: Action? = nil, due deadline: Int64? = nil) {
            (self.state, self.action, self.deadline) = (state, action, deadline)
        }
    }

    /// The whole table: for each state the outcome of each event at once, and of time when it is due.
    private func outcome(_ state: State, _ event: Event, isDue: Bool) -> Outcome {
        switch (state, event) {
        case (.idle, .watched(true)): Outcome(.starting, .open)
        case (.idle, _): Outcome(.idle)

        case (.starting, .watched(false)): Outcome(.lingering, due: 3)
        case (.starting, .picture): Outcome(.live, due: 1)
        case (.starting, .failed): Outcome(.waiting, due: 1)
        case (.starting, .replaced): Outcome(.starting, .open)
        case (.starting, .time) where isDue: Outcome(.stalled, .restart, due: 1)
        case (.starting, _): Outcome(.starting, due: 3)

        case (.live, .watched(false)): Outcome(.lingering, due: 3)
        case (.live, .failed): Outcome(.waiting, due: 1)
        case (.live, .replaced): Outcome(.starting, .open)
        case (.live, .time) where isDue: Outcome(.stalled, .restart, due: 1)
        case (.live, _): Outcome(.live, due: 1)

        case (.stalled, .watched(false)): Outcome(.lingering, due: 3)
        case (.stalled, .picture): Outcome(.live, due: 1)
        case (.stalled, .failed): Outcome(.waiting, due: 1)
        case (.stalled, .replaced): Outcome(.starting, .open)
        case (.stalled, .time) where isDue: Outcome(.starting, .open)
        case (.stalled, _): Outcome(.stalled, due: 1)

        case (.waiting, .watched(false)): Outcome(.idle)
        case (.waiting, .replaced): Outcome(.starting, .open)
        case (.waiting, .time) where isDue: Outcome(.starting, .open)
        case (.waiting, _): Outcome(.waiting, due: 1)

        case (.lingering, .watched(true)): Outcome(.starting, due: 3)
        case (.lingering, .failed), (.lingering, .replaced): Outcome(.idle)
        case (.lingering, .time) where isDue: Outcome(.idle, .close)
        case (.lingering, _): Outcome(.lingering, due: 3)
        }
    }

    private static let events: [Event] =
        [.watched(true), .watched(false), .opened, .picture, .replaced, .time]
        + SourceFault.allCases.map { .failed($0) }

    @Test(arguments: State.allCases, events)
    func `every state answers every event`(_ state: State, _ event: Event) {
        var (machine, now) = machine(in: state)
        let action = machine.handle(event, at: now)
        let found = Outcome(
            machine.state, action, due: machine.deadline.map { ($0 - now) / Self.second })
        #expect(found == outcome(state, event, isDue: false))
    }

    @Test(arguments: State.allCases)
    func `every state answers the time, just before it is due and then`(_ state: State) {
        var (machine, now) = machine(in: state)
        guard let deadline = machine.deadline else {
            #expect(machine.handle(.time, at: now + 1_000_000 * Self.second) == nil)
            #expect(machine.state == .idle && state == .idle)
            return
        }
        #expect(machine.handle(.time, at: deadline - 1) == nil)
        #expect(machine.state == state && machine.deadline == deadline)
        now = deadline
        let action = machine.handle(.time, at: now)
        let found = Outcome(
            machine.state, action, due: machine.deadline.map { ($0 - now) / Self.second })
        #expect(found == outcome(state, .time, isDue: true))
    }

    /// Any sequence of events: whatever has been, nobody looking leads to a closed camera, and somebody
    /// looking to attempts to open it.
    @Test func `no sequence of events leads into a dead end`() {
        var generator = SplitMix(state: 7)
        for _ in 0..<2000 {
            var machine = Supervision(timing: .init(), isOpen: false, at: Self.start)
            var now = Self.start
            var isOpen = false
            func tell(_ event: Event) {
                switch machine.handle(event, at: now) {
                case .open, .close: isOpen = false
                case .restart: #expect(isOpen, "a restart of a closed camera")
                case nil: break
                }
                if case .failed = event { isOpen = false }
                if case .opened = event { isOpen = machine.state != .idle }
                if case .replaced = event { isOpen = false }
            }
            for _ in 0..<40 {
                now += Int64(generator.next() % 1_500_000_000)
                let event = Self.events.randomElement(using: &generator)!
                // A camera is opened only after it was to be, and delivers only while it is open.
                switch event {
                case .opened where isOpen || machine.state != .starting: continue
                case .picture where !isOpen: continue
                default: tell(event)
                }
                #expect(machine.state != .live || isOpen)
                #expect(machine.state != .idle || !isOpen)
            }
            var watched = machine
            _ = machine.handle(.watched(false), at: now)
            _ = machine.handle(.time, at: now + 3 * Self.second)
            #expect(machine.state == .idle && machine.deadline == nil)
            // From whatever state: with a camera that answers, pictures come again.
            _ = watched.handle(.watched(true), at: now)
            for _ in 0..<4 where watched.deadline != nil && watched.state != .live {
                now = max(now, watched.deadline ?? now)
                _ = watched.handle(.time, at: now)
            }
            _ = watched.handle(.opened, at: now)
            _ = watched.handle(.picture, at: now)
            #expect(watched.state == .live)
        }
    }

    // MARK: Stories

    @Test func `a probe that comes and goes opens the camera once`() {
        var machine = Supervision(timing: .init(), isOpen: false, at: Self.start)
        var (actions, now): ([Action], Int64) = ([], Self.start)
        func tell(_ event: Event) { machine.handle(event, at: now).map { actions.append($0) } }
        for _ in 0..<5 {
            tell(.watched(true))
            if machine.counts.attempts == 1 { tell(.opened) }
            now += Self.second / 4
            tell(.time)
            tell(.watched(false))
            now += 2 * Self.second
            tell(.time)
        }
        #expect(actions == [.open])
        now += Self.second
        tell(.time)
        #expect(actions == [.open, .close])
    }

    @Test func `a picture from before it was closed does not count`() {
        var machine = Supervision(timing: .init(), isOpen: false, at: Self.start)
        _ = machine.handle(.watched(true), at: Self.start)
        _ = machine.handle(.picture, at: Self.start)
        #expect(machine.state == .starting)
    }

    @Test func `opening may take as long as it likes`() {
        var machine = Supervision(timing: .init(), isOpen: false, at: Self.start)
        #expect(machine.handle(.watched(true), at: Self.start) == .open)
        #expect(machine.handle(.time, at: Self.start + 100 * Self.second) == nil)
        #expect(machine.state == .starting)
    }

    @Test func `a stall is met by a restart, then by opening anew, and both are counted`() {
        var (machine, now) = machine(in: .live)
        now += Self.second
        #expect(machine.handle(.time, at: now) == .restart)
        now += Self.second
        #expect(machine.handle(.time, at: now) == .open)
        _ = machine.handle(.opened, at: now)
        _ = machine.handle(.picture, at: now)
        #expect(machine.state == .live)
        var expected = Supervision.Counts()
        (expected.attempts, expected.restarted, expected.reopened) = (2, 1, 1)
        expected.recovered = 1
        #expect(machine.counts == expected)
    }

    @Test func `a camera that is slow to begin is given more time, again and again`() {
        var machine = Supervision(timing: .init(), isOpen: false, at: Self.start)
        var now = Self.start
        var waits: [Int64] = []
        #expect(machine.handle(.watched(true), at: now) == .open)
        for _ in 0..<4 {
            _ = machine.handle(.opened, at: now)
            waits.append((machine.deadline! - now) / Self.second)
            now = machine.deadline!
            #expect(machine.handle(.time, at: now) == .restart)
            now = machine.deadline!
            #expect(machine.handle(.time, at: now) == .open)
        }
        #expect(waits == [3, 6, 12, 3])
        _ = machine.handle(.opened, at: now)
        _ = machine.handle(.picture, at: now)
        // One that has delivered is not slow: it has stalled.
        for action in [Action.restart, .open] {
            now = machine.deadline!
            #expect(machine.handle(.time, at: now) == action)
        }
        _ = machine.handle(.opened, at: now)
        #expect(machine.deadline == now + 3 * Self.second)
    }

    @Test func `a lost camera is tried once a second, and why it is away is kept meanwhile`() {
        var (machine, now) = machine(in: .live)
        _ = machine.handle(.failed(.absent), at: now)
        for _ in 0..<3 {
            #expect(machine.fault == .absent)
            #expect(machine.handle(.time, at: now + Self.second - 1) == nil)
            now += Self.second
            #expect(machine.handle(.time, at: now) == .open)
            #expect(machine.fault == .absent)
            _ = machine.handle(.failed(.absent), at: now)
        }
        now += Self.second
        _ = machine.handle(.time, at: now)
        _ = machine.handle(.opened, at: now)
        #expect(machine.fault == nil)
        #expect(machine.counts.lost == 1 && machine.counts.refused == 3)
    }

    @Test func `a source that may pause is never restarted`() {
        var machine = Supervision(timing: .patient, isOpen: true, at: Self.start)
        #expect(machine.handle(.time, at: Self.start + 1000 * Self.second) == nil)
        _ = machine.handle(.picture, at: Self.start)
        #expect(machine.handle(.time, at: Self.start + 1000 * Self.second) == nil)
        #expect(machine.state == .live)
        _ = machine.handle(.failed(.failed), at: Self.start)
        #expect(machine.handle(.time, at: Self.start + Self.second) == .open)
    }

    @Test func `a slow camera may be silent for five pictures`() {
        var timing = Supervision.Timing()
        timing.allow(FrameRate(1))
        #expect(timing.nextPicture == 5 * Self.second)
        timing = .init()
        timing.allow(FrameRate(30))
        #expect(timing == .init())
        timing = .patient
        timing.allow(FrameRate(1))
        #expect(timing.nextPicture == nil)
    }
}

/// Steele, Lea and Flood 2014: the same numbers each time.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
