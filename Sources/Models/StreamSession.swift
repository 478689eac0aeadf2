// The streaming U-Net prepared for one size: what the transform thread calls for every frame.

public import NeuralEngine
internal import Realtime
internal import Synchronization

/// Frames in, frames out, each resting on the one before: alignment, K steps of the flow, the way out.
///
/// `transform` and `reset` belong to one thread at a time, `change` to the control thread. What a
/// change needs is made on a thread of its own and handed over between two frames.
public final class StreamSession: FrameSession, @unchecked Sendable {
    /// Sizes of frame and model.
    public let geometry: FrameGeometry
    /// Threads of the engine, the caller of `transform` included.
    public var threads: Int { factory.pool.threads }
    /// Bytes of activations, packed weights and scratch memory.
    public var byteCount: Int { network.byteCount + outsideBytes }
    /// In what the convolutions are multiplied, and how many in each, for people.
    public let precision: String
    /// Everything is computed for every frame; 0 where strength 0 left nothing to do.
    public private(set) var workShare = 1.0
    /// In a stream batch a frame less than there are steps.
    public private(set) var delayFrames = 0

    private let model: StreamingUNet
    // Around the network.
    private let outsideBytes: Int
    private let factory: StreamNetworkFactory
    private let tensors: StreamTensors
    private let stream: StreamSteps
    private let check = FiniteCheck()
    // Where frame and model differ in size, the change is scaled and added by these.
    private let blend: (rows: ResidualRowsStep, blend: ResidualBlendStep)?
    // Transform thread.
    private var network: StreamNetwork
    private var live: LiveSettings
    /// For so many frames the past is in another style than the network draws.
    private var otherStyleFrames = 0

    /// Other weights draw over what the last ones have left only as far as the past is not kept, and of a
    /// picture that stands nearly all of it is: `ink` took four seconds to go from a wall. With half of the trust
    /// a 250th is left of it after eight frames, which is how long a fade waits for its next mix at 60 a second.
    private static let otherStyle = (frames: 8, temporal: Float(0.5))
    // From the control thread to the transform thread.
    private let handover = Handover()
    // What the start found to be fastest.
    private let tuning: @Sendable () -> ConvolutionTuning
    private let fader = StyleFader()
    // Control thread.
    private var look: Look
    // Which the next network goes on with.
    private var batch: StreamBatch?

    /// What changes without other weights.
    private struct LiveSettings {
        var strength: Float
        var temporal: Float
        var seed: Int

        init(_ look: Look) {
            strength = look.strength
            temporal = look.temporal
            seed = look.seed
        }
    }

    private final class Handover: Sendable {
        struct State {
            var settings: LiveSettings?
            var network: StreamNetwork?
            /// The one before: freed by whoever hands over the next, not by the transform thread.
            var retired: StreamNetwork?
            /// What was asked for last could not be made.
            var hasFailed = false
        }

        let state = Mutex(State())

        func hand(_ next: StreamNetwork) {
            state.withLock {
                $0.retired = nil
                $0.network = next
                $0.hasFailed = false
            }
        }
    }

    init(_ model: StreamingUNet, _ request: SessionRequest) throws(ModelError) {
        try request.look.check(for: model.file)
        let styles = try model.weights(of: request.look.style)
        do throws(EngineError) {
            let backend = try Backend.shared()
            let pool = try WorkerPool(threads: request.threads)
            let geometry = try FrameGeometry(
                frameWidth: request.frameWidth, frameHeight: request.frameHeight,
                modelWidth: request.modelWidth, modelHeight: request.modelHeight,
                multiple: StreamingUNet.sizeMultiple)
            tensors = try StreamTensors(geometry)
            factory = StreamNetworkFactory(
                model: model, backend: backend, pool: pool, geometry: geometry,
                tensors: tensors, precisions: request.precisions)
            batch = try factory.batch(for: request.look)
            network = try factory.network(
                styles: styles, steps: request.look.steps, batch: batch, tuning: request.tuning)
            stream = try StreamSteps(
                backend: backend, geometry: geometry, input: tensors.input,
                result: tensors.result, threads: pool.threads, trustMax: model.trustMax,
                check: check)
            blend =
                geometry.isSameSize
                ? nil
                : Self.blend(backend, geometry, tensors.result, check, threads: pool.threads)
            outsideBytes =
                tensors.byteCount + StreamSteps.byteCount(geometry, threads: pool.threads)
            self.geometry = geometry
        } catch {
            throw .engine(error)
        }
        self.model = model
        look = request.look
        live = LiveSettings(request.look)
        precision = network.precision
        tuning = request.tuning.found
        stream.setSource(UnsafeBufferPointer(network.source))
        stream.batch = batch
        fader.begin(at: styles)
        warmUp()
    }

    private static func blend(
        _ backend: Backend, _ geometry: FrameGeometry, _ residual: TensorView,
        _ check: FiniteCheck, threads: Int
    ) -> (rows: ResidualRowsStep, blend: ResidualBlendStep) {
        let rows = ResidualRowsStep(
            backend: backend, geometry: geometry, residual: residual, check: check,
            threads: threads)
        return (
            rows,
            ResidualBlendStep(backend: backend, geometry: geometry, source: rows, threads: threads)
        )
    }

    deinit { fader.stop() }

    // MARK: Frames

    /// Transforms one frame. With a strength of 0 it is copied, and the past forgotten, frames under
    /// way included.
    public func transform(
        _ pointers: FramePointers, stepNanoseconds: UnsafeMutablePointer<Int64>?
    ) -> FrameResult {
        takeOver()
        var pointers = pointers
        pointers.strength *= live.strength
        // NaN is no strength either.
        guard pointers.strength > 0 else {
            copy(pointers)
            workShare = 0
            delayFrames = 0
            reset()
            return .picture
        }
        workShare = 1
        pointers.strength = min(pointers.strength, 1)
        stream.temporal = live.temporal
        if otherStyleFrames > 0 {
            otherStyleFrames -= 1
            stream.temporal *= Self.otherStyle.temporal
        }
        stream.seed = live.seed
        stream.begin(pointers)
        var clock = StepClock(stepNanoseconds)
        for work in stream.beginning { clock.run(work, on: factory.pool) }
        let count = network.steps.count
        for turn in 0..<count {
            let index = network.index(ofTurn: turn)
            guard stream.isDue(index) else { continue }
            for work in network.steps[index].steps { clock.run(work, on: factory.pool) }
            clock.run(stream.step(index, of: count), on: factory.pool)
            if index == count - 1 { blendPicture(&clock) }
        }
        let isEarly = stream.picture == nil
        guard stream.finish() else { return .bad }
        guard !isEarly else { return .early }
        delayFrames = network.batch == nil ? 0 : count - 1
        return .picture
    }

    /// What the last step leaves to do where frame and model differ in size.
    private func blendPicture(_ clock: inout StepClock) {
        guard let blend else { return }
        blend.blend.pointers = stream.picture
        clock.run(blend.rows, on: factory.pool)
        clock.run(blend.blend, on: factory.pool)
    }

    /// Times steps where that is wanted.
    private struct StepClock {
        private var next: UnsafeMutablePointer<Int64>?

        init(_ first: UnsafeMutablePointer<Int64>?) { next = first }

        mutating func run(_ work: ParallelWork, on pool: WorkerPool) {
            guard let place = next else { return pool.run(work) }
            let start = MonotonicClock.nowNanoseconds
            pool.run(work)
            place.pointee = MonotonicClock.nowNanoseconds - start
            next = place + 1
        }
    }

    /// Takes what `change` has left, if nobody is just leaving something.
    private func takeOver() {
        var isOtherStyle = false
        let taken = handover.state.withLockIfAvailable { handover -> Bool in
            if let settings = handover.settings {
                live = settings
                handover.settings = nil
            }
            guard handover.retired == nil, let next = handover.network else { return false }
            handover.retired = network
            handover.network = nil
            isOtherStyle = next.styles != network.styles
            network = next
            // Before anybody can free the one before.
            stream.batch = next.batch
            return true
        }
        guard taken == true else { return }
        stream.setSource(UnsafeBufferPointer(network.source))
        if isOtherStyle { otherStyleFrames = Self.otherStyle.frames }
    }

    private func copy(_ pointers: FramePointers) {
        guard UnsafePointer(pointers.output) != pointers.frame else { return }
        for y in 0..<geometry.frameHeight {
            (pointers.output + y * pointers.outputStride).update(
                from: pointers.frame + y * pointers.frameStride, count: 3 * geometry.frameWidth)
        }
    }

    /// Forgets earlier frames: a cut, a pause, another camera.
    public func reset() {
        stream.reset()
        otherStyleFrames = 0
    }

    // MARK: Changes

    /// Other settings take effect with the next frame, another style or number of steps when its
    /// weights are folded, and styles fade one into the other. A new change ends a fade where it is.
    /// With another number of steps a stream batch fills anew. What failed can be asked for again.
    public func change(to look: Look, fadeSeconds: Double) throws(ModelError) {
        try look.check(for: model.file)
        let target = try model.weights(of: look.style)
        let isOtherFlow =
            look.steps != self.look.steps || look.streamBatch != self.look.streamBatch
        do throws(EngineError) {
            if isOtherFlow { batch = try factory.batch(for: look) }
        } catch {
            throw .engine(error)
        }
        let hasFailed = handover.state.withLock { state in
            state.settings = LiveSettings(look)
            return state.hasFailed
        }
        let isOther = isOtherFlow || hasFailed || look.style != self.look.style
        self.look = look
        guard isOther else { return }
        do throws(EngineError) {
            try fader.fade(to: target, seconds: fadeSeconds) {
                [factory, tuning, handover, batch] styles in
                // Where memory has become short, the picture stays as it was.
                guard
                    let next = try? factory.network(
                        styles: styles, steps: look.steps, batch: batch, tuning: tuning())
                else {
                    handover.state.withLock { $0.hasFailed = true }
                    return false
                }
                handover.hand(next)
                return true
            }
        } catch {
            handover.state.withLock { $0.hasFailed = true }
            throw .engine(error)
        }
    }

    // MARK: For benchmarks

    /// Names of the steps of a frame, in order.
    public var stepNames: [String] { steps.map(\.name) }
    /// What each of them has to do.
    public var stepCosts: [StepCost] { steps.map(\.cost) }

    private var steps: [ParallelWork] {
        let count = network.steps.count
        let flow = (0..<count).flatMap { turn in
            let index = network.index(ofTurn: turn)
            let blending = index == count - 1 ? blend.map { [$0.rows, $0.blend] } ?? [] : []
            return network.steps[index].steps + [stream.step(index, of: count)] + blending
        }
        return stream.beginning + flow
    }

    /// Touches all memory, so that the first frame is no slower.
    private func warmUp() {
        let stride = 3 * geometry.frameWidth
        let frame = UnsafeMutablePointer<UInt8>.allocate(capacity: stride * geometry.frameHeight)
        defer { frame.deallocate() }
        frame.initialize(repeating: 0, count: stride * geometry.frameHeight)
        let pointers = FramePointers(
            frame: frame, frameStride: stride, output: frame, outputStride: stride, strength: 1)
        let strength = live.strength
        live.strength = 1
        defer { live.strength = strength }
        for _ in 0..<2 { _ = transform(pointers, stepNanoseconds: nil) }
        // Those that a batch has not come to yet.
        for step in network.steps.dropFirst(2) where network.batch != nil { step.run() }
        reset()
    }
}

extension StreamingUNet: FrameModel {
    /// Throws if a style of the mix is not among these weights', or a number outside of its range.
    public func check(_ look: Look) throws(ModelError) {
        try look.check(for: file)
        _ = try weights(of: look.style)
    }

    /// A session that remembers the frame before.
    public func prepare(_ request: SessionRequest) throws(ModelError) -> any FrameSession {
        try StreamSession(self, request)
    }
}
