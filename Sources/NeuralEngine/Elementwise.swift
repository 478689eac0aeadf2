// Layers without weights: sums, activations, concatenation.

internal import CKernels

/// y = activation(a + b), row by row.
final class AddStep: ParallelWork {
    private let a: TensorView
    private let b: TensorView?
    private let target: TensorView
    private let activation: ck_activation
    private let kernels: UnsafePointer<ck_kernels>

    init(
        name: String, a: TensorView, b: TensorView?, target: TensorView, activation: Activation,
        kernels: UnsafePointer<ck_kernels>
    ) {
        self.a = a
        self.b = b
        self.target = target
        self.activation = activation.code
        self.kernels = kernels
        super.init(name: name, pieces: target.shape.height)
        cost = StepCost(
            reading: [a.shape] + (b.map { [$0.shape] } ?? []), writing: target.shape)
    }

    override func perform(piece: Int, worker: Int) {
        for block in 0..<target.shape.blocks {
            kernels.pointee.add_activate(
                a.pixel(block: block, y: piece, x: 0), b?.pixel(block: block, y: piece, x: 0),
                target.shape.width * channelBlock, target.pixel(block: block, y: piece, x: 0),
                activation)
        }
    }
}

/// Channels of one tensor, then those of the other. One row a piece; channel counts that are no
/// multiple of 16 shift every lane, so pixels are copied channel by channel.
final class ConcatenateStep: ParallelWork {
    private let parts: [TensorView]
    private let target: TensorView

    init(name: String, parts: [TensorView], target: TensorView) {
        self.parts = parts
        self.target = target
        super.init(name: name, pieces: target.shape.height)
        cost = StepCost(reading: parts.map(\.shape), writing: target.shape)
    }

    override func perform(piece: Int, worker: Int) {
        var first = 0
        for part in parts {
            for channel in 0..<part.shape.channels {
                let (fromBlock, fromLane) = channel.quotientAndRemainder(dividingBy: channelBlock)
                let (toBlock, toLane) = (first + channel).quotientAndRemainder(
                    dividingBy: channelBlock)
                let from = part.pixel(block: fromBlock, y: piece, x: 0) + fromLane
                let to = target.pixel(block: toBlock, y: piece, x: 0) + toLane
                for x in 0..<target.shape.width { to[x * channelBlock] = from[x * channelBlock] }
            }
            first += part.shape.channels
        }
    }
}

extension PlanBuilder {
    /// y = activation(a + b); without b the activation alone.
    public func add(
        _ name: String, _ a: Tensor, _ b: Tensor?, activation: Activation = .none
    ) throws(EngineError) -> Tensor {
        guard b.map({ $0.shape == a.shape }) ?? true else {
            throw .invalid("\(name): tensors of different shapes cannot be added")
        }
        let y = makeTensor(a.shape)
        return append(
            Node(inputs: [a] + (b.map { [$0] } ?? []), output: y) { resources in
                AddStep(
                    name: name, a: resources.views[a.index],
                    b: b.map { resources.views[$0.index] }, target: resources.views[y.index],
                    activation: activation, kernels: resources.backend.kernels)
            })
    }

    /// The channels of all `parts`, one after another.
    public func concatenate(_ name: String, _ parts: [Tensor]) throws(EngineError) -> Tensor {
        guard let first = parts.first,
            parts.allSatisfy({
                $0.shape.height == first.shape.height && $0.shape.width == first.shape.width
            })
        else {
            throw .invalid("\(name): only tensors of the same size can be concatenated")
        }
        let y = makeTensor(
            TensorShape(
                channels: parts.reduce(0) { $0 + $1.shape.channels }, height: first.shape.height,
                width: first.shape.width))
        return append(
            Node(inputs: parts, output: y) { resources in
                ConcatenateStep(
                    name: name, parts: parts.map { resources.views[$0.index] },
                    target: resources.views[y.index])
            })
    }
}
