// Two-dimensional convolutions: the weights, and the choice of algorithm.

internal import CKernels

/// Weights of a convolution as PyTorch stores them.
public struct ConvolutionWeights: Sendable {
    /// Channels out.
    public let outputs: Int
    /// Channels in.
    public let inputs: Int
    /// Rows and columns of the window: 1 or 3. Zeros are padded so that stride 1 keeps the size.
    public let kernel: Int
    /// outputs × inputs × kernel × kernel numbers.
    let values: [Float]
    /// `outputs` numbers.
    let bias: [Float]

    /// Weights in OIHW order; no bias is a bias of zeros.
    public init(outputs: Int, inputs: Int, kernel: Int, values: [Float], bias: [Float]? = nil)
        throws(EngineError)
    {
        guard kernel == 1 || kernel == 3 else {
            throw .invalid("a \(kernel) × \(kernel) convolution: the engine has 1 × 1 and 3 × 3")
        }
        guard outputs > 0, inputs > 0, values.count == outputs * inputs * kernel * kernel,
            bias.map({ $0.count == outputs }) ?? true
        else {
            throw .invalid(
                "weights of \(values.count) numbers do not make a convolution of "
                    + "\(inputs) to \(outputs) channels")
        }
        self.outputs = outputs
        self.inputs = inputs
        self.kernel = kernel
        self.values = values
        self.bias = bias ?? [Float](repeating: 0, count: outputs)
    }

    /// The windows of channel `output`, one input after another, and each row by row.
    func withFilters(of output: Int, _ body: (UnsafeBufferPointer<Float>) -> Void) {
        let count = inputs * kernel * kernel
        values.withUnsafeBufferPointer {
            body(UnsafeBufferPointer(rebasing: $0[output * count..<(output + 1) * count]))
        }
    }
}

/// How a convolution is computed.
struct ConvolutionMethod: Sendable, Hashable {
    enum Algorithm: String, Sendable, CaseIterable {
        /// Winograd with our own GEMM, by tile size.
        case winograd2, winograd4, winograd6
        /// Winograd F(4 × 4, 3 × 3) with OpenBLAS's.
        case winograd4BLAS
        /// Winograd by phases, for stride 2.
        case winogradStride2
        /// One GEMM over windows read in place.
        case direct
    }

    let algorithm: Algorithm
    /// What is multiplied; less than f32 for some of the Winograd algorithms only.
    var precision = Precision.f32
    /// Tiles of a piece, before they are evened out.
    var tiles: Int

    /// Whether weights that are packed for the one serve the other.
    func sharesWeights(with other: ConvolutionMethod) -> Bool {
        algorithm == other.algorithm && precision == other.precision
    }

    var winogradSize: WinogradSize? {
        switch algorithm {
        case .winograd2: .f2
        case .winograd4, .winograd4BLAS: .f4
        case .winograd6: .f6
        case .winogradStride2: .stride2
        case .direct: nil
        }
    }
}

/// A convolution as a method sees it.
struct ConvolutionProblem: Sendable, Hashable {
    let source: TensorShape
    let target: TensorShape
    let kernel: Int
    let stride: Int
    let isUpsampled: Bool

    /// Whether `algorithm` can compute it.
    func allows(_ algorithm: ConvolutionMethod.Algorithm) -> Bool {
        switch algorithm {
        case .winograd2, .winograd4, .winograd6, .winograd4BLAS: kernel == 3 && stride == 1
        case .winogradStride2: kernel == 3 && stride == 2
        case .direct: true
        }
    }

    /// The shape that is divided into tiles.
    var product: TensorShape {
        isUpsampled
            ? TensorShape(
                channels: target.channels, height: source.height, width: source.width) : target
    }

    /// How many tiles a piece has: `method.tiles`, evened out.
    func tilesPerPiece(_ method: ConvolutionMethod, threads: Int) -> Int {
        let edge = method.winogradSize?.edge ?? DirectStep.tileEdge
        let shape = product
        let tiles = ((shape.width + edge - 1) / edge) * ((shape.height + edge - 1) / edge)
        return pieceSize(tiles, limit: method.tiles, threads: threads)
    }
}

/// Geometry and memory that all methods share.
struct Convolution {
    let source: TensorView
    let target: TensorView
    let residual: TensorView?
    /// Packed weights, then the padded bias.
    let weights: UnsafeMutablePointer<Float>
    let bias: UnsafeMutablePointer<Float>
    let scratch: UnsafeMutablePointer<Float>
    let scratchStride: Int
    let activation: ck_activation
    let kernels: UnsafePointer<ck_kernels>
    /// For f32.
    let matrix: UnsafePointer<ck_matrix_kernels>

    var inputs: Int { source.shape.paddedChannels }
    var outputs: Int { target.shape.paddedChannels }

    init(
        _ resources: PlanBuilder.Resources, from x: Tensor, to y: Tensor, adding: Tensor?,
        packedCount: Int, activation: Activation
    ) {
        source = resources.views[x.index]
        target = resources.views[y.index]
        residual = adding.map { resources.views[$0.index] }
        self.weights = resources.weights
        bias = resources.weights + packedCount
        scratch = resources.scratch
        scratchStride = resources.scratchStride
        self.activation = activation.code
        kernels = resources.backend.kernels
        matrix = resources.backend.matrix
    }
}

extension PlanBuilder {
    /// y = activation(convolution(x) + bias + adding), zeros beyond the border of x.
    ///
    /// 3 × 3 runs as Winograd or directly, 1 × 1 directly; `tuning` chooses.
    /// - Parameters:
    ///   - name: for timings.
    ///   - x: `weights.inputs` channels.
    ///   - stride: 1 or 2.
    ///   - adding: a tensor of the result's shape.
    public func convolution(
        _ name: String, _ x: Tensor, _ weights: ConvolutionWeights, stride: Int = 1,
        activation: Activation = .none, adding: Tensor? = nil
    ) throws(EngineError) -> Tensor {
        guard stride == 1 || stride == 2 else {
            throw .invalid("\(name): stride \(stride): the engine has 1 and 2")
        }
        let y = makeTensor(
            TensorShape(
                channels: weights.outputs, height: (x.shape.height - 1) / stride + 1,
                width: (x.shape.width - 1) / stride + 1))
        return try append(
            name, x, y, weights, stride: stride, isUpsampled: false, activation, adding)
    }

    /// y = activation(nearest ×2 of (1 × 1 convolution(x) + bias) + adding): what leads from one
    /// scale of a U-Net to the next, without the small tensor in between.
    ///
    /// - Parameters:
    ///   - name: for timings.
    ///   - x: `weights.inputs` channels.
    ///   - weights: 1 × 1.
    ///   - adding: a tensor of the result's shape.
    public func convolutionUpsampled2(
        _ name: String, _ x: Tensor, _ weights: ConvolutionWeights,
        activation: Activation = .none, adding: Tensor? = nil
    ) throws(EngineError) -> Tensor {
        guard weights.kernel == 1 else {
            throw .invalid("\(name): only 1 × 1 convolutions can be upsampled in one step")
        }
        let y = makeTensor(
            TensorShape(
                channels: weights.outputs, height: 2 * x.shape.height,
                width: 2 * x.shape.width))
        return try append(name, x, y, weights, stride: 1, isUpsampled: true, activation, adding)
    }

    private func append(
        _ name: String, _ x: Tensor, _ y: Tensor, _ weights: ConvolutionWeights, stride: Int,
        isUpsampled: Bool, _ activation: Activation, _ adding: Tensor?
    ) throws(EngineError) -> Tensor {
        guard weights.inputs == x.shape.channels else {
            throw .invalid(
                "\(name): \(weights.inputs) input channels, but x has \(x.shape.channels)")
        }
        guard adding.map({ $0.shape == y.shape }) ?? true else {
            throw .invalid("\(name): what is added has another shape than the result")
        }
        let problem = ConvolutionProblem(
            source: x.shape, target: y.shape, kernel: weights.kernel, stride: stride,
            isUpsampled: isUpsampled)
        let layer = ConvolutionLayer(
            name: name, x: x, y: y, adding: adding, weights: weights, problem: problem,
            activation: activation, threads: threads)
        return append(
            Node(inputs: [x] + (adding.map { [$0] } ?? []), output: y, problem: problem) {
                layer.prepared(by: $0 ?? ConvolutionMethod(algorithm: .direct, tiles: 1))
            })
    }
}

/// A convolution whose method is still open.
private struct ConvolutionLayer {
    let name: String
    let x: Tensor
    let y: Tensor
    let adding: Tensor?
    let weights: ConvolutionWeights
    let problem: ConvolutionProblem
    let activation: Activation
    let threads: Int

    func prepared(by method: ConvolutionMethod) -> PlanBuilder.Layer {
        method.winogradSize.map { winograd($0, method) } ?? direct(method)
    }

    private func convolution(
        _ resources: PlanBuilder.Resources, packedCount: Int
    ) -> Convolution {
        Convolution(
            resources, from: x, to: y, adding: adding, packedCount: packedCount,
            activation: activation)
    }

    private func packBias(to target: UnsafeMutablePointer<Float>) {
        for (index, value) in weights.bias.enumerated() { target[index] = value }
    }

    private func winograd(_ size: WinogradSize, _ method: ConvolutionMethod) -> PlanBuilder.Layer {
        let operand = WinogradOperand(
            size: size, precision: method.precision, inputs: x.shape.paddedChannels,
            outputs: y.shape.paddedChannels)
        let tiles = problem.tilesPerPiece(method, threads: threads)
        let operandCount = (operand.totalByteCount + 3) / 4
        let factorCount = operand.precision.isInteger ? size.points * operand.outputs : 0
        let packedCount = operandCount + factorCount
        let usesBLAS = method.algorithm == .winograd4BLAS
        return PlanBuilder.Layer(
            weightCount: packedCount + operand.outputs,
            scratchCount: WinogradScratch(operand, tiles: tiles).count,
            pack: { target in
                packBias(to: target + packedCount)
                operand.pack(
                    weights, to: target, factors: factorCount > 0 ? target + operandCount : nil,
                    forBLAS: usesBLAS)
            },
            makeStep: { resources in
                let convolution = convolution(resources, packedCount: packedCount)
                return WinogradStep(
                    name: name, convolution, operand: operand, usesBLAS: usesBLAS,
                    factors: factorCount > 0 ? convolution.weights + operandCount : nil,
                    matrix: resources.backend.matrix(method.precision), tilesPerPiece: tiles,
                    threads: threads)
            })
    }

    private func direct(_ method: ConvolutionMethod) -> PlanBuilder.Layer {
        let inputs = x.shape.paddedChannels
        let outputs = y.shape.paddedChannels
        let tiles = problem.tilesPerPiece(method, threads: threads)
        let packedCount = weights.kernel * weights.kernel * inputs * outputs
        return PlanBuilder.Layer(
            weightCount: packedCount + outputs,
            scratchCount: DirectStep.scratchCount(tiles: tiles, outputs: outputs),
            pack: { target in
                packBias(to: target + packedCount)
                DirectStep.pack(weights, inputs: inputs, to: target)
            },
            makeStep: { resources in
                DirectStep(
                    name: name, convolution(resources, packedCount: packedCount),
                    kernel: problem.kernel, stride: problem.stride,
                    isUpsampled: problem.isUpsampled, tilesPerPiece: tiles, threads: threads)
            })
    }
}
