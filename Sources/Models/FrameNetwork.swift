// A network with its two ends: from the camera's frame to the transformed one.

internal import NeuralEngine

/// The steps of one plan for one frame size.
final class FrameNetwork {
    let plan: Plan
    /// Where the network's image lies.
    let image: TensorView
    /// Where the network's residual lies.
    let residual: TensorView
    /// In the order in which they run.
    let steps: [ParallelWork]
    /// Decides what is computed; nil if the plan was not built for that.
    let reuse: TemporalReuse?

    private let input: any FrameInput
    // One of the two, by whether frame and model have the same size.
    private let output: ResidualOutputStep?
    private let blend: ResidualBlendStep?

    /// - Parameters:
    ///   - check: told what is not finite.
    ///   - sensitivities: for a plan that computes what changed; nil: for any other.
    init(
        backend: Backend, geometry: FrameGeometry, plan: Plan, image: TensorView,
        residual: TensorView, check: FiniteCheck, sensitivities: ReuseSensitivities?
    ) {
        let threads = plan.pool.threads
        let entrance: [ParallelWork]
        if let sensitivities,
            let parts = TemporalReuse.prepare(
                backend: backend, geometry: geometry, plan: plan, image: image,
                sensitivities: sensitivities)
        {
            reuse = parts.reuse
            input = parts.input
            entrance = parts.steps
        } else {
            let step = FrameInputStep(
                backend: backend, geometry: geometry, target: image, threads: threads)
            reuse = nil
            input = step
            entrance = [step]
        }
        if geometry.isSameSize {
            let output = ResidualOutputStep(
                backend: backend, geometry: geometry, residual: residual, check: check)
            self.output = output
            blend = nil
            steps = entrance + plan.steps + [output]
        } else {
            let rows = ResidualRowsStep(
                backend: backend, geometry: geometry, residual: residual, check: check,
                threads: threads)
            let blend = ResidualBlendStep(
                backend: backend, geometry: geometry, source: rows, threads: threads)
            self.blend = blend
            output = nil
            steps = entrance + plan.steps + [rows, blend]
        }
        self.plan = plan
        self.image = image
        self.residual = residual
    }

    /// Sets the next frame; before each run.
    ///
    /// - Realtime: safe
    func set(_ pointers: FramePointers) {
        input.setFrame(pointers.frame, stride: pointers.frameStride)
        output?.pointers = pointers
        blend?.pointers = pointers
    }
}
