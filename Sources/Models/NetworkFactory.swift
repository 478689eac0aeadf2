// Makes the plans of one network: for whole frames, for what changed, and to learn what changes do.

internal import NeuralEngine

/// A network of any size. Control thread.
struct NetworkFactory {
    /// A plan, and where its ends lie.
    typealias Parts = (plan: Plan, image: TensorView, residual: TensorView)

    let backend: Backend
    let pool: WorkerPool
    /// Of image and residual, 48 or more; those past 48 are zero for a frame.
    let imageChannels: Int
    /// Adds the network to a plan: image to residual, both of the size `geometry.blocks`.
    let network: (PlanBuilder, Tensor) throws(EngineError) -> Tensor

    /// - Parameter bytes: what is allocated besides.
    func plan(
        _ geometry: FrameGeometry, _ tuning: ConvolutionTuning, _ precisions: Set<Precision>,
        reuses: Bool, besides bytes: Int = 0
    ) throws(EngineError) -> Parts {
        let builder = PlanBuilder(
            backend: backend, pool: pool, tuning: tuning, precisions: precisions, reuses: reuses)
        let image = builder.input(geometry.blocks(channels: imageChannels))
        let residual = try network(builder, image)
        let plan = try builder.build(
            outputs: [residual],
            for: "\(geometry.modelWidth)×\(geometry.modelHeight) pixels and "
                + "\(pool.threads) threads",
            besides: bytes + geometry.byteCount(threads: pool.threads)
                + (reuses ? TemporalReuse.byteCount(geometry) : 0))
        return (plan, plan.view(of: image), plan.view(of: residual))
    }

    /// What a plan for changes may take: it saves work, and must not cost a machine its memory.
    private static let partialBytes = 512 << 20

    /// A network that can compute what changed.
    ///
    /// - Parameter known: sensitivities, if the model file holds them.
    /// - Returns: nil if it would take too much memory, or if nothing sensible is known of what
    ///   changes do.
    func partial(
        _ geometry: FrameGeometry, _ precisions: Set<Precision>, known: ReuseSensitivities?,
        check: FiniteCheck
    ) throws(EngineError) -> FrameNetwork? {
        // What int8 rounds differently from frame to frame would pass for a change.
        var allowed = precisions.subtracting([.int8])
        if allowed.isEmpty && !precisions.isEmpty {
            allowed = Set(backend.precisions).subtracting([.int8])
        }
        // The usual methods: those that are fastest for a whole frame are not for a few tiles.
        let parts: Parts
        do throws(EngineError) {
            parts = try plan(
                geometry, ConvolutionTuning(), allowed, reuses: true,
                besides: PlanBuilder.maximumBytes - Self.partialBytes)
        } catch {
            return nil
        }
        let sensitivities = if let known { known } else { try measureSensitivities() }
        guard sensitivities.areUsable(steps: parts.plan.steps.count) else { return nil }
        return FrameNetwork(
            backend: backend, geometry: geometry, plan: parts.plan, image: parts.image,
            residual: parts.residual, check: check, sensitivities: sensitivities)
    }

    /// Measured on a picture of its own, smaller than most: every frame's size has the same.
    func measureSensitivities() throws(EngineError) -> ReuseSensitivities {
        let (width, height) = ReuseSensitivities.pictureSize
        let small = try FrameGeometry(
            frameWidth: width, frameHeight: height, modelWidth: width, modelHeight: height,
            multiple: 64)
        let parts = try plan(small, ConvolutionTuning(), [], reuses: true)
        return ReuseSensitivities(
            measuring: parts.plan, image: parts.image, residual: parts.residual)
    }
}
