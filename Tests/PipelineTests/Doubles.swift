import Pipeline
import Realtime
import Synchronization
import Video

let smallFormat = VideoFormat(pixelFormat: .rgb24, width: 32, height: 18, frameRate: FrameRate(30))

/// A source that follows a script and then ends; frame k is filled with the byte k.
final class ScriptedSource: FrameSource, @unchecked Sendable {
    let name = "script"
    private let script: [SourceStatus]
    private var position = 0
    private var frameNumber: UInt64 = 0
    // Used by one thread at a time; read by the test after the pipeline has finished.
    private(set) var prepareCount = 0
    private(set) var isOpen = false

    init(_ script: [SourceStatus]) { self.script = script }

    func prepare() throws -> VideoFormat {
        prepareCount += 1
        isOpen = true
        return smallFormat
    }

    func next(into frame: FrameBuffer) -> SourceStatus {
        guard position < script.count else { return .endOfStream }
        defer { position += 1 }
        guard script[position] == .frame else { return script[position] }
        frame.bytes.copyBytes(from: repeatElement(UInt8(frameNumber & 127), count: frame.usedBytes))
        frame.metadata = FrameMetadata(
            timestampNanoseconds: MonotonicClock.nowNanoseconds, sequence: frameNumber)
        frameNumber += 1
        return .frame
    }

    func finish() { isOpen = false }
}

/// A source that delivers a frame whenever `release` is set, until it is interrupted.
final class SteppedSource: FrameSource, @unchecked Sendable {
    let name = "steps"
    let release = Event()
    private let nap = Event()
    // Capture thread only.
    private var frameNumber: UInt64 = 0
    // One thread at a time, as `FrameSource` says.
    private var isOpen = false
    /// The closed source that this one was last put in the place of. Control thread.
    private(set) weak var replaced: SteppedSource?

    func prepare() throws -> VideoFormat {
        isOpen = true
        return smallFormat
    }

    func takeOver(from before: any FrameSource) {
        guard let before = before as? SteppedSource, !before.isOpen else { return }
        replaced = before
    }

    func next(into frame: FrameBuffer) -> SourceStatus {
        guard release.wait(timeoutNanoseconds: 1_000_000) else { return .again }
        frame.metadata = FrameMetadata(
            timestampNanoseconds: MonotonicClock.nowNanoseconds, sequence: frameNumber)
        frameNumber += 1
        return .frame
    }

    func finish() { isOpen = false }

    /// Lets other threads work for a moment. One thread at a time.
    func pause() { nap.wait(timeoutNanoseconds: 1_000_000) }
}

/// A transform that says when it has begun a frame, and ends it when it is told to.
final class BlockingTransform: FrameTransform, @unchecked Sendable {
    let lookAheadFrames = 0
    let delayFrames = 0
    let begun = Event()
    let release = Event()
    private let isOpen = Atomic(false)

    func prepare(format: VideoFormat) throws {}

    func process(
        _ input: FrameBuffer, into output: FrameBuffer, elapsedNanoseconds: Int64
    ) -> TransformResult {
        begun.set()
        if !isOpen.load(ordering: .acquiring) { waitLong(release) }
        return .picture
    }

    func reset() {}

    /// Holds up no frame any more.
    func releaseAll() {
        isOpen.store(true, ordering: .releasing)
        release.set()
    }
}

/// Waits for something that is sure to come, but not for ever.
func waitLong(_ event: Event) {
    for _ in 0..<600 where event.wait(timeoutNanoseconds: 100_000_000) { return }
}

/// Adds 128 to every byte, so that a raw frame (below 128) can be told from a transformed one.
/// Frames whose number `fails` says yes to have no result.
final class MarkingTransform: FrameTransform, @unchecked Sendable {
    let lookAheadFrames = 0
    let delayFrames = 0
    let fails: @Sendable (UInt64) -> Bool

    init(fails: @escaping @Sendable (UInt64) -> Bool = { _ in false }) { self.fails = fails }

    func prepare(format: VideoFormat) throws {}

    func process(
        _ input: FrameBuffer, into output: FrameBuffer, elapsedNanoseconds: Int64
    ) -> TransformResult {
        // What a failing network leaves behind must not be shown either.
        for index in 0..<input.usedBytes { output.bytes[index] = input.bytes[index] | 128 }
        return fails(input.metadata.sequence) ? .failed : .picture
    }

    func reset() {}
}

/// Gives pictures that come a few frames later than their own, as a stream batch does.
final class DelayingTransform: FrameTransform, @unchecked Sendable {
    let lookAheadFrames = 0
    let delayFrames: Int
    // Transform thread only.
    private var under: [(byte: UInt8, metadata: FrameMetadata)] = []

    init(delayFrames: Int) { self.delayFrames = delayFrames }

    func prepare(format: VideoFormat) throws {}

    func process(
        _ input: FrameBuffer, into output: FrameBuffer, elapsedNanoseconds: Int64
    ) -> TransformResult {
        under.append((input.bytes[0], input.metadata))
        guard under.count > delayFrames else { return .early }
        let (byte, metadata) = under.removeFirst()
        output.bytes.copyBytes(from: repeatElement(byte | 128, count: output.usedBytes))
        output.metadata = metadata
        return .picture
    }

    func reset() { under.removeAll() }
}

/// Frames whose timestamps lie a tenth of a second apart, all in the past: the first a second ago.
final class AgedSource: FrameSource, @unchecked Sendable {
    static let stepNanoseconds: Int64 = 100_000_000
    let name = "aged"
    private let count: Int64
    private let start = MonotonicClock.nowNanoseconds - 10 * AgedSource.stepNanoseconds
    // Capture thread only.
    private var number: Int64 = 0

    init(count: Int64) { self.count = count }

    func prepare() throws -> VideoFormat { smallFormat }

    func next(into frame: FrameBuffer) -> SourceStatus {
        guard number < count else { return .endOfStream }
        frame.metadata = FrameMetadata(
            timestampNanoseconds: start + number * Self.stepNanoseconds, sequence: UInt64(number))
        number += 1
        return .frame
    }

    func finish() {}
}

/// Keeps the first byte and the number of everything written.
final class RecordingSink: FrameSink, @unchecked Sendable {
    let name: String
    let isWatched: Bool
    private let status: @Sendable (Int) -> SinkStatus
    // Output thread only; read by the test after the pipeline has finished.
    private(set) var bytes: [UInt8] = []
    private(set) var sequences: [UInt64] = []
    private(set) var timestamps: [Int64] = []
    /// Which of `bytes` took the place of everything before.
    private(set) var overwritten: [Int] = []
    private(set) var finishCount = 0

    init(
        name: String = "recording", isWatched: Bool = false,
        status: @escaping @Sendable (Int) -> SinkStatus = { _ in .written }
    ) {
        self.name = name
        self.isWatched = isWatched
        self.status = status
    }

    func prepare(format: VideoFormat) throws {}

    func write(_ frame: FrameBuffer) -> SinkStatus {
        bytes.append(frame.bytes[0])
        sequences.append(frame.metadata.sequence)
        timestamps.append(frame.metadata.timestampNanoseconds)
        return status(bytes.count)
    }

    func overwrite(with card: FrameBuffer) -> SinkStatus {
        overwritten.append(bytes.count)
        return write(card)
    }

    func finish() -> Bool {
        finishCount += 1
        return true
    }
}

/// Runs a pipeline to its own end.
func runToEnd(_ pipeline: Pipeline) throws -> PipelineSummary {
    try pipeline.start()
    let pause = Event()
    while !pipeline.isFinished {
        pause.wait(timeoutNanoseconds: 1_000_000)
        pipeline.supervise()
    }
    return pipeline.finish()
}
