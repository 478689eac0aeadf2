// When the camera is open, and what is done when it does not deliver: one state machine, no I/O, no
// clock of its own. The control thread tells it what has happened and does what it says.
//
//              somebody looks             first picture
//      idle ──────────────────► starting ──────────────► live ◄────────────┐
//       ▲  ▲                     │ ▲  ▲ │ no picture      │ no picture     │ picture
//       │  │ nobody looks        │ │  │ └──────────┐      ▼                │
//       │  └──────────── waiting ◄┘ │  └───────── stalled (stream restarted)┘
//       │       cannot be opened,   │ still none: opened anew
//       │       or lost             │ somebody looks
//       └──────────────────── lingering ◄── nobody looks: starting, live, stalled
//         for so long nobody

public import Video

/// Why a camera that is wanted is not open.
public enum SourceFault: UInt8, Sendable, CaseIterable {
    /// It is not there.
    case absent
    /// Another program films with it.
    case busy
    /// It answers with an error.
    case failed
}

/// An error of `FrameSource.prepare` that says what kind of fault it is; others count as `failed`.
public protocol ClassifiedSourceError: Error {
    /// What is wrong with the camera.
    var fault: SourceFault { get }
    /// The program that has it, where that is known.
    var user: String? { get }
}

/// Decides when the camera is opened, restarted and closed.
///
/// A value without threads, devices or clocks: times are what the caller says, in nanoseconds of any
/// monotonic clock. Control thread.
public struct Supervision: Sendable {
    /// Where things stand.
    public enum State: String, Sendable, CaseIterable {
        /// Nobody looks, and the camera is closed.
        case idle
        /// The camera is being opened, or is open and has not delivered yet.
        case starting
        /// Pictures come.
        case live
        /// Pictures have stopped coming, and the stream was restarted.
        case stalled
        /// The camera cannot be opened, or was lost; it is tried again and again.
        case waiting
        /// Nobody looks any more, but the camera stays open for a while.
        case lingering
    }

    /// What can happen.
    public enum Event: Sendable, Equatable {
        /// Whether somebody looks has changed, or is told again.
        case watched(Bool)
        /// The camera has been opened.
        case opened
        /// A picture has come, or several.
        case picture
        /// The camera could not be opened, or was lost; it is closed.
        case failed(SourceFault)
        /// Another source has taken its place, which is closed.
        case replaced
        /// Time has passed.
        case time
    }

    /// What the caller has to do. Each of them ends what an earlier one asked for.
    public enum Action: Sendable, Equatable {
        /// Open the camera; close it first if it is open.
        case open
        /// Stop the stream and start it again.
        case restart
        /// Close the camera.
        case close
    }

    /// How long to wait for what, in nanoseconds.
    public struct Timing: Sendable, Equatable {
        /// After the last viewer has gone the camera stays open for so long.
        public var linger: Int64 = 3_000_000_000
        /// From opening to the first picture; nil: for ever. Doubled after an opening without one, twice
        /// at most: a slow camera must not be stopped each time just before it is ready.
        public var firstPicture: Int64? = 3_000_000_000
        /// From one picture to the next; nil: for ever.
        public var nextPicture: Int64? = 1_000_000_000
        /// From one attempt to open it to the next.
        public var retry: Int64 = 1_000_000_000

        /// What a webcam needs.
        public init() {}

        /// For a source that may pause: nothing is restarted.
        public static let patient: Timing = {
            var timing = Timing()
            timing.firstPicture = nil
            timing.nextPicture = nil
            return timing
        }()

        /// For pictures that come `rate` times a second: five may fail to come.
        public mutating func allow(_ rate: FrameRate) {
            nextPicture = nextPicture.map { max($0, 5 * rate.intervalNanoseconds) }
            firstPicture = firstPicture.map { max($0, 5 * rate.intervalNanoseconds) }
        }
    }

    /// What has happened so far.
    public struct Counts: Sendable, Equatable, Codable {
        /// Times the camera was to be opened.
        public var attempts: UInt64 = 0
        /// Of these, times it could not be.
        public var refused: UInt64 = 0
        /// Times an open camera was lost.
        public var lost: UInt64 = 0
        /// Times the stream was restarted because no picture came.
        public var restarted: UInt64 = 0
        /// Times that did not help, and the camera was opened anew.
        public var reopened: UInt64 = 0
        /// Times pictures came again after one of the last four.
        public var recovered: UInt64 = 0

        /// None.
        public init() {}
    }

    /// Where things stand.
    public private(set) var state: State
    /// Why the camera is away, in `waiting` and in the attempts that follow until it is opened.
    public private(set) var fault: SourceFault?
    /// What has happened so far.
    public private(set) var counts = Counts()
    /// How long to wait for what; counts from the next event on.
    public var timing: Timing
    /// When something is due though nothing happens; `nil`: never. Of the caller's clock.
    public private(set) var deadline: Int64?
    private var isOpen: Bool
    private var isTroubled = false
    // Times in a row that it was opened and no picture came in time.
    private var fruitless = 0

    /// - Parameter isOpen: whether the camera is open already, with somebody looking; otherwise it is
    ///   closed, and nobody does.
    public init(timing: Timing, isOpen: Bool, at now: Int64) {
        self.timing = timing
        self.isOpen = isOpen
        state = isOpen ? .starting : .idle
        counts.attempts = isOpen ? 1 : 0
        deadline = isOpen ? timing.firstPicture.map { now + $0 } : nil
    }

    /// Takes note of what has happened.
    ///
    /// - Returns: what to do now; `nil`: nothing.
    public mutating func handle(_ event: Event, at now: Int64) -> Action? {
        switch event {
        case .watched(let isWatched): return isWatched ? watch(at: now) : leave(at: now)
        case .opened: noteOpened(at: now)
        case .picture: notePicture(at: now)
        case .failed(let fault): noteFailure(fault, at: now)
        case .replaced: return noteReplacement(at: now)
        case .time: return lookAtTime(now)
        }
        return nil
    }

    private mutating func watch(at now: Int64) -> Action? {
        switch state {
        case .idle: return open(at: now)
        case .lingering:
            enter(.starting, for: isOpen ? patience : nil, at: now)
            return nil
        case .starting, .live, .stalled, .waiting: return nil
        }
    }

    private mutating func leave(at now: Int64) -> Action? {
        switch state {
        case .starting, .live, .stalled: enter(.lingering, for: timing.linger, at: now)
        case .waiting: becomeIdle()
        case .idle, .lingering: break
        }
        return nil
    }

    private mutating func noteOpened(at now: Int64) {
        switch state {
        case .starting:
            isOpen = true
            fault = nil
            enter(.starting, for: patience, at: now)
        case .lingering:
            isOpen = true
            fault = nil
        case .idle, .live, .stalled, .waiting: break
        }
    }

    private mutating func notePicture(at now: Int64) {
        switch state {
        case .starting where !isOpen:
            // From before it was closed.
            break
        case .starting, .live, .stalled:
            if isTroubled { counts.recovered += 1 }
            isTroubled = false
            fruitless = 0
            enter(.live, for: timing.nextPicture, at: now)
        case .idle, .waiting, .lingering: break
        }
    }

    private mutating func noteFailure(_ fault: SourceFault, at now: Int64) {
        guard state != .idle, state != .waiting else { return }
        if isOpen { counts.lost += 1 } else { counts.refused += 1 }
        isOpen = false
        guard state != .lingering else { return becomeIdle() }
        isTroubled = true
        self.fault = fault
        enter(.waiting, for: timing.retry, at: now)
    }

    private mutating func noteReplacement(at now: Int64) -> Action? {
        isOpen = false
        fault = nil
        switch state {
        case .starting, .live, .stalled, .waiting: return open(at: now)
        case .idle, .lingering:
            becomeIdle()
            return nil
        }
    }

    private mutating func lookAtTime(_ now: Int64) -> Action? {
        guard let deadline, now >= deadline else { return nil }
        switch state {
        case .idle: return nil
        case .starting, .live:
            if state == .starting { fruitless += 1 }
            isTroubled = true
            counts.restarted += 1
            enter(.stalled, for: timing.nextPicture, at: now)
            return .restart
        case .stalled:
            counts.reopened += 1
            return open(at: now)
        case .waiting: return open(at: now)
        case .lingering:
            becomeIdle()
            return .close
        }
    }

    /// From opening to the first picture: three, six and twelve seconds, and again from the beginning,
    /// for a camera that only opening it anew helps.
    private var patience: Int64? { timing.firstPicture.map { $0 << (fruitless % 3) } }

    private mutating func open(at now: Int64) -> Action {
        counts.attempts += 1
        isOpen = false
        // However long opening takes: it cannot be hurried.
        enter(.starting, for: nil, at: now)
        return .open
    }

    private mutating func becomeIdle() {
        state = .idle
        deadline = nil
        fault = nil
        isOpen = false
        isTroubled = false
        fruitless = 0
    }

    private mutating func enter(_ state: State, for duration: Int64?, at now: Int64) {
        self.state = state
        deadline = duration.map { now + $0 }
    }
}
