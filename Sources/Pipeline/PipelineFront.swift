// What lies before the sinks: source and transform with their threads. It can be replaced while the
// sinks go on.

internal import Realtime
internal import Video

/// Capture and transform stage of one source and one transform. Made, started and joined by the
/// control thread.
final class PipelineFront {
    /// What all fronts of a pipeline share.
    struct Surroundings {
        let format: VideoFormat
        let outputs: [FrameRing<FrameBuffer>]
        let counters: PipelineCounters
        let switches: PipelineSwitches
        let gate: SourceGate
        let policy: RingPolicy
        let reopensLostSource: Bool
    }

    private let capture: CaptureStage
    private let transformer: TransformStage
    private let gate: SourceGate
    private let stop = StopFlag()
    private var threads: [RealtimeThread] = []

    /// - Parameters:
    ///   - isSourceOpen: otherwise it is opened when the supervision wants it.
    ///   - followed: the last of its wishes that another front has followed.
    init(
        source: any FrameSource, isSourceOpen: Bool, followed: SourceGate.Wish,
        transform: any FrameTransform,
        _ surroundings: Surroundings
    ) {
        let ring = FrameRing<FrameBuffer>(policy: surroundings.policy) { _ in
            FrameBuffer(format: surroundings.format)
        }
        gate = surroundings.gate
        capture = CaptureStage(
            source: source, isOpen: isSourceOpen, followed: followed, format: surroundings.format,
            ring: ring, counters: surroundings.counters, stop: stop, gate: surroundings.gate,
            reopens: surroundings.reopensLostSource)
        transformer = TransformStage(
            transform: transform, input: ring, outputs: surroundings.outputs,
            counters: surroundings.counters, stop: stop, switches: surroundings.switches)
    }

    /// - Throws: `RealtimeThreadError`; what has been started must still be joined.
    func start() throws {
        let (transformer, capture) = (transformer, capture)
        threads.append(try RealtimeThread(name: "lucida-transf") { transformer.run() })
        threads.append(try RealtimeThread(name: "lucida-capture") { capture.run() })
    }

    /// Whether somebody closes the sinks' rings at the end.
    var hasTransformThread: Bool { !threads.isEmpty }

    /// Frames that came in while the transform was busy.
    var framesSkipped: UInt64 { capture.ring.skippedFrames }

    /// Asks both stages to stop after the frame they work on.
    ///
    /// - Parameter keepsOutputs: whether another front will write to the sinks' rings.
    func requestStop(keepsOutputs: Bool) {
        if keepsOutputs { stop.keepOutputs() }
        stop.set()
        gate.wake()
    }

    /// Whether the source is open. After the join.
    var isSourceOpen: Bool { capture.isOpen }

    /// The last wish of the supervision that was followed. After the join.
    var followedWish: SourceGate.Wish { capture.followed }

    func join() {
        for thread in threads { thread.join() }
    }

    /// Adds what this front has counted. After the join.
    func addFigures(to summary: inout PipelineSummary) {
        summary.framesCutOff += transformer.wasStopped ? capture.ring.takeRemaining() : 0
        summary.framesSkipped += capture.ring.skippedFrames
        summary.capture.add(capture.latency)
        summary.queue.add(transformer.queueTime)
        summary.transform.add(transformer.processTime)
        guard let steady = transformer.steadyState else { return }
        let before = summary.steadyState
        summary.steadyState = PipelineSummary.SteadyState(
            frames: steady.frames + (before?.frames ?? 0),
            allocations: steady.allocations.map { $0 + (before?.allocations ?? 0) })
    }
}
