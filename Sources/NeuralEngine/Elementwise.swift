// Layers without weights: sums and activations.

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
            Node(
                inputs: [a] + (b.map { [$0] } ?? []), output: y,
                withoutWeights: { resources in
                    AddStep(
                        name: name, a: resources.views[a.index],
                        b: b.map { resources.views[$0.index] }, target: resources.views[y.index],
                        activation: activation, kernels: resources.backend.kernels)
                }))
    }
}
