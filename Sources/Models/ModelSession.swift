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
    public var byteCount: Int { plan.byteCount }
    /// Names of the steps of a frame, in order.
    public var stepNames: [String] { steps.map(\.name) }
    /// In what the convolutions are multiplied, and how many in each, for people:
    /// `int8 (12), f32 (6)`.
    public let precision: String
    /// What each of them has to do.
    var stepCosts: [StepCost] { steps.map(\.cost) }

    private let pool: WorkerPool
    private let plan: Plan
    private let input: FrameInputStep
    // One of the two, by whether frame and model have the same size.
    private let output: ResidualOutputStep?
    private let blend: ResidualBlendStep?
    private let steps: [ParallelWork]
    private let check = FiniteCheck()
    // Where the network's image and residual lie.
    private let image: TensorView
    private let residual: TensorView

    /// - Parameters:
    ///   - imageChannels: of image and residual, 48 or more; those past 48 are zero for a frame.
    ///   - network: adds the network to the plan: image to residual, both of the size
    ///     `geometry.blocks`.
    init(
        geometry: FrameGeometry, imageChannels: Int, threads: Int, tuning: ConvolutionTuning,
        precisions: Set<Precision>,
        network: (PlanBuilder, Tensor) throws(EngineError) -> Tensor
    ) throws(EngineError) {
        let backend = try Backend.shared()
        let pool = try WorkerPool(threads: threads)
        let builder = PlanBuilder(
            backend: backend, pool: pool, tuning: tuning, precisions: precisions)
        let image = builder.input(geometry.blocks(channels: imageChannels))
        let residual = try network(builder, image)
        let plan = try builder.build(
            outputs: [residual],
            for: "\(geometry.modelWidth)×\(geometry.modelHeight) pixels and \(threads) threads",
            besides: geometry.byteCount(threads: threads))
        precision = Precision.allCases.reversed().compactMap { precision in
            let count = plan.precisions.count { $0 == precision }
            return count > 0 ? "\(precision.rawValue) (\(count))" : nil
        }.joined(separator: ", ")
        let input = FrameInputStep(
            backend: backend, geometry: geometry, target: plan.view(of: image), threads: threads)
        self.geometry = geometry
        self.pool = pool
        self.plan = plan
        self.input = input
        self.image = plan.view(of: image)
        self.residual = plan.view(of: residual)
        if geometry.isSameSize {
            let output = ResidualOutputStep(
                backend: backend, geometry: geometry, residual: plan.view(of: residual),
                check: check)
            self.output = output
            blend = nil
            steps = [input] + plan.steps + [output]
        } else {
            let rows = ResidualRowsStep(
                backend: backend, geometry: geometry, residual: plan.view(of: residual),
                check: check, threads: threads)
            let blend = ResidualBlendStep(
                backend: backend, geometry: geometry, source: rows, threads: threads)
            self.blend = blend
            output = nil
            steps = [input] + plan.steps + [rows, blend]
        }
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
        input.frame = pointers.frame
        input.frameStride = pointers.frameStride
        output?.pointers = pointers
        blend?.pointers = pointers
        guard let stepNanoseconds else {
            for step in steps { pool.run(step) }
            return check.takeResult()
        }
        for (index, step) in steps.enumerated() {
            let start = MonotonicClock.nowNanoseconds
            pool.run(step)
            stepNanoseconds[index] = MonotonicClock.nowNanoseconds - start
        }
        return check.takeResult()
    }

    /// Shape of the network's image and of its residual.
    var networkShape: TensorShape { image.shape }

    /// Runs the network alone.
    ///
    /// - Parameter planes: channels × height × width of `networkShape`, row by row.
    /// - Returns: the residual, in the same order.
    func residual(of planes: [Float]) -> [Float] {
        planes.withUnsafeBufferPointer { image.load(planar: $0) }
        plan.run()
        return residual.planar()
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
        _ = process(
            rgb: frame, strideBytes: stride, into: frame, strideBytes: stride, strength: 1)
    }
}
