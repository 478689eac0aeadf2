// A camera, a virtual camera and a pipeline between them whose supervision has a clock of the test's own.

import Realtime
import Synchronization
import Testing
import Video

@testable import Pipeline

/// A camera that delivers all the time while it is open, and can be made to fail.
final class DoubleCamera: FrameSource, @unchecked Sendable {
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
final class WindowSink: FrameSink {
    let name = "window"
    let isWatched = true
    let shown = Atomic<UInt8>(0)
    let overwriteCount = Atomic<Int>(0)
    let writeCount = Atomic<Int>(0)
    // Of pictures, from their timestamp to the write, repetitions included; nanoseconds.
    let oldestAge = Atomic<Int64>(0)
    // Of new pictures alone, and the timestamp of the last one. The sink's thread writes, the test reads.
    private let fresh = Mutex((ages: LatencyHistogram(), last: Int64(0)))
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
        if found == nil {
            let age = MonotonicClock.nowNanoseconds - frame.metadata.timestampNanoseconds
            if age > oldestAge.load(ordering: .relaxed) { oldestAge.store(age, ordering: .relaxed) }
            fresh.withLock { fresh in
                guard frame.metadata.timestampNanoseconds != fresh.last else { return }
                fresh.last = frame.metadata.timestampNanoseconds
                fresh.ages.record(nanoseconds: age)
            }
        }
        card.store(found.map { Int($0.rawValue) } ?? -1, ordering: .relaxed)
        return .written
    }

    func overwrite(with card: FrameBuffer) -> SinkStatus {
        overwriteCount.wrappingAdd(1, ordering: .relaxed)
        return write(card)
    }

    func finish() -> Bool { true }

    /// Ages of the new pictures since the last call.
    func takeAges() -> LatencyHistogram {
        fresh.withLock { fresh in
            defer { fresh.ages = LatencyHistogram() }
            return fresh.ages
        }
    }

    var shownCard: Card.Kind? {
        Card.Kind(rawValue: UInt8(max(0, card.load(ordering: .relaxed)))).flatMap {
            card.load(ordering: .relaxed) < 0 ? nil : $0
        }
    }
}

/// A pipeline whose supervision has a clock of the test's own.
final class Stage {
    /// The one that is in place.
    var camera = DoubleCamera()
    let sink = WindowSink()
    let pipeline: Pipeline
    var now = MonotonicClock.nowNanoseconds
    private let nap = Event()

    /// - Parameter sinks: in place of the window.
    init(
        transform: any FrameTransform = MarkingTransform(), sinks: [any FrameSink]? = nil
    ) throws {
        var options = PipelineOptions()
        options.opensOnDemand = true
        pipeline = Pipeline(
            source: camera, transform: transform, sinks: sinks ?? [sink], options: options)
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
