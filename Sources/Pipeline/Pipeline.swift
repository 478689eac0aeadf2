// A source, a transform and any number of sinks, each on its own thread, joined by rings.

public import Realtime
internal import Synchronization
public import Video

/// How a pipeline treats its frames.
public struct PipelineOptions: Sendable {
    /// `latest` for live work, `everyFrame` for files.
    public var policy = RingPolicy.latest
    /// Shows the camera's own picture when the transform fails. Off: a card is shown instead.
    public var passesFailuresThrough = false
    /// Looks for a lost camera again instead of ending the run.
    public var reopensLostSource = true
    /// Starts without a camera that cannot be opened, and looks for it again, instead of failing.
    public var waitsForSource = false
    /// Opens a camera when somebody looks and closes it when nobody does; else it is open throughout.
    public var opensOnDemand = false
    /// After the last viewer has gone the camera stays open for so long, in nanoseconds.
    public var lingerNanoseconds: Int64 = 3_000_000_000
    /// Capture timestamp of the frame whose counter a written picture shows, or `nil` if it shows
    /// none. Called by the sink threads; for the `test` source.
    public var frameClock: (any FrameClock)?

    /// The defaults of live work.
    public init() {}
}

/// Reads back out of a picture which frame it is and when that was captured.
public protocol FrameClock: Sendable {
    /// Frame number burnt into the picture and that frame's capture time.
    ///
    /// - Realtime: allocates nothing
    func read(_ frame: FrameBuffer) -> FrameMetadata?
}

/// The running data plane. Made, started and joined by the control thread.
public final class Pipeline {
    /// Live counts for progress and service notification.
    public let counters = PipelineCounters()

    // Control thread, but for what a front does with them while it runs.
    private var source: any FrameSource
    private var transform: any FrameTransform
    private let sinks: [any FrameSink]
    private var options: PipelineOptions
    private let switches: PipelineSwitches
    private var surroundings: PipelineFront.Surroundings?
    private var front: PipelineFront?
    private var outputs: [OutputStage] = []
    private var cards: CardSet?
    // Of the sinks.
    private var threads: [RealtimeThread] = []
    private let gate = SourceGate()
    private var supervision: Supervision
    // Frames captured when the supervision was told last.
    private var capturedBefore: UInt64 = 0
    private var failures = FailureWatch()
    // When life was proved last.
    private var lifeSigns = LifeSigns()
    // Of fronts that were replaced.
    private var past = PipelineSummary()

    /// A pipeline that does not run yet.
    public init(
        source: any FrameSource, transform: any FrameTransform, sinks: [any FrameSink],
        options: PipelineOptions
    ) {
        self.source = source
        self.transform = transform
        self.sinks = sinks
        self.options = options
        switches = PipelineSwitches(passesFailuresThrough: options.passesFailuresThrough)
        supervision = Supervision(timing: .patient, isOpen: true, at: 0)
    }

    /// Opens source, transform and sinks, then starts one thread for each. A camera that is opened on
    /// demand stays closed.
    ///
    /// - Throws: what the first part that cannot be prepared throws; everything is closed again.
    public func start() throws {
        do {
            let plan = options.opensOnDemand ? source.plan() : nil
            let (format, isOpen) = try plan.map { ($0, false) } ?? openSource()
            precondition(format.pixelFormat == .rgb24, "the pipeline carries RGB24")
            try transform.prepare(format: format)
            for sink in sinks { try sink.prepare(format: format) }
            if isOpen { try source.start() }
            supervision = Supervision(
                timing: timing(for: source, format.frameRate), isOpen: isOpen,
                at: MonotonicClock.nowNanoseconds)
            switches.isIdle = !isOpen
            try startThreads(format: format)
        } catch {
            requestStop()
            join()
            throw error
        }
    }

    /// The source's format, and whether it is open: where it may come later, a guess does for now.
    private func openSource() throws -> (VideoFormat, isOpen: Bool) {
        do {
            return (try source.prepare(), true)
        } catch {
            source.finish()
            guard options.waitsForSource, let plan = source.plan() else { throw error }
            return (plan, false)
        }
    }

    /// Asks every stage to stop after the frame it works on. Control thread.
    public func requestStop() {
        front?.requestStop(keepsOutputs: false)
        source.interrupt()
    }

    /// Whether every stage has ended by itself: end of file, or no sink left. Control thread.
    public var isFinished: Bool {
        outputs.allSatisfy { $0.isFinished.load(ordering: .acquiring) }
    }

    /// Transformed frames written by the sink that has written most. Any thread.
    public var framesWritten: UInt64 {
        outputs.map { $0.writtenCount.load(ordering: .relaxed) }.max() ?? 0
    }

    /// Age of the frame that this sink wrote last, in nanoseconds. Any thread.
    public var latestAgeNanoseconds: Int64 {
        let leading = outputs.max {
            $0.writtenCount.load(ordering: .relaxed) < $1.writtenCount.load(ordering: .relaxed)
        }
        return leading?.latestAge.load(ordering: .relaxed) ?? 0
    }

    /// Rate and ages of the frames that the same sink wrote in the last few seconds. Control thread.
    public func recentFigures(seconds: Double) -> RecentFigures? {
        let start = MonotonicClock.nowNanoseconds - Int64(seconds * 1e9)
        return outputs.max {
            $0.writtenCount.load(ordering: .relaxed) < $1.writtenCount.load(ordering: .relaxed)
        }?.recent.figures(since: start)
    }

    /// Each sink, the transformed frames it has written, and whether it is away now and how often it
    /// went. Control thread.
    public var sinkCounts: [(name: String, written: UInt64, isAway: Bool, interruptions: UInt64)] {
        zip(sinks, outputs).map {
            (
                $0.name, $1.writtenCount.load(ordering: .relaxed),
                $1.isAway.load(ordering: .relaxed),
                $1.interruptions.load(ordering: .relaxed)
            )
        }
    }

    /// Frames that came in while the transform was busy with an older one. Control thread.
    public var framesSkipped: UInt64 { past.framesSkipped + (front?.framesSkipped ?? 0) }

    /// Of all frames; `nil` before the start. Control thread.
    public var format: VideoFormat? { surroundings?.format }

    // MARK: Changes while it runs

    /// Whether cards are shown instead of pictures because the user wants it. Control thread.
    public var isPaused: Bool { switches.isPaused }

    /// Shows a card instead of pictures, and forgets the past; or goes on. What was filmed before a
    /// pause or during it is not shown after it. Control thread.
    ///
    /// - Returns: once every sink has followed, which takes as long as the write it is busy with, or
    ///   after half a second.
    public func setPaused(_ isPaused: Bool) {
        switches.setPaused(isPaused)
        for output in outputs { output.ring.wakeReader() }
        let nap = Event()
        for _ in 0..<100 {
            let isFollowed = outputs.allSatisfy {
                $0.followedTurn.load(ordering: .relaxed) == switches.turn
                    || $0.isFinished.load(ordering: .relaxed)
            }
            if isFollowed { return }
            nap.wait(timeoutNanoseconds: 5_000_000)
        }
    }

    /// Whether the camera's own picture is shown when the transform fails. Control thread.
    public func setPassesFailuresThrough(_ isOn: Bool) { switches.passesFailuresThrough = isOn }

    /// Whether a camera is closed while nobody looks, and for how long it stays open before. Control
    /// thread; takes effect with the next `supervise`.
    public func setDemand(opensOnDemand: Bool, lingerNanoseconds: Int64) {
        options.opensOnDemand = opensOnDemand
        options.lingerNanoseconds = lingerNanoseconds
        supervision.timing.linger = lingerNanoseconds
    }

    /// Puts another source, another transform or both before the sinks, which repeat their last
    /// picture meanwhile and then show a card. The frames keep their size. A new transform is
    /// prepared while the old one goes on; a new source is opened like one that was lost, again and
    /// again until it is there. Control thread; takes as long as the preparation.
    ///
    /// - Throws: what `prepare` of the transform throws; then nothing has changed. Or that the
    ///   system refuses a thread; then the run ends.
    public func replaceFront(
        source newSource: (any FrameSource)?, transform newTransform: (any FrameTransform)?
    ) throws {
        guard let front, let surroundings, !isFinished else { return }
        try newTransform?.prepare(format: surroundings.format)
        front.requestStop(keepsOutputs: true)
        if newSource != nil { source.interrupt() }
        front.join()
        front.addFigures(to: &past)
        var isSourceOpen = front.isSourceOpen
        if let newSource {
            source.finish()
            newSource.takeOver(from: source)
            source = newSource
            isSourceOpen = false
            switches.readsClock = false
            counters.setSourceProblem(nil)
        } else if isSourceOpen {
            // What was filmed while nobody took it is old by now.
            isSourceOpen = (try? source.start()) != nil
        }
        if let newTransform { transform = newTransform } else { transform.reset() }
        do {
            try startFront(
                surroundings, isSourceOpen: isSourceOpen, followed: front.followedWish)
            if newSource != nil {
                noteNewSource()
            } else if front.isSourceOpen && !isSourceOpen {
                handle(.failed(.failed), at: MonotonicClock.nowNanoseconds)
            }
        } catch {
            requestStop()
            if self.front?.hasTransformThread != true {
                for output in outputs { output.ring.close() }
            }
            throw error
        }
    }

    // MARK: Supervision

    /// Where things stand with the source. Control thread.
    public var sourceState: Supervision.State { supervision.state }

    /// Why it is away, if it is. Control thread.
    public var sourceFault: SourceFault? { supervision.fault }

    /// Whether frames come, but the transform has had no usable result for a second. Control thread.
    public var isTransformFailing: Bool { failures.isLasting }

    /// What has happened to it. Control thread.
    public var sourceCounts: Supervision.Counts { supervision.counts }

    /// Whether something has been written, if only a card, and to every virtual camera. Nobody waits
    /// for an output that is away: it may stay so for hours. Control thread.
    public var hasWritten: Bool {
        let unwritten = outputs.filter {
            $0.writeCount.load(ordering: .relaxed) == 0 && !$0.isAway.load(ordering: .relaxed)
        }
        return unwritten.count < outputs.count
            && unwritten.allSatisfy {
                !$0.isNeverSilent || $0.isFinished.load(ordering: .acquiring)
            }
    }

    /// Lets the supervision see what has happened, and does what it says: opens, restarts or closes the
    /// source, and chooses the card; and lets the sinks look after themselves. To be called some times a
    /// second. Control thread.
    ///
    /// - Parameter isWatched: whether somebody looks, or it cannot be told; counts for a camera that
    ///   is opened on demand, as a pause does.
    public func supervise(
        isWatched: Bool = true, at now: Int64 = MonotonicClock.nowNanoseconds
    ) {
        for report in gate.takeReports() {
            switch report {
            case .opened: handle(.opened, at: now)
            case .failed(let fault): handle(.failed(fault), at: now)
            }
        }
        let captured = counters.captured
        if captured != capturedBefore {
            capturedBefore = captured
            handle(.picture, at: now)
        }
        failures.follow(
            failed: counters.failed, useful: usefulCount, isLive: supervision.state == .live,
            at: now)
        // During a pause nobody sees the camera, whoever looks.
        handle(.watched(isWatched && !isPaused || !isOnDemand), at: now)
        handle(.time, at: now)
        for sink in sinks { sink.tend() }
    }

    /// Whether every thread has shown since the last time this was true that it does not hang: the
    /// capture thread by coming back from the driver, the sinks' by writing a picture or a card, and
    /// while a camera delivers the transform's by results: a network that only fails is as dead as one
    /// that hangs. Control thread.
    public func provesLife() -> Bool {
        let signs = LifeSigns(
            capture: gate.aliveNanoseconds,
            writes: outputs.filter { $0.isNeverSilent && !$0.isFinished.load(ordering: .acquiring) }
                .map { $0.writeCount.load(ordering: .relaxed) },
            done: usefulCount)
        // A file may pause as long as it likes.
        let isDelivering = supervision.state == .live && source.isCamera
        guard signs.isAll(after: lifeSigns, isDelivering: isDelivering) else { return false }
        lifeSigns = signs
        return true
    }

    /// Frames that the transform was done with and that had a result, or needed none.
    private var usefulCount: UInt64 {
        // Handed, not written: a sink that is away for days is no reason for a restart.
        outputs.reduce(0) { $0 + $1.handedCount.load(ordering: .relaxed) }
            + counters.early + counters.paused
    }

    /// How far each kind of thread has come.
    private struct LifeSigns {
        var capture: Int64 = 0
        var writes: [UInt64] = []
        var done: UInt64 = 0

        func isAll(after last: LifeSigns, isDelivering: Bool) -> Bool {
            // After a sink has ended there are fewer.
            let isSame = writes.count == last.writes.count
            return capture > last.capture && (!isDelivering || done > last.done)
                && (!isSame || zip(writes, last.writes).allSatisfy(>))
        }
    }

    private var isOnDemand: Bool { options.opensOnDemand && source.isCamera }

    private func timing(for source: any FrameSource, _ rate: FrameRate) -> Supervision.Timing {
        var timing = source.isCamera ? Supervision.Timing() : .patient
        timing.linger = options.lingerNanoseconds
        timing.allow(rate)
        return timing
    }

    private func noteNewSource() {
        guard let surroundings else { return }
        supervision.timing = timing(for: source, surroundings.format.frameRate)
        handle(.replaced, at: MonotonicClock.nowNanoseconds)
    }

    private func handle(_ event: Supervision.Event, at now: Int64) {
        if let action = supervision.handle(event, at: now) { gate.want(action) }
        let (isIdle, card) = (supervision.state == .idle && !isPaused, self.card)
        let isOther = cards?.setUser(card == .busy ? counters.sourceUser : nil) == true
        guard isIdle != switches.isIdle || card != switches.card || isOther else { return }
        switches.isIdle = isIdle
        switches.card = card
        for output in outputs { output.ring.wakeReader() }
    }

    private var card: Card.Kind {
        switch (supervision.state, supervision.fault) {
        case (.live, _) where failures.isLasting: .broken
        case (.stalled, _), (_, .failed): .failed
        case (_, .absent): .noCamera
        case (_, .busy): .busy
        case (_, nil): .starting
        }
    }

    // MARK: The end

    /// Waits for all threads, closes source and sinks, and gathers the figures.
    public func finish() -> PipelineSummary {
        join()
        guard let front else { return PipelineSummary() }
        var summary = past
        front.addFigures(to: &summary)
        summary.framesIn = counters.captured - summary.framesCutOff
        summary.badFrames = counters.bad
        summary.framesLostBySource = counters.lostBySource
        summary.framesFailed = counters.failed
        summary.framesEarly = counters.early
        summary.framesPaused = counters.paused
        summary.isSourceFailed = counters.isSourceFailed
        summary.supervision = supervision.counts
        summary.sinks = outputs.map { output in
            var sink = output.summary
            sink.framesSkipped = output.ring.skippedFrames
            return sink
        }
        return summary
    }

    private func startThreads(format: VideoFormat) throws {
        let cards = CardSet(format: format)
        self.cards = cards
        for sink in sinks {
            let ring = FrameRing<FrameBuffer>(policy: options.policy) { _ in
                FrameBuffer(format: format)
            }
            outputs.append(
                OutputStage(
                    sink: sink, ring: ring, cards: cards, counters: counters,
                    switches: switches, clock: options.frameClock))
        }
        for (index, output) in outputs.enumerated() {
            threads.append(
                try RealtimeThread(name: "lucida-output-\(index)") { output.run() })
        }
        let surroundings = PipelineFront.Surroundings(
            format: format, outputs: outputs.map(\.ring), counters: counters, switches: switches,
            gate: gate, policy: options.policy, reopensLostSource: options.reopensLostSource)
        self.surroundings = surroundings
        counters.setSourceName(source.name)
        try startFront(
            surroundings, isSourceOpen: supervision.state != .idle, followed: gate.wish)
    }

    private func startFront(
        _ surroundings: PipelineFront.Surroundings, isSourceOpen: Bool, followed: SourceGate.Wish
    ) throws {
        let front = PipelineFront(
            source: source, isSourceOpen: isSourceOpen, followed: followed, transform: transform,
            surroundings)
        self.front = front
        try front.start()
    }

    private func join() {
        // A stage that never started cannot close its ring for the next one.
        if front?.hasTransformThread != true {
            for output in outputs { output.ring.close() }
        }
        front?.join()
        for thread in threads { thread.join() }
        threads.removeAll()
        source.finish()
        for sink in sinks { sink.finish() }
    }
}

/// Set once by the control thread, polled by the capture and transform threads.
final class StopFlag: Sendable {
    private let flag = Atomic<Bool>(false)
    var isSet: Bool { flag.load(ordering: .acquiring) }
    func set() { flag.store(true, ordering: .releasing) }

    // Stored before the flag: whoever is to stop because of that leaves the sinks to others.
    private let keep = Atomic<Bool>(false)
    var keepsOutputs: Bool { keep.load(ordering: .relaxed) }
    func keepOutputs() { keep.store(true, ordering: .relaxed) }
}
