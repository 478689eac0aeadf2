import Pipeline
import Realtime
import Testing
import Video

@Suite struct PipelineTests {
    func everyFrame() -> PipelineOptions {
        var options = PipelineOptions()
        options.policy = .everyFrame
        options.reopensLostSource = false
        return options
    }

    @Test func `everyFrame: all frames arrive, in order, transformed, at every sink`() throws {
        let source = ScriptedSource(Array(repeating: .frame, count: 500))
        let sinks = [RecordingSink(), RecordingSink()]
        let pipeline = Pipeline(
            source: source, transform: MarkingTransform(), sinks: sinks, options: everyFrame())
        let summary = try runToEnd(pipeline)
        for sink in sinks {
            #expect(sink.sequences == Array(0..<500))
            #expect(sink.bytes.allSatisfy { $0 >= 128 })
        }
        #expect(summary.framesIn == 500)
        #expect(summary.framesSkipped == 0)
        #expect(summary.sinks.map(\.framesOut) == [500, 500])
        #expect(!source.isOpen)
    }

    @Test func `latest: in is out plus skipped, and order is kept`() throws {
        let sink = RecordingSink()
        var options = PipelineOptions()
        options.reopensLostSource = false
        let pipeline = Pipeline(
            source: ScriptedSource(Array(repeating: .frame, count: 4_000)),
            transform: MarkingTransform(), sinks: [sink], options: options)
        let summary = try runToEnd(pipeline)
        #expect(summary.framesIn == 4_000)
        let out = summary.sinks[0]
        #expect(out.framesOut + out.framesSkipped + summary.framesSkipped == 4_000)
        #expect(sink.sequences == sink.sequences.sorted())
        #expect(Set(sink.sequences).count == sink.sequences.count)
        // The newest is what a slow consumer gets: the last frame of all is always among them.
        #expect(sink.sequences.last == 3_999)
    }

    @Test func `bad frames are counted and never shown`() throws {
        let script: [SourceStatus] = [.frame, .badFrame, .again, .badFrame, .frame, .frame]
        let sink = RecordingSink()
        let pipeline = Pipeline(
            source: ScriptedSource(script), transform: MarkingTransform(), sinks: [sink],
            options: everyFrame())
        let summary = try runToEnd(pipeline)
        #expect(summary.badFrames == 2)
        #expect(sink.sequences == [0, 1, 2])
    }

    @Test func `a failed transform shows neither the raw camera nor its own garbage`() throws {
        let sink = RecordingSink()
        let pipeline = Pipeline(
            source: ScriptedSource(Array(repeating: .frame, count: 30)),
            transform: MarkingTransform { $0 % 3 == 0 }, sinks: [sink], options: everyFrame())
        let summary = try runToEnd(pipeline)
        #expect(summary.framesFailed == 10)
        #expect(sink.sequences == (0..<30).filter { $0 % 3 != 0 })
        #expect(sink.bytes.allSatisfy { $0 >= 128 })
    }

    @Test(arguments: [false, true])
    func `an early frame shows nothing, and is neither failed nor dropped`(passes: Bool) throws {
        let sink = RecordingSink()
        var options = everyFrame()
        options.passesFailuresThrough = passes
        let summary = try runToEnd(
            Pipeline(
                source: ScriptedSource(Array(repeating: .frame, count: 20)),
                transform: DelayingTransform(delayFrames: 3), sinks: [sink], options: options))
        #expect(sink.sequences == Array(0..<17))
        #expect(sink.bytes == (0..<17).map { $0 | 128 })
        #expect(summary.framesIn == 20)
        #expect(summary.framesEarly == 3)
        #expect(summary.framesFailed == 0 && summary.framesSkipped == 0)
        #expect(summary.sinks[0].framesOut == 17 && summary.sinks[0].framesSkipped == 0)
    }

    @Test func `the age of a delayed picture is that of its own frame`() throws {
        let sink = RecordingSink()
        let summary = try runToEnd(
            Pipeline(
                source: AgedSource(count: 5), transform: DelayingTransform(delayFrames: 3),
                sinks: [sink], options: everyFrame()))
        #expect(sink.sequences == [0, 1])
        // The frames that they came with are 700 and 600 ms old.
        let age = summary.sinks[0].age
        #expect(age.percentile(0.01) > 850_000_000)
    }

    @Test func `passthrough shows the raw frame only when it was asked for`() throws {
        var options = everyFrame()
        options.passesFailuresThrough = true
        let sink = RecordingSink()
        let pipeline = Pipeline(
            source: ScriptedSource(Array(repeating: .frame, count: 6)),
            transform: MarkingTransform { $0 == 2 }, sinks: [sink], options: options)
        _ = try runToEnd(pipeline)
        #expect(sink.bytes == [128, 129, 2, 131, 132, 133])
    }

    @Test func `a lost sink does not take the others down`() throws {
        let broken = RecordingSink(name: "broken") { $0 < 3 ? .written : .lost }
        let good = RecordingSink(name: "good")
        let pipeline = Pipeline(
            source: ScriptedSource(Array(repeating: .frame, count: 100)),
            transform: MarkingTransform(), sinks: [broken, good], options: everyFrame())
        let summary = try runToEnd(pipeline)
        #expect(summary.sinks.map(\.isLost) == [true, false])
        #expect(good.sequences == Array(0..<100))
        #expect(broken.bytes.count == 3)
        #expect(broken.finishCount >= 1)
    }

    @Test func `a sink that is away for a while goes on, and that is counted`() throws {
        let sink = RecordingSink { (3...5).contains($0) || $0 == 8 ? .away : .written }
        let pipeline = Pipeline(
            source: ScriptedSource(Array(repeating: .frame, count: 10)),
            transform: MarkingTransform(), sinks: [sink], options: everyFrame())
        let summary = try runToEnd(pipeline)
        #expect(sink.sequences == Array(0..<10))
        let found = summary.sinks[0]
        #expect(found.framesOut == 6 && found.framesRefused == 4 && found.interruptions == 2)
        #expect(!found.isLost)
        #expect(!pipeline.sinkCounts[0].isAway)
    }

    @Test func `the run ends when the last sink is lost`() throws {
        let sink = RecordingSink { _ in .lost }
        let pipeline = Pipeline(
            source: ScriptedSource(Array(repeating: .frame, count: 100_000)),
            transform: MarkingTransform(), sinks: [sink], options: everyFrame())
        let summary = try runToEnd(pipeline)
        #expect(summary.sinks[0].isLost)
        #expect(summary.framesIn < 100_000)
    }

    @Test func `a frame that the stop cuts off counts neither as come nor as dropped`() throws {
        let source = SteppedSource()
        let transform = BlockingTransform()
        let sink = RecordingSink()
        let pipeline = Pipeline(
            source: source, transform: transform, sinks: [sink], options: PipelineOptions())
        try pipeline.start()
        // Frame 0 is being transformed, and 1 waits, when the stop comes.
        source.release.set()
        waitLong(transform.begun)
        source.release.set()
        while pipeline.counters.captured < 2 { source.pause() }
        pipeline.requestStop()
        transform.release.set()
        let summary = pipeline.finish()
        #expect(pipeline.counters.captured == 2)
        #expect(sink.sequences == [0])
        #expect(summary.framesIn == 1)
        #expect(summary.sinks[0].framesOut == 1)
        #expect(summary.framesSkipped == 0)
    }

    @Test func `a frame that nobody is left for is dropped`() throws {
        let source = SteppedSource()
        let pipeline = Pipeline(
            source: source, transform: MarkingTransform(), sinks: [RecordingSink { _ in .lost }],
            options: PipelineOptions())
        try pipeline.start()
        source.release.set()
        while !pipeline.isFinished { source.pause() }
        // The transform learns of it by the next frame.
        source.release.set()
        while pipeline.counters.captured < 2 { source.pause() }
        let summary = pipeline.finish()
        #expect(summary.framesIn == 2)
        #expect(summary.sinks[0].framesOut == 0)
    }

    @Test func `a lost camera is opened again and the frames go on`() throws {
        var options = PipelineOptions()
        options.policy = .everyFrame
        let source = ScriptedSource([.frame, .frame, .deviceLost, .frame, .frame])
        let sink = RecordingSink()
        let pipeline = Pipeline(
            source: source, transform: MarkingTransform(), sinks: [sink], options: options)
        _ = try runToEnd(pipeline)
        #expect(source.prepareCount == 2)
        #expect(sink.sequences == [0, 1, 2, 3])
    }

    @Test func `a watched sink starts with a card`() throws {
        let sink = RecordingSink(isWatched: true)
        let pipeline = Pipeline(
            source: ScriptedSource(Array(repeating: .frame, count: 5)),
            transform: MarkingTransform(), sinks: [sink], options: everyFrame())
        let summary = try runToEnd(pipeline)
        // One, or more on a machine so busy that the first frame takes its time.
        #expect(summary.sinks[0].cards >= 1)
        #expect(sink.sequences.suffix(5) == [0, 1, 2, 3, 4])
        // The card is neither black nor a raw frame: its first pixel is the gradient's.
        #expect(sink.bytes[0] == 19)
    }

    @Test func `a sink that cannot be prepared closes the source again`() throws {
        final class Refusing: FrameSink {
            struct Refused: Error {}
            let name = "refusing"
            let isWatched = false
            func prepare(format: VideoFormat) throws { throw Refused() }
            func write(_ frame: FrameBuffer) -> SinkStatus { .lost }
            func finish() -> Bool { true }
        }
        let source = ScriptedSource([.frame])
        let pipeline = Pipeline(
            source: source, transform: MarkingTransform(), sinks: [Refusing()],
            options: PipelineOptions())
        #expect(throws: Refusing.Refused.self) { try pipeline.start() }
        #expect(!source.isOpen)
    }

    @Test(arguments: [(128, 80), (640, 360), (16, 16), (1, 1), (1920, 1080)])
    func `a card fits every size and says something`(width: Int, height: Int) {
        let frame = FrameBuffer(
            format: VideoFormat(
                pixelFormat: .rgb24, width: width, height: height, frameRate: FrameRate(30)))
        Card.draw("No camera", into: frame)
        if width >= 128 { #expect(frame.bytes.contains { $0 > 200 }) }
    }
}
