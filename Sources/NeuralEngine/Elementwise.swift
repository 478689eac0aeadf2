// Layers without weights: sums, activations, nearest ×2, concatenation.

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

/// Every pixel becomes 2 × 2, then a skip connection is added.
final class UpsampleStep: ParallelWork {
    private let source: TensorView
    private let skip: TensorView?
    private let target: TensorView
    private let kernels: UnsafePointer<ck_kernels>

    init(
        name: String, source: TensorView, skip: TensorView?, target: TensorView,
        kernels: UnsafePointer<ck_kernels>
    ) {
        self.source = source
        self.skip = skip
        self.target = target
        self.kernels = kernels
        super.init(name: name, pieces: source.shape.height)
    }

    override func perform(piece: Int, worker: Int) {
        for block in 0..<target.shape.blocks {
            for y in 2 * piece..<2 * piece + 2 {
                kernels.pointee.upsample2_add(
                    source.pixel(block: block, y: piece, x: 0),
                    skip?.pixel(block: block, y: y, x: 0), target.shape.width,
                    target.pixel(block: block, y: y, x: 0))
            }
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

    /// Nearest-neighbour ×2 in both directions, plus `skip` of the result's shape.
    public func upsampleNearest2(
        _ name: String, _ x: Tensor, adding skip: Tensor? = nil
    ) throws(EngineError) -> Tensor {
        let shape = TensorShape(
            channels: x.shape.channels, height: 2 * x.shape.height, width: 2 * x.shape.width)
        guard skip.map({ $0.shape == shape }) ?? true else {
            throw .invalid("\(name): what is added has another shape than the result")
        }
        let y = makeTensor(shape)
        return append(
            Node(inputs: [x] + (skip.map { [$0] } ?? []), output: y) { resources in
                UpsampleStep(
                    name: name, source: resources.views[x.index],
                    skip: skip.map { resources.views[$0.index] },
                    target: resources.views[y.index], kernels: resources.backend.kernels)
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
