// The streaming U-Net folded for one look: a plan for each step, and the source.

internal import NeuralEngine

/// Weights and memory of all steps of one look. Made on a control thread; then it belongs to the thread
/// that transforms frames, which is why it may cross threads although it is not protected.
final class StreamNetwork: @unchecked Sendable {
    /// Shares of the model's styles.
    let styles: [Float]
    /// Of the flow, in the order in which a frame takes them. They read and write `StreamTensors`.
    let steps: [Plan]
    /// Where the flow begins: 3 planes of bytes, `StreamingUNet.sourceEdge` on a side.
    let source: UnsafeMutableBufferPointer<UInt8>
    /// What the steps are placed at; nil: all are at one input, and a frame takes them all at once.
    let batch: StreamBatch?

    init(styles: [Float], steps: [Plan], batch: StreamBatch?, source bytes: [UInt8]) {
        self.styles = styles
        self.steps = steps
        self.batch = batch
        source = .allocate(capacity: bytes.count)
        _ = source.initialize(from: bytes)
    }

    deinit { source.deallocate() }

    /// In which order the steps run, by index. In a batch every step has a frame of its own; the
    /// last one first, so that the first leaves the newest past.
    func index(ofTurn turn: Int) -> Int { batch == nil ? turn : steps.count - 1 - turn }

    /// Bytes of activations, packed weights and scratch memory.
    var byteCount: Int {
        steps.reduce(0) { $0 + $1.byteCount } + source.count + (batch?.byteCount ?? 0)
    }

    /// How many convolutions are multiplied in what, for people.
    var precision: String {
        let precisions = steps.flatMap(\.precisions)
        return Precision.allCases.reversed().compactMap { precision in
            let count = precisions.count { $0 == precision }
            return count > 0 ? "\(precision.rawValue) (\(count))" : nil
        }.joined(separator: ", ")
    }
}

/// What all networks of a session read and write: none keeps anything here from frame to frame.
struct StreamTensors {
    /// Start, frame, state and tau: (112, H/4, W/4).
    let input: TensorView
    /// Residual, gate and state: (80, H/4, W/4), the last five channels unused.
    let result: TensorView
    private let memory: TensorMemory

    var byteCount: Int { memory.byteCount }

    /// - Throws: if these alone take more than a network may.
    init(_ geometry: FrameGeometry) throws(EngineError) {
        let shapes = [StreamSteps.inputChannels, StreamSteps.resultChannels].map {
            geometry.blocks(channels: $0)
        }
        guard shapes.reduce(0, { $0 + 4 * $1.count }) <= PlanBuilder.maximumBytes / 2 else {
            throw .invalid(
                "\(geometry.modelWidth)×\(geometry.modelHeight) pixels are too many for a "
                    + "streaming network: set transform.model_width and transform.model_height to "
                    + "less")
        }
        memory = try TensorMemory(shapes)
        input = memory.views[0]
        result = memory.views[1]
    }
}

/// Makes networks of one size, all alike but for their weights. Any thread, one at a time: it touches
/// the pool only to measure, and the tensors never.
struct StreamNetworkFactory: @unchecked Sendable {
    let model: StreamingUNet
    let backend: Backend
    let pool: WorkerPool
    let geometry: FrameGeometry
    let tensors: StreamTensors
    let precisions: Set<Precision>

    /// - Parameters:
    ///   - styles: share of each of the model's styles.
    ///   - steps: of the flow: r = 1/K, 1/(K − 1) … 1.
    ///   - batch: of as many steps.
    ///   - tuning: may measure, if the pool is idle.
    func network(
        styles: [Float], steps count: Int, batch: StreamBatch?, tuning: ConvolutionTuning
    ) throws(EngineError) -> StreamNetwork {
        var steps: [Plan] = []
        for index in 0..<count {
            let share = 1 / Float(count - index)
            let weights = try model.folded(styles, share: share)
            let builder = PlanBuilder(
                backend: backend, pool: pool, tuning: tuning, precisions: precisions)
            let input = builder.input(tensors.input.shape)
            let output = try model.raw(input, weights, in: builder)
            builder.place(input, at: batch?.inputs[index] ?? tensors.input)
            builder.place(output, at: tensors.result)
            let plan = try builder.build(
                outputs: [output],
                for: "\(geometry.modelWidth)×\(geometry.modelHeight) pixels, \(count) steps and "
                    + "\(pool.threads) threads",
                besides: tensors.byteCount + (batch?.byteCount ?? 0)
                    + StreamSteps.byteCount(geometry, threads: pool.threads)
                    + steps.reduce(0) { $0 + $1.byteCount })
            steps.append(plan)
        }
        return StreamNetwork(
            styles: styles, steps: steps, batch: batch, source: model.source(styles))
    }

    /// Room for frames under way, if the look wants several.
    func batch(for look: Look) throws(EngineError) -> StreamBatch? {
        guard look.streamBatch, look.steps > 1 else { return nil }
        let bytes = StreamBatch.byteCount(
            steps: look.steps, input: tensors.input.shape, geometry: geometry)
        guard bytes <= PlanBuilder.maximumBytes / 2 else {
            throw .invalid(
                "\(geometry.modelWidth)×\(geometry.modelHeight) pixels are too many for "
                    + "\(look.steps) frames under way: set transform.stream_batch to false")
        }
        return try StreamBatch(
            steps: look.steps, input: tensors.input, backend: backend, geometry: geometry,
            threads: pool.threads)
    }
}
