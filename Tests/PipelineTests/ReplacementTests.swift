// Source and transform are replaced while the sinks go on.

import Realtime
import Testing
import Video

@testable import Pipeline

/// Fills pictures with one byte.
private final class FillingTransform: FrameTransform, @unchecked Sendable {
    let lookAheadFrames = 0
    let delayFrames = 0
    private let byte: UInt8
    private let isUsable: Bool

    init(_ byte: UInt8, isUsable: Bool = true) {
        self.byte = byte
        self.isUsable = isUsable
    }

    struct Unusable: Error {}

    func prepare(format: VideoFormat) throws { if !isUsable { throw Unusable() } }

    func process(
        _ input: FrameBuffer, into output: FrameBuffer, elapsedNanoseconds: Int64
    ) -> TransformResult {
        output.bytes.copyBytes(from: repeatElement(byte, count: output.usedBytes))
        return .picture
    }

    func reset() {}
}

@Suite struct ReplacementTests {
    private let cards = CardSet(format: smallFormat)

    private func step(_ source: SteppedSource, until isDone: () -> Bool) {
        for _ in 0..<60_000 where !isDone() {
            source.release.set()
            source.pause()
        }
    }

    private func more(_ pipeline: Pipeline, _ source: SteppedSource) {
        let count = pipeline.framesWritten
        step(source) {
            pipeline.supervise()
            return pipeline.framesWritten >= count + 5
        }
        #expect(pipeline.framesWritten >= count + 5)
    }

    @Test(.timeLimit(.minutes(2)))
    func `the sinks stay open, pictures keep their order, and all frames are accounted for`() throws
    {
        let sources = [SteppedSource(), SteppedSource()]
        let sinks = [RecordingSink(name: "watched", isWatched: true), RecordingSink()]
        let pipeline = Pipeline(
            source: sources[0], transform: FillingTransform(200), sinks: sinks,
            options: PipelineOptions())
        try pipeline.start()
        more(pipeline, sources[0])
        // One that cannot be prepared changes nothing.
        #expect(throws: FillingTransform.Unusable.self) {
            try pipeline.replaceFront(
                source: nil, transform: FillingTransform(201, isUsable: false))
        }
        more(pipeline, sources[0])
        try pipeline.replaceFront(source: nil, transform: FillingTransform(202))
        more(pipeline, sources[0])
        try pipeline.replaceFront(source: sources[1], transform: nil)
        #expect(sources[1].replaced === sources[0])
        more(pipeline, sources[1])
        try pipeline.replaceFront(source: sources[0], transform: FillingTransform(203))
        // During a pause, too.
        pipeline.setPaused(true)
        try pipeline.replaceFront(source: nil, transform: FillingTransform(204))
        let paused = pipeline.counters.paused
        step(sources[0]) { pipeline.counters.paused > paused + 5 }
        pipeline.setPaused(false)
        more(pipeline, sources[0])
        #expect(sinks.map(\.finishCount) == [0, 0])
        pipeline.requestStop()
        let summary = pipeline.finish()

        let card = cards[.paused].bytes[0]
        let pictures = sinks[1].bytes.filter { $0 != card }
        #expect(Set(pictures).isSubset(of: [200, 202, 203, 204]))
        #expect(pictures == pictures.sorted())
        #expect(Set(sinks[0].bytes).isSuperset(of: [200, 202, 204]))
        #expect(!sinks[0].bytes.contains(0))
        for sink in summary.sinks {
            #expect(!sink.isLost)
            #expect(
                sink.framesOut + sink.framesSkipped + sink.framesPaused + summary.framesSkipped
                    + summary.framesPaused == summary.framesIn)
        }
        #expect(
            summary.transform.count + summary.framesPaused + summary.framesSkipped
                == summary.framesIn)
    }
}
