// A pause shows cards and nothing else, and nothing filmed before its end comes after it.

import Realtime
import Testing
import Video

@testable import Pipeline

/// Marks frames as `MarkingTransform` does, and counts how often it was told to forget.
private final class ForgettingTransform: FrameTransform, @unchecked Sendable {
    let lookAheadFrames = 0
    let delayFrames = 0
    // Transform thread only; read by the test after the pipeline has finished.
    private(set) var resets = 0
    private(set) var frames = 0

    func prepare(format: VideoFormat) throws {}

    func process(
        _ input: FrameBuffer, into output: FrameBuffer, elapsedNanoseconds: Int64
    ) -> TransformResult {
        frames += 1
        output.bytes.copyBytes(from: repeatElement(200, count: output.usedBytes))
        return .picture
    }

    func reset() { resets += 1 }
}

@Suite struct PauseTests {
    private let picture: UInt8 = 200

    private let cards = CardSet(format: smallFormat)
    private var card: UInt8 { cards[.paused].bytes[0] }

    /// Lets frames through until `isDone`, which is sure to come.
    private func step(_ source: SteppedSource, until isDone: () -> Bool) {
        for _ in 0..<60_000 where !isDone() {
            source.release.set()
            source.pause()
        }
    }

    @Test(.timeLimit(.minutes(2)))
    func `a paused pipeline writes cards alone, and forgets`() throws {
        let (source, transform) = (SteppedSource(), ForgettingTransform())
        let sinks = [
            RecordingSink(name: "watched", isWatched: true), RecordingSink(name: "file"),
        ]
        let pipeline = Pipeline(
            source: source, transform: transform, sinks: sinks, options: PipelineOptions())
        try pipeline.start()
        step(source) { pipeline.framesWritten >= 5 }
        #expect(!pipeline.isPaused)
        pipeline.setPaused(true)
        #expect(pipeline.isPaused)
        // The sinks follow at once: what they write from here on is no picture.
        let counts = pipeline.sinkCounts.map(\.written)
        let pausedBefore = pipeline.counters.paused
        let firstOfPause = pipeline.counters.captured
        step(source) { pipeline.counters.paused >= pausedBefore + 20 }
        #expect(pipeline.sinkCounts.map(\.written) == counts)
        let firstAfterwards = pipeline.counters.captured
        pipeline.setPaused(false)
        step(source) { pipeline.framesWritten >= counts[0] + 5 }
        pipeline.requestStop()
        let summary = pipeline.finish()

        // Once at the beginning of the pause and once at its end, however many frames came.
        #expect(transform.resets == 2)
        #expect(summary.framesPaused >= 20)
        #expect(
            transform.frames + Int(summary.framesPaused + summary.framesSkipped)
                >= Int(summary.framesIn))
        for sink in sinks {
            let numbers = zip(sink.bytes, sink.sequences).filter { $0.0 == picture }.map(\.1)
            #expect(numbers.allSatisfy { $0 < firstOfPause || $0 >= firstAfterwards })
        }
        let watched = sinks[0].bytes
        let first = try #require(watched.firstIndex(of: picture))
        let begin = try #require(watched[first...].firstIndex(of: card))
        #expect(
            zip(watched, sinks[0].sequences).dropFirst(begin)
                .allSatisfy { $0.0 == card || $0.1 >= firstAfterwards })
        #expect(watched.last == picture)
        // The first card after pictures, and the very first, leaves none of them to be read.
        let firstCards = watched.indices.filter {
            watched[$0] != picture && ($0 == 0 || watched[$0 - 1] == picture)
        }
        #expect(sinks[0].overwritten == firstCards && firstCards.count >= 2)
        #expect(sinks[1].overwritten == [])
        // Raw frames are 0.
        #expect(!watched.contains(0))
        #expect(sinks[1].bytes.allSatisfy { $0 == picture || $0 == card })
        // What nobody watches gets no card but for a pause.
        #expect(sinks[1].bytes.first == picture)
    }

    @Test(.timeLimit(.minutes(2)))
    func `a recording of a pause has cards whose time goes on as that of frames`() throws {
        let (source, transform) = (SteppedSource(), ForgettingTransform())
        let sink = RecordingSink(name: "file")
        let pipeline = Pipeline(
            source: source, transform: transform, sinks: [sink], options: PipelineOptions())
        try pipeline.start()
        step(source) { pipeline.framesWritten >= 5 }
        let begin = MonotonicClock.nowNanoseconds
        pipeline.setPaused(true)
        // As the clock decides how many cards there are, nothing but time can be waited for.
        let nap = Event()
        nap.wait(timeoutNanoseconds: 400_000_000)
        let end = MonotonicClock.nowNanoseconds
        pipeline.setPaused(false)
        let written = pipeline.framesWritten
        step(source) { pipeline.framesWritten >= written + 5 }
        pipeline.requestStop()
        let summary = pipeline.finish()

        let times = sink.timestamps
        #expect(zip(times, times.dropFirst()).allSatisfy { $0 < $1 })
        let cardTimes = zip(sink.bytes, times).filter { $0.0 == card }.map(\.1)
        #expect(UInt64(cardTimes.count) == summary.sinks[0].cards && cardTimes.count > 1)
        // All within the pause, one at each frame's time.
        let interval = smallFormat.frameRate.intervalNanoseconds
        let second = 1_000_000_000 as Int64
        #expect(cardTimes.allSatisfy { $0 > begin - second && $0 < end })
        #expect(
            zip(cardTimes, cardTimes.dropFirst()).allSatisfy {
                $1 - $0 == interval || $1 - $0 > second
            })
        #expect(sink.bytes.first == picture && sink.bytes.last == picture)
    }

    @Test func `cards are timed as frames that are written as late`() throws {
        var card = RecordedCard(cards[.paused])
        let interval = smallFormat.frameRate.intervalNanoseconds
        card.follow(1000, writtenAt: 51_000)
        #expect(card.next(at: 51_000 + interval - 1) == nil)
        #expect(card.next(at: 51_000 + interval)?.metadata.timestampNanoseconds == 1000 + interval)
        #expect(card.next(at: 51_000 + interval) == nil)
        // A little late: it catches up, card by card.
        let late = 51_000 + 3 * interval
        #expect(card.next(at: late)?.metadata.timestampNanoseconds == 1000 + 2 * interval)
        #expect(card.next(at: late)?.metadata.timestampNanoseconds == 1000 + 3 * interval)
        #expect(card.next(at: late) == nil)
        // Held up for long: it goes on from now.
        let later = late + 5_000_000_000
        #expect(card.next(at: later)?.metadata.timestampNanoseconds == later - 50_000)
        #expect(card.next(at: later) == nil)
        // Before the first frame there is nothing to be timed by.
        var first = RecordedCard(cards[.paused])
        #expect(first.next(at: 7)?.metadata.timestampNanoseconds == 7)
    }

    @Test(.timeLimit(.minutes(2)))
    func `frames that come as fast as they can get no cards`() throws {
        let (source, sink) = (SteppedSource(), RecordingSink(name: "file"))
        var options = PipelineOptions()
        options.policy = .everyFrame
        let pipeline = Pipeline(
            source: source, transform: ForgettingTransform(), sinks: [sink], options: options)
        try pipeline.start()
        step(source) { pipeline.framesWritten >= 3 }
        pipeline.setPaused(true)
        step(source) { pipeline.counters.paused >= 50 }
        pipeline.setPaused(false)
        pipeline.requestStop()
        #expect(pipeline.finish().sinks[0].cards == 0)
        #expect(sink.bytes.allSatisfy { $0 == picture })
    }

    @Test(.timeLimit(.minutes(2)))
    func `a pause in the midst of a frame swallows that frame`() throws {
        let (source, transform) = (SteppedSource(), BlockingTransform())
        let sink = RecordingSink(isWatched: true)
        let pipeline = Pipeline(
            source: source, transform: transform, sinks: [sink], options: PipelineOptions())
        try pipeline.start()
        source.release.set()
        waitLong(transform.begun)
        // While the frame is in the network: on and off again.
        pipeline.setPaused(true)
        pipeline.setPaused(false)
        transform.release.set()
        step(source) { pipeline.counters.paused > 0 }
        transform.release.set()
        pipeline.requestStop()
        for _ in 0..<3 { transform.release.set() }
        let summary = pipeline.finish()
        #expect(summary.framesPaused >= 1)
        #expect(
            !sink.sequences.enumerated().contains {
                sink.bytes[$0.offset] == picture && $0.element == 0
            })
    }

    @Test func `what is shown on failure changes with the next frame`() throws {
        let source = SteppedSource()
        let sink = RecordingSink()
        let pipeline = Pipeline(
            source: source, transform: MarkingTransform { _ in true }, sinks: [sink],
            options: PipelineOptions())
        try pipeline.start()
        step(source) { pipeline.counters.failed >= 3 }
        pipeline.setPassesFailuresThrough(true)
        step(source) { pipeline.framesWritten >= 3 }
        pipeline.setPassesFailuresThrough(false)
        let failed = pipeline.counters.failed
        step(source) { pipeline.counters.failed >= failed + 3 }
        pipeline.requestStop()
        _ = pipeline.finish()
        // Raw ones, because that was asked for, and never what a failing network left.
        #expect(!sink.bytes.isEmpty && sink.bytes.allSatisfy { $0 == 0 })
    }

    @Test func `figures of the last seconds are of those alone`() {
        let recent = RecentFrames()
        #expect(recent.figures(since: 0).age(0.5) == nil)
        #expect(recent.figures(since: 0).framesPerSecond == 0)
        for number in 0..<1000 {
            recent.record(ageNanoseconds: Int64(number), at: Int64(number) * 100_000_000)
        }
        // The last 20, a tenth of a second apart.
        let figures = recent.figures(since: 98_000_000_000)
        #expect(abs(figures.framesPerSecond - 10) < 1e-9)
        #expect(figures.age(0.5) == 989 && figures.age(0.95) == 998 && figures.age(1) == 999)
        // More than are kept.
        #expect(recent.figures(since: 0).age(0) == 1000 - Int64(RecentFrames.countMax))
    }
}
