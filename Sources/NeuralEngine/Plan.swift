// A network prepared for one input size: a flat list of steps over one arena.

internal import CKernels
internal import Realtime

/// What is applied after bias and residual.
public enum Activation: Sendable {
    /// Nothing.
    case none
    /// max(x, 0); NaN stays NaN.
    case relu
    /// x / (1 + e⁻ˣ).
    case silu

    var code: ck_activation {
        switch self {
        case .none: CK_NONE
        case .relu: CK_RELU
        case .silu: CK_SILU
        }
    }
}

/// A tensor of a plan that is being built.
public struct Tensor {
    /// Geometry.
    public let shape: TensorShape
    let index: Int
}

/// Collects the layers of a network in the order in which they run, then lays out their memory.
/// Control thread; everything is allocated here.
public final class PlanBuilder {
    /// Bytes that a prepared network may take. More is a mistake in a size, which must not bring the
    /// machine to its knees. It also keeps the number of pieces of every step within its field.
    public static let maximumBytes = 1 << 31

    let backend: Backend
    let pool: WorkerPool
    let tuning: ConvolutionTuning
    /// Whether the plan shall be able to compute only what changed.
    let reuses: Bool
    let precisions: Set<Precision>
    var threads: Int { pool.threads }

    /// Memory and threads of the plan, once allocated.
    struct Resources {
        let backend: Backend
        let views: [TensorView]
        let weights: UnsafeMutablePointer<Float>
        let scratch: UnsafeMutablePointer<Float>
        let scratchStride: Int
    }

    /// A layer: what it reads and writes, and how it can be computed.
    struct Node {
        let inputs: [Tensor]
        let output: Tensor
        /// What `tuning` finds a method for; nil where there is only one.
        let problem: ConvolutionProblem?
        /// By a method of `problem`; nil without one.
        let layer: (ConvolutionMethod?) -> Layer

        /// How far it reaches; nil if it cannot compute single tiles.
        var reach: TileReach? {
            problem.map {
                TileReach(kernel: $0.kernel, stride: $0.stride, isUpsampled: $0.isUpsampled)
            }
        }

        init(
            inputs: [Tensor], output: Tensor, problem: ConvolutionProblem,
            layer: @escaping (ConvolutionMethod?) -> Layer
        ) {
            self.inputs = inputs
            self.output = output
            self.problem = problem
            self.layer = layer
        }

        init(
            inputs: [Tensor], output: Tensor,
            withoutWeights makeStep: @escaping (Resources) -> ParallelWork
        ) {
            self.inputs = inputs
            self.output = output
            problem = nil
            layer = { _ in
                Layer(weightCount: 0, scratchCount: 0, pack: { _ in }, makeStep: makeStep)
            }
        }
    }

    /// What memory a layer needs, what lies in it, and how to make its step.
    struct Layer {
        let weightCount: Int
        let scratchCount: Int
        /// Writes the weights, over zeros.
        let pack: (UnsafeMutablePointer<Float>) -> Void
        let makeStep: (Resources) -> ParallelWork
    }

    private var shapes: [TensorShape] = []
    // Tensors whose memory is not the plan's, by index.
    private var placed: [Int: TensorView] = [:]
    private var nodes: [Node] = []
    private var sources: [Tensor] = []

    /// An empty plan for the threads of a pool.
    ///
    /// - Parameters:
    ///   - tuning: chooses how convolutions are computed.
    ///   - precisions: in which they may be multiplied. Without f32 all that can be are in one of
    ///     the others; none is f32.
    ///   - reuses: whether the plan shall be able to compute only what changed. Its tensors share no
    ///     memory then, and its tiles are small.
    public init(
        backend: Backend, pool: WorkerPool, tuning: ConvolutionTuning = ConvolutionTuning(),
        precisions: Set<Precision> = [], reuses: Bool = false
    ) {
        self.reuses = reuses
        self.backend = backend
        self.pool = pool
        self.tuning = tuning
        self.precisions = precisions
    }

    /// A tensor that is filled from outside before each run.
    public func input(_ shape: TensorShape) -> Tensor {
        let tensor = makeTensor(shape)
        sources.append(tensor)
        return tensor
    }

    /// Lets a tensor lie in memory that outlives the plan and may serve others. Neither an input nor
    /// an output that lies elsewhere is copied.
    ///
    /// - Parameter view: same height, width and padded channels.
    public func place(_ tensor: Tensor, at view: TensorView) {
        precondition(
            view.shape.withPaddedChannels == tensor.shape.withPaddedChannels,
            "a tensor has the shape of its place")
        placed[tensor.index] = TensorView(shape: tensor.shape, base: view.base)
    }

    func makeTensor(_ shape: TensorShape) -> Tensor {
        shapes.append(shape)
        return Tensor(shape: shape, index: shapes.count - 1)
    }

    func append(_ node: Node) -> Tensor {
        nodes.append(node)
        return node.output
    }

    /// Finds the fastest methods, lays out the memory and makes the steps.
    ///
    /// - Parameters:
    ///   - outputs: tensors to be read after a run; all others may share memory.
    ///   - size: what the plan is for, for the error: `1280×720 pixels`.
    ///   - otherBytes: what the caller is going to allocate besides.
    /// - Throws: if that takes more than `maximumBytes`; nothing has been allocated then.
    public func build(
        outputs: [Tensor], for size: String = "this size", besides otherBytes: Int = 0
    ) throws(EngineError) -> Plan {
        let problems = nodes.compactMap(\.problem)
        let context = ConvolutionTuning.Context(
            precisions: precisions, backend: backend, threads: threads)
        var methods = problems.map { tuning.method(for: $0, context) }
        var layout = try layOut(methods.map { [$0] }, outputs: outputs, size, otherBytes)
        if let candidates = tuning.candidates(for: problems, context),
            tuning.hasTime(forFrames: time(layout)),
            // What takes too much memory to try out is left as it is.
            let trial = try? layOut(
                candidates, outputs: outputs, size, Self.maximumBytes - Self.trialBytes)
        {
            tuning.race(trial.steps, of: problems, candidates, pool: pool, context)
            let found = problems.map { tuning.method(for: $0, context) }
            if found != methods {
                methods = found
                layout = try layOut(found.map { [$0] }, outputs: outputs, size, otherBytes)
            }
        }
        let steps = layout.steps.map { $0[0] }
        let reuse =
            reuses ? try PlanReuse(self, nodes: nodes, views: layout.views, steps: steps) : nil
        return Plan(
            arena: layout.arena, pool: pool, views: layout.views, steps: steps,
            precisions: methods.map(\.precision), reuse: reuse)
    }

    /// Nanoseconds of a frame, caches cold.
    private func time(_ layout: Layout) -> Int64 {
        let start = MonotonicClock.nowNanoseconds
        for steps in layout.steps { pool.run(steps[0]) }
        return MonotonicClock.nowNanoseconds - start
    }

    /// What a trial of all methods may take at a start.
    private static let trialBytes = 512 << 20

    private struct Layout {
        let arena: Arena
        let views: [TensorView]
        /// By node and method.
        let steps: [[ParallelWork]]
    }

    /// Memory for all nodes, each by some methods: those of its problem, in the order of the problems.
    private func layOut(
        _ methods: [[ConvolutionMethod]], outputs: [Tensor], _ size: String, _ otherBytes: Int
    ) throws(EngineError) -> Layout {
        let arena = Arena()
        let regions =
            reuses
            ? shapes.indices.map { arena.plan(placed[$0] == nil ? shapes[$0].count : 0) }
            : planTensors(outputs: outputs, arena: arena)
        var remaining = methods[...]
        let layers = nodes.map { node in
            let own = node.problem == nil ? nil : remaining.popFirst()
            return NodeLayers(node, own ?? [], arena: arena)
        }
        let scratchStride =
            roundUp(layers.map(\.scratchCount).max() ?? 0, to: channelBlock) + channelBlock
        let scratch = arena.plan(scratchStride * threads)
        let bytes = arena.byteCount + otherBytes
        guard bytes <= Self.maximumBytes else {
            throw .invalid(
                "a network for \(size) needs \(bytes >> 20) MiB of memory, and "
                    + "\(Self.maximumBytes >> 20) is the most: set transform.model_width and "
                    + "transform.model_height to less")
        }
        try arena.allocate()
        let views = shapes.indices.map {
            placed[$0] ?? TensorView(shape: shapes[$0], base: arena.pointer(regions[$0]))
        }
        let steps = layers.map { layers in
            layers.makeSteps(arena) { weights in
                Resources(
                    backend: backend, views: views, weights: weights,
                    scratch: arena.pointer(scratch), scratchStride: scratchStride)
            }
        }
        return Layout(arena: arena, views: views, steps: steps)
    }

    /// A node by one or more methods; those that differ in tiles alone share their weights.
    private struct NodeLayers {
        private let layers: [(layer: Layer, weights: Arena.Region, packs: Bool)]

        var scratchCount: Int { layers.map(\.layer.scratchCount).max() ?? 0 }

        init(_ node: Node, _ methods: [ConvolutionMethod], arena: Arena) {
            guard !methods.isEmpty else {
                let layer = node.layer(nil)
                layers = [(layer, arena.plan(layer.weightCount), true)]
                return
            }
            var layers: [(layer: Layer, weights: Arena.Region, packs: Bool)] = []
            for (index, method) in methods.enumerated() {
                let layer = node.layer(method)
                let first = methods[..<index].firstIndex { $0.sharesWeights(with: method) }
                layers.append(
                    (
                        layer, first.map { layers[$0].weights } ?? arena.plan(layer.weightCount),
                        first == nil
                    ))
            }
            self.layers = layers
        }

        func makeSteps(
            _ arena: Arena, _ resources: (UnsafeMutablePointer<Float>) -> Resources
        ) -> [ParallelWork] {
            layers.map { layer, region, packs in
                let weights = arena.pointer(region)
                if packs { layer.pack(weights) }
                return layer.makeStep(resources(weights))
            }
        }
    }

    /// Tensors whose lives do not overlap share memory, but only those of the same shape: their
    /// borders lie at the same places and so stay zero for ever.
    private func planTensors(outputs: [Tensor], arena: Arena) -> [Arena.Region] {
        var lastUse = [Int](repeating: -1, count: shapes.count)
        for (step, node) in nodes.enumerated() {
            lastUse[node.output.index] = step
            for tensor in node.inputs { lastUse[tensor.index] = step }
        }
        for tensor in outputs { lastUse[tensor.index] = nodes.count }

        var regions = [Arena.Region?](repeating: nil, count: shapes.count)
        var free: [TensorShape: [Arena.Region]] = [:]
        for tensor in sources where placed[tensor.index] == nil {
            regions[tensor.index] = arena.plan(tensor.shape.count)
        }
        for (step, node) in nodes.enumerated() {
            if placed[node.output.index] == nil {
                let key = node.output.shape.withPaddedChannels
                regions[node.output.index] =
                    free[key]?.popLast() ?? arena.plan(node.output.shape.count)
            }
            for index in Set((node.inputs + [node.output]).map(\.index))
            where lastUse[index] == step {
                if let region = regions[index] {
                    free[shapes[index].withPaddedChannels, default: []].append(region)
                }
            }
        }
        return regions.map { $0 ?? Arena.Region(offset: 0, count: 0) }
    }
}

extension TensorShape {
    /// Same memory layout, whatever the number of channels in the last block.
    fileprivate var withPaddedChannels: TensorShape {
        TensorShape(channels: paddedChannels, height: height, width: width)
    }
}

/// A prepared network. `run` belongs to one thread at a time, which is worker 0 of the pool.
public final class Plan {
    /// The steps in order.
    public let steps: [ParallelWork]
    /// The threads that `run` uses.
    public let pool: WorkerPool
    /// In what each convolution is multiplied, in order.
    public let precisions: [Precision]
    /// What lets runs compute only what changed; nil if the plan was not built for it.
    let reuse: PlanReuse?

    private let arena: Arena
    private let views: [TensorView]

    init(
        arena: Arena, pool: WorkerPool, views: [TensorView], steps: [ParallelWork],
        precisions: [Precision], reuse: PlanReuse?
    ) {
        self.precisions = precisions
        self.reuse = reuse
        self.arena = arena
        self.pool = pool
        self.views = views
        self.steps = steps
    }

    /// Bytes of activations, packed weights and scratch memory.
    public var byteCount: Int { arena.byteCount }

    /// Where an input or output lies. Valid while the plan lives.
    public func view(of tensor: Tensor) -> TensorView { views[tensor.index] }

    func view(at index: Int) -> TensorView { views[index] }

    /// Runs all steps.
    ///
    /// - Realtime: allocates nothing
    public func run() {
        for step in steps { pool.run(step) }
    }
}
