// The streaming U-Net folded for one look: a plan for each step, and the source.

internal import NeuralEngine

/// Weights and memory of all steps of one look. Made on a control thread; then it belongs to the thread
/// that transforms frames.
final class StreamNetwork {
    /// One step of the flow.
    struct Step {
        let plan: Plan
        /// (112, H/4, W/4)
        let input: TensorView
        /// (79, H/4, W/4)
        let output: TensorView
        /// r: of the way that is left.
        let share: Float
    }

    /// Shares of the model's styles.
    let styles: [Float]
    /// In the order in which they run.
    let steps: [Step]
    /// Where the flow begins: 3 planes of bytes, `StreamingUNet.sourceEdge` on a side.
    let source: UnsafeMutablePointer<UInt8>

    init(styles: [Float], steps: [Step], source bytes: [UInt8]) {
        self.styles = styles
        self.steps = steps
        source = .allocate(capacity: bytes.count)
        bytes.withUnsafeBufferPointer {
            if let base = $0.baseAddress { source.initialize(from: base, count: bytes.count) }
        }
    }

    deinit { source.deallocate() }

    /// Bytes of activations, packed weights and scratch memory.
    var byteCount: Int { steps.reduce(0) { $0 + $1.plan.byteCount } }
}

/// Makes networks of one size, all alike but for their weights. Control thread.
struct StreamNetworkFactory {
    let model: StreamingUNet
    let backend: Backend
    let pool: WorkerPool
    let geometry: FrameGeometry
    let precisions: Set<Precision>

    /// - Parameters:
    ///   - styles: share of each of the model's styles.
    ///   - steps: of the flow: r = 1/K, 1/(K − 1) … 1.
    ///   - tuning: may measure, if the pool is idle.
    func network(
        styles: [Float], steps count: Int, tuning: ConvolutionTuning
    ) throws(EngineError) -> StreamNetwork {
        var steps: [StreamNetwork.Step] = []
        for index in 0..<count {
            let share = 1 / Float(count - index)
            let weights = try model.folded(styles, share: share)
            let builder = PlanBuilder(
                backend: backend, pool: pool, tuning: tuning, precisions: precisions)
            let input = builder.input(geometry.blocks(channels: StreamingUNet.inputChannels))
            let output = try model.raw(input, weights, in: builder)
            let plan = try builder.build(
                // The next run begins from the last one's input.
                outputs: [output],
                for: "\(geometry.modelWidth)×\(geometry.modelHeight) pixels, \(count) steps and "
                    + "\(pool.threads) threads")
            steps.append(
                StreamNetwork.Step(
                    plan: plan, input: plan.view(of: input), output: plan.view(of: output),
                    share: share))
        }
        return StreamNetwork(styles: styles, steps: steps, source: model.source(styles))
    }
}
