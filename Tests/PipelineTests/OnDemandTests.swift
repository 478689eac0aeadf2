// A camera that is open only while somebody looks, and what viewers see meanwhile.

import Realtime
import Synchronization
import Testing
import Video

@testable import Pipeline

/// A camera that delivers all the time while it is open, and can be made to fail.
private final class DoubleCamera: FrameSource, @unchecked Sendable {
    struct Refusal: ClassifiedSourceError {
        let fault: SourceFault
        let user: String?
    }
    enum Trouble: Int, AtomicRepresentable {
        case none, absent, busy, stalled, lost, hopeless, hangsInOpen, hangsInNext
    }

    let name = "double"
    let isCamera = true
    let trouble = Atomic<Trouble>(.none)
    let openCount = Atomic<Int>(0)
    let restartCount = Atomic<Int>(0)
    let isOpen = Atomic<Bool>(false)
    private let nap = Event()
    // Capture thread only.
    private var number: UInt64 = 0

    func plan() -> VideoFormat? { smallFormat }

    func prepare() throws -> VideoFormat {
        switch trouble.load(ordering: .relaxed) {
        case .absent: throw Refusal(fault: .absent, user: nil)
        case .busy: throw Refusal(fault: .busy, user: "recorder")
        case .hangsInOpen: hang()
        default: break
        }
        isOpen.store(true, ordering: .relaxed)
        openCount.wrappingAdd(1, ordering: .relaxed)
        return smallFormat
    }

    func next(into frame: FrameBuffer) -> SourceStatus {
        nap.wait(timeoutNanoseconds: 1_000_000)
        switch trouble.load(ordering: .relaxed) {
        case .stalled, .hopeless: return .again
        case .lost: return .deviceLost
        case .hangsInNext: hang()
        default: break
        }
        frame.bytes.copyBytes(from: repeatElement(5, count: frame.usedBytes))
        frame.metadata = FrameMetadata(
            timestampNanoseconds: MonotonicClock.nowNanoseconds, sequence: number)
        number += 1
        return .frame
    }

    /// Until the trouble is over.
    private func hang() {
        let trouble = trouble.load(ordering: .relaxed)
        while self.trouble.load(ordering: .relaxed) == trouble {
            nap.wait(timeoutNanoseconds: 1_000_000)
        }
    }

    func restart() -> Bool {
        restartCount.wrappingAdd(1, ordering: .relaxed)
        if trouble.load(ordering: .relaxed) == .stalled { set(.none) }
        return true
    }

    func finish() { isOpen.store(false, ordering: .relaxed) }

    var opened: Int { openCount.load(ordering: .relaxed) }
    var restarted: Int { restartCount.load(ordering: .relaxed) }
    var isFilming: Bool { isOpen.load(ordering: .relaxed) }

    func set(_ trouble: Trouble) { self.trouble.store(trouble, ordering: .relaxed) }
}

/// Keeps what was written last, and whether everything was overwritten with it.
private final class WindowSink: FrameSink {
    let name = "window"
    let isWatched = true
    let shown = Atomic<UInt8>(0)
    let overwriteCount = Atomic<Int>(0)
    let writeCount = Atomic<Int>(0)
    // The number of the card that was written last, by its pixels, or -1 for a picture.
    let card = Atomic<Int>(-1)
    private let cards = CardSet(format: smallFormat)

    init() { _ = cards.setUser("recorder") }

    func prepare(format: VideoFormat) throws {}

    func write(_ frame: FrameBuffer) -> SinkStatus {
        writeCount.wrappingAdd(1, ordering: .relaxed)
        shown.store(frame.bytes[0], ordering: .relaxed)
        let found = Card.Kind.allCases.first { kind in
            zip(frame.bytes, cards[kind].bytes).allSatisfy { $0 == $1 }
        }
        card.store(found.map { Int($0.rawValue) } ?? -1, ordering: .relaxed)
        return .written
    }

    func overwrite(with card: FrameBuffer) -> SinkStatus {
        overwriteCount.wrappingAdd(1, ordering: .relaxed)
        return write(card)
    }

    func finish() -> Bool { true }

    var shownCard: Card.Kind? {
        Card.Kind(rawValue: UInt8(max(0, card.load(ordering: .relaxed)))).flatMap {
            card.load(ordering: .relaxed) < 0 ? nil : $0
        }
    }
}

/// A pipeline whose supervision has a clock of the test's own.
private final class Stage {
    let camera = DoubleCamera()
    let sink = WindowSink()
    let pipeline: Pipeline
    var now = MonotonicClock.nowNanoseconds
    private let nap = Event()

    init(transform: any FrameTransform = MarkingTransform()) throws {
        var options = PipelineOptions()
        options.opensOnDemand = true
        pipeline = Pipeline(
            source: camera, transform: transform, sinks: [sink], options: options)
        try pipeline.start()
    }

    /// Lets the threads work, without time for the supervision, until something holds.
    func settle(isWatched: Bool, until isDone: () -> Bool) -> Bool {
        for _ in 0..<30_000 {
            pipeline.supervise(isWatched: isWatched, at: now)
            if isDone() { return true }
            nap.wait(timeoutNanoseconds: 1_000_000)
        }
        return false
    }

    func settle(in state: Supervision.State, isWatched: Bool = true) -> Bool {
        settle(isWatched: isWatched) { pipeline.sourceState == state }
    }

    func pass(seconds: Double, isWatched: Bool = true) {
        now += Int64(seconds * 1e9)
        pipeline.supervise(isWatched: isWatched, at: now)
    }

    var isShowingPicture: Bool { sink.shown.load(ordering: .relaxed) == 133 }

    func finish() -> PipelineSummary {
        pipeline.requestStop()
        return pipeline.finish()
    }
}

@Suite struct OnDemandTests {
    @Test(.timeLimit(.minutes(1)))
    func `nobody looks, and the camera stays closed behind a card`() throws {
        let stage = try Stage()
        #expect(stage.settle(isWatched: false) { stage.pipeline.hasWritten })
        stage.pass(seconds: 100, isWatched: false)
        #expect(stage.pipeline.sourceState == .idle)
        #expect(stage.sink.shownCard == .starting)
        let summary = stage.finish()
        #expect(stage.camera.opened == 0)
        #expect(summary.framesIn == 0 && summary.supervision == .init())
    }

    @Test(.timeLimit(.minutes(1)))
    func `who looks sees the camera, and it is closed some time after they have gone`() throws {
        let stage = try Stage()
        for _ in 0..<3 {
            #expect(stage.settle(in: .live))
            #expect(stage.settle(isWatched: true) { stage.isShowingPicture })
            stage.pass(seconds: 0, isWatched: false)
            #expect(stage.pipeline.sourceState == .lingering)
            stage.pass(seconds: 2.9, isWatched: false)
            #expect(stage.camera.isFilming)
            let covered = stage.sink.overwriteCount.load(ordering: .relaxed)
            stage.pass(seconds: 0.1, isWatched: false)
            #expect(stage.pipeline.sourceState == .idle)
            #expect(stage.settle(isWatched: false) { !stage.camera.isFilming })
            // Nothing of the picture stays for whoever comes next.
            let isCovered = stage.settle(isWatched: false) {
                stage.sink.overwriteCount.load(ordering: .relaxed) == covered + 1
            }
            #expect(isCovered && stage.sink.shownCard == .starting)
        }
        let summary = stage.finish()
        #expect(summary.supervision.attempts == 3)
        #expect(stage.camera.opened == 3)
        let sink = summary.sinks[0]
        #expect(
            sink.framesOut + sink.framesUnwatched + sink.framesSkipped + summary.framesSkipped
                == summary.framesIn)
    }

    @Test(.timeLimit(.minutes(1)))
    func `a pause closes the camera, too, and its end opens it`() throws {
        let stage = try Stage()
        #expect(stage.settle(in: .live))
        stage.pipeline.setPaused(true)
        stage.pass(seconds: 0)
        stage.pass(seconds: 3)
        #expect(stage.pipeline.sourceState == .idle)
        #expect(stage.settle(isWatched: true) { !stage.camera.isFilming })
        // Who looks gets cards as before: the sink is not left alone as it is while nobody looks.
        let covered = stage.sink.overwriteCount.load(ordering: .relaxed)
        let before = stage.sink.writeCount.load(ordering: .relaxed)
        let goesOn = stage.settle(isWatched: true) {
            stage.sink.writeCount.load(ordering: .relaxed) > before + 10
        }
        #expect(goesOn && stage.sink.shownCard == .paused)
        #expect(stage.sink.overwriteCount.load(ordering: .relaxed) == covered)
        stage.pipeline.setPaused(false)
        #expect(stage.settle(in: .live))
        #expect(stage.settle(isWatched: true) { stage.isShowingPicture })
        #expect(stage.finish().supervision.attempts == 2)
    }

    @Test(.timeLimit(.minutes(1)))
    func `probes that come and go open it once`() throws {
        let stage = try Stage()
        for _ in 0..<5 {
            #expect(stage.settle(in: .live))
            stage.pass(seconds: 1, isWatched: false)
            stage.pass(seconds: 1.5, isWatched: false)
        }
        #expect(stage.finish().supervision.attempts == 1)
    }

    @Test(.timeLimit(.minutes(1)), arguments: [SourceFault.absent, .busy])
    func `a camera that cannot be opened is tried again behind a card that says why`(
        _ fault: SourceFault
    ) throws {
        let stage = try Stage()
        stage.camera.set(fault == .busy ? .busy : .absent)
        for attempt in 1...3 {
            #expect(stage.settle(in: .waiting))
            #expect(stage.pipeline.sourceCounts.attempts == UInt64(attempt))
            let card = fault == .busy ? Card.Kind.busy : .noCamera
            #expect(stage.settle(isWatched: true) { stage.sink.shownCard == card })
            if attempt == 3 { stage.camera.set(.none) }
            stage.pass(seconds: 1)
        }
        #expect(stage.settle(in: .live))
        #expect(stage.settle(isWatched: true) { stage.isShowingPicture })
        let counts = stage.finish().supervision
        #expect(counts.refused == 3 && counts.recovered == 1 && counts.attempts == 4)
    }

    @Test(.timeLimit(.minutes(1)))
    func `a stalled camera is restarted, and opened anew if that does not help`() throws {
        let stage = try Stage()
        #expect(stage.settle(in: .live))
        stage.camera.set(.stalled)
        // Until no picture is under way any more; then time goes on.
        #expect(settleSilent(stage))
        stage.pass(seconds: 1)
        #expect(stage.pipeline.sourceState == .stalled)
        #expect(stage.settle(in: .live))
        #expect(stage.camera.restarted == 1)
        stage.camera.set(.hopeless)
        #expect(settleSilent(stage))
        stage.pass(seconds: 1)
        #expect(stage.pipeline.sourceState == .stalled)
        stage.pass(seconds: 1)
        #expect(stage.pipeline.sourceState == .starting)
        stage.camera.set(.none)
        #expect(stage.settle(in: .live))
        let counts = stage.finish().supervision
        #expect(counts.restarted == 2 && counts.reopened == 1 && counts.recovered == 2)
        #expect(stage.camera.opened == 2)
    }

    @Test(.timeLimit(.minutes(1)))
    func `a camera that is unplugged and comes back goes on`() throws {
        let stage = try Stage()
        #expect(stage.settle(in: .live))
        stage.camera.set(.lost)
        #expect(stage.settle(in: .waiting))
        stage.camera.set(.absent)
        stage.pass(seconds: 1)
        #expect(stage.settle(in: .waiting))
        stage.camera.set(.none)
        stage.pass(seconds: 1)
        #expect(stage.settle(in: .live))
        #expect(stage.settle(isWatched: true) { stage.isShowingPicture })
        let counts = stage.finish().supervision
        #expect(counts.lost == 1 && counts.refused == 1 && counts.recovered == 1)
    }

    // MARK: Proof of life

    /// Whether life is proved `count` times more.
    private func isAlive(_ stage: Stage, isWatched: Bool, times count: Int = 3) -> Bool {
        var proofs = 0
        return stage.settle(isWatched: isWatched) {
            proofs += stage.pipeline.provesLife() ? 1 : 0
            return proofs == count
        }
    }

    /// Whether no life is proved however often one looks, once what had been under way is done.
    private func isStarving(_ stage: Stage) -> Bool {
        var looks = 0
        var silence = 0
        let hasStarved = stage.settle(isWatched: true) {
            looks += 1
            silence = stage.pipeline.provesLife() ? 0 : silence + 1
            // Sinks write at least once in 150 ms, the capture thread comes back once in a second.
            return silence > 1500
        }
        return hasStarved && looks < 10_000
    }

    @Test(.timeLimit(.minutes(2)))
    func `life is proved by frames, and by cards while nobody looks or the camera is away`() throws
    {
        let stage = try Stage()
        #expect(isAlive(stage, isWatched: false))
        #expect(stage.pipeline.sourceState == .idle)
        #expect(stage.settle(in: .live))
        #expect(isAlive(stage, isWatched: true))
        stage.camera.set(.absent)
        stage.camera.set(.lost)
        #expect(stage.settle(in: .waiting))
        #expect(isAlive(stage, isWatched: true))
        _ = stage.finish()
    }

    @Test(.timeLimit(.minutes(2)))
    func `a capture thread that hangs in opening or in waiting proves nothing`() throws {
        let stage = try Stage()
        stage.camera.set(.hangsInOpen)
        #expect(stage.settle(in: .starting))
        #expect(isStarving(stage))
        stage.camera.set(.none)
        #expect(stage.settle(in: .live))
        #expect(isAlive(stage, isWatched: true))
        stage.camera.set(.hangsInNext)
        #expect(isStarving(stage))
        stage.camera.set(.none)
        #expect(isAlive(stage, isWatched: true))
        _ = stage.finish()
    }

    @Test(.timeLimit(.minutes(2)))
    func `a transform that hangs proves nothing`() throws {
        let transform = BlockingTransform()
        let stage = try Stage(transform: transform)
        #expect(stage.settle(isWatched: true) { stage.pipeline.counters.captured > 10 })
        #expect(stage.settle(in: .live))
        #expect(isStarving(stage))
        transform.releaseAll()
        _ = stage.finish()
    }

    /// Until the capture thread delivers nothing more.
    private func settleSilent(_ stage: Stage) -> Bool {
        var before = stage.pipeline.counters.captured
        var silences = 0
        return stage.settle(isWatched: true) {
            let now = stage.pipeline.counters.captured
            silences = now == before ? silences + 1 : 0
            before = now
            return silences > 50
        }
    }
}
