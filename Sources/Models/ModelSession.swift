// A network prepared for one frame size: what the transform thread calls for every frame.

public import NeuralEngine
internal import Realtime

/// Frames in, frames out: output = clamp(frame + strength · residual), the residual computed at the
/// model's size and scaled to the frame's, so that detail the network did not mean to change stays
/// sharp.
///
/// Made by a model's `prepare`. One thread at a time may call `process`: it becomes worker 0 of the
/// engine's threads. That is why the session may cross threads although it is not protected.
public final class ModelSession: @unchecked Sendable {
    /// Sizes of frame and model.
    public let geometry: FrameGeometry
    /// Threads of the engine, the caller of `process` included.
    public var threads: Int { pool.threads }
    /// Bytes of activations, packed weights and scratch memory.
    public var byteCount: Int { whole.plan.byteCount + (partial?.plan.byteCount ?? 0) }
    /// Names of the steps of a frame, in order.
    public var stepNames: [String] { steps.map(\.name) }
    /// In what the convolutions are multiplied, and how many in each, for people:
    /// `int8 (12), f32 (6)`.
    public let precision: String
    /// What each of them has to do.
    var stepCosts: [StepCost] { steps.map(\.cost) }
    /// What share of each of them the last frame took.
    var stepShares: [Double] { isPartial ? steps.map(\.share) : steps.map { _ in 1 } }
    /// Share of the work that the last frame took; 1 without reuse.
    public var workShare: Double { isPartial ? reuse?.workShare ?? 1 : 1 }
    private var steps: [ParallelWork] { (partial ?? whole).steps }
    /// Whether the last frame went through the plan that can compute what changed.
    private(set) var isPartial = false

    private let pool: WorkerPool
    // Computes a frame as a whole, as fast as that can be.
    private let whole: FrameNetwork
    // Can compute what changed; nil if nothing is to be reused.
    let partial: FrameNetwork?
    let reuse: TemporalReuse?
    private let check: FiniteCheck

    /// - Parameters:
    ///   - imageChannels: of image and residual, 48 or more; those past 48 are zero for a frame.
    ///   - network: adds the network to a plan: image to residual, both of the size
    ///     `geometry.blocks`.
    init(
        geometry: FrameGeometry, imageChannels: Int, threads: Int, tuning: ConvolutionTuning,
        precisions: Set<Precision>, reuses: Bool,
        network: (PlanBuilder, Tensor) throws(EngineError) -> Tensor
    ) throws(EngineError) {
        let backend = try Backend.shared()
        let pool = try WorkerPool(threads: threads)
        let check = FiniteCheck()
        func plan(
            _ geometry: FrameGeometry, _ tuning: ConvolutionTuning, _ precisions: Set<Precision>,
            reuses: Bool, besides bytes: Int
        ) throws(EngineError) -> (plan: Plan, image: TensorView, residual: TensorView) {
            let builder = PlanBuilder(
                backend: backend, pool: pool, tuning: tuning, precisions: precisions,
                reuses: reuses)
            let image = builder.input(geometry.blocks(channels: imageChannels))
            let residual = try network(builder, image)
            let plan = try builder.build(
                outputs: [residual],
                for: "\(geometry.modelWidth)×\(geometry.modelHeight) pixels and \(threads) threads",
                besides: bytes + geometry.byteCount(threads: threads)
                    + (reuses ? TemporalReuse.byteCount(geometry) : 0))
            return (plan, plan.view(of: image), plan.view(of: residual))
        }
        func prepare(reuses: Bool, besides bytes: Int) throws(EngineError) -> FrameNetwork {
            // What int8 rounds differently from frame to frame would pass for a change.
            let parts = try plan(
                geometry, tuning, reuses ? precisions.subtracting([.int8]) : precisions,
                reuses: reuses, besides: bytes)
            let sensitivities = reuses ? try measureSensitivities() : nil
            return FrameNetwork(
                backend: backend, geometry: geometry, plan: parts.plan, image: parts.image,
                residual: parts.residual, check: check, sensitivities: sensitivities)
        }
        // On a picture of its own, smaller than most: every frame's size has the same.
        func measureSensitivities() throws(EngineError) -> ReuseSensitivities {
            let (width, height) = ReuseSensitivities.pictureSize
            let small = try FrameGeometry(
                frameWidth: width, frameHeight: height, modelWidth: width, modelHeight: height,
                multiple: 64)
            let parts = try plan(small, ConvolutionTuning(), [], reuses: true, besides: 0)
            return ReuseSensitivities(
                measuring: parts.plan, image: parts.image, residual: parts.residual)
        }
        whole = try prepare(reuses: false, besides: 0)
        partial = reuses ? try prepare(reuses: true, besides: whole.plan.byteCount) : nil
        reuse = partial?.reuse
        precision = Precision.allCases.reversed().compactMap { [whole] precision in
            let count = whole.plan.precisions.count { $0 == precision }
            return count > 0 ? "\(precision.rawValue) (\(count))" : nil
        }.joined(separator: ", ")
        self.geometry = geometry
        self.pool = pool
        self.check = check
        warmUp()
    }

    /// Transforms one frame.
    ///
    /// - Parameters:
    ///   - rgb: RGB24, full range, `geometry.frameHeight` rows. Not changed.
    ///   - strideBytes: from row to row of `rgb`.
    ///   - output: rows for the result; `rgb` itself, or no part of it.
    ///   - outputStrideBytes: from row to row of `output`.
    ///   - strength: 0 (the input, bit by bit) to 1 (the full effect); others are clamped.
    /// - Returns: false if the network's result held NaN or infinity: nothing of `output` may then
    ///   be shown.
    /// - Realtime: allocates nothing; the engine's other threads share the work
    public func process(
        rgb: UnsafePointer<UInt8>, strideBytes: Int, into output: UnsafeMutablePointer<UInt8>,
        strideBytes outputStrideBytes: Int, strength: Float
    ) -> Bool {
        process(
            FramePointers(
                frame: rgb, frameStride: strideBytes, output: output,
                outputStride: outputStrideBytes, strength: strength),
            stepNanoseconds: nil)
    }

    /// As `process`, and writes the time of each step to `stepNanoseconds` (as many as `stepNames`).
    func process(
        _ pointers: FramePointers, stepNanoseconds: UnsafeMutablePointer<Int64>?
    ) -> Bool {
        // NaN is no strength either.
        guard pointers.strength > 0 else {
            copy(pointers)
            return true
        }
        var pointers = pointers
        pointers.strength = min(pointers.strength, 1)
        isPartial = reuse?.beginFrame() ?? false
        let network = isPartial ? partial ?? whole : whole
        network.set(pointers)
        guard let stepNanoseconds else {
            for step in network.steps { pool.run(step) }
            return takeResult()
        }
        // The whole network lacks the step that compares frames.
        let missing = steps.count - network.steps.count
        stepNanoseconds.update(repeating: 0, count: missing)
        for (index, step) in network.steps.enumerated() {
            let start = MonotonicClock.nowNanoseconds
            pool.run(step)
            stepNanoseconds[missing + index] = MonotonicClock.nowNanoseconds - start
        }
        return takeResult()
    }

    /// What is not finite must not be reused.
    private func takeResult() -> Bool {
        let isGood = check.takeResult()
        if !isGood { reuse?.reset() }
        return isGood
    }

    /// Forgets earlier frames: a cut, a pause, another camera. The next frame is computed as a whole.
    ///
    /// - Realtime: safe
    public func reset() { reuse?.reset() }

    /// Shape of the network's image and of its residual.
    var networkShape: TensorShape { whole.image.shape }

    /// Runs the network alone.
    ///
    /// - Parameter planes: channels × height × width of `networkShape`, row by row.
    /// - Returns: the residual, in the same order.
    func residual(of planes: [Float]) -> [Float] {
        planes.withUnsafeBufferPointer { whole.image.load(planar: $0) }
        whole.plan.run()
        return whole.residual.planar()
    }

    private func copy(_ pointers: FramePointers) {
        guard UnsafePointer(pointers.output) != pointers.frame else { return }
        for y in 0..<geometry.frameHeight {
            (pointers.output + y * pointers.outputStride).update(
                from: pointers.frame + y * pointers.frameStride, count: 3 * geometry.frameWidth)
        }
    }

    /// Touches all memory and lets BLAS make its buffers, so that the first frame is no slower.
    private func warmUp() {
        let stride = 3 * geometry.frameWidth
        let frame = UnsafeMutablePointer<UInt8>.allocate(capacity: stride * geometry.frameHeight)
        defer { frame.deallocate() }
        frame.initialize(repeating: 0, count: stride * geometry.frameHeight)
        // Past the frames that reuse needs before it computes but what changed.
        for _ in 0..<(reuse == nil ? 1 : 3) {
            _ = process(
                rgb: frame, strideBytes: stride, into: frame, strideBytes: stride, strength: 1)
        }
        whole.set(
            FramePointers(
                frame: frame, frameStride: stride, output: frame, outputStride: stride,
                strength: 1))
        for step in whole.steps { pool.run(step) }
        _ = check.takeResult()
        reset()
    }
}
