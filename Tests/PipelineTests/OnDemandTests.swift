// A camera that is open only while somebody looks, and what viewers see meanwhile.

import Realtime
import Synchronization
import Testing
import Video

@testable import Pipeline

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
    func `a camera that is not there at the start is waited for, unless that is an error`() throws {
        func pipeline(waits: Bool) -> (Pipeline, DoubleCamera, WindowSink) {
            let (camera, sink) = (DoubleCamera(), WindowSink())
            camera.set(.absent)
            var options = PipelineOptions()
            options.waitsForSource = waits
            return (
                Pipeline(
                    source: camera, transform: MarkingTransform(), sinks: [sink], options: options),
                camera, sink
            )
        }
        let (strict, _, _) = pipeline(waits: false)
        #expect(throws: DoubleCamera.Refusal.self) { try strict.start() }
        let (patient, camera, sink) = pipeline(waits: true)
        try patient.start()
        var now = MonotonicClock.nowNanoseconds
        let nap = Event()
        func settle(until isDone: () -> Bool) -> Bool {
            for _ in 0..<10_000 {
                // Nobody looks, but it is not opened on demand.
                patient.supervise(isWatched: false, at: now)
                if isDone() { return true }
                nap.wait(timeoutNanoseconds: 1_000_000)
            }
            return false
        }
        #expect(settle { patient.sourceState == .waiting && sink.shownCard == .noCamera })
        #expect(camera.opened == 0)
        camera.set(.none)
        now += 1_000_000_000
        #expect(settle { sink.shown.load(ordering: .relaxed) == 133 })
        patient.requestStop()
        #expect(patient.finish().supervision.recovered == 1)
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

    @Test(.timeLimit(.minutes(1)))
    func `a recording that is away is no sign that something hangs`() throws {
        let stage = try Stage(sinks: [RecordingSink { _ in .away }])
        #expect(stage.settle(in: .live))
        #expect(isAlive(stage, isWatched: true, times: 5))
        #expect(stage.finish().sinks[0].framesOut == 0)
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

    @Test(.timeLimit(.minutes(2)))
    func `a transform that only fails is shown as an error and proves nothing`() throws {
        let isBroken = Atomic<Bool>(false)
        let transform = MarkingTransform { _ in isBroken.load(ordering: .relaxed) }
        let stage = try Stage(transform: transform)
        #expect(stage.settle(in: .live))
        isBroken.store(true, ordering: .relaxed)
        let failed = stage.pipeline.counters.failed
        #expect(stage.settle(isWatched: true) { stage.pipeline.counters.failed > failed + 10 })
        #expect(isStarving(stage))
        stage.pass(seconds: 0.5)
        #expect(!stage.pipeline.isTransformFailing)
        for _ in 0..<2 {
            stage.pass(seconds: 0.25)
            let captured = stage.pipeline.counters.captured
            #expect(stage.settle(isWatched: true) { stage.pipeline.counters.captured > captured })
        }
        #expect(stage.pipeline.isTransformFailing && stage.pipeline.sourceState == .live)
        #expect(stage.settle(isWatched: true) { stage.sink.shownCard == .broken })
        // Nothing that the camera could do better.
        #expect(stage.pipeline.sourceCounts.restarted == 0)
        isBroken.store(false, ordering: .relaxed)
        #expect(stage.settle(isWatched: true) { stage.isShowingPicture })
        #expect(stage.settle(isWatched: true) { !stage.pipeline.isTransformFailing })
        #expect(isAlive(stage, isWatched: true))
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
