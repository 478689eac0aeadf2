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

    /// The window from channel `input` to channel `output`, row by row; zeros in the padding.
    func window(output: Int, input: Int) -> ArraySlice<Float> {
        let count = kernel * kernel
        let start = (output * inputs + input) * count
        return values[start..<start + count]
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
    /// Tiles of a piece, before they are evened out.
    let tiles: Int

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
    let matrix: UnsafePointer<ck_matrix_kernels>

    var inputs: Int { source.shape.paddedChannels }
    var outputs: Int { target.shape.paddedChannels }

    init(
        _ resources: PlanBuilder.Resources, from x: Tensor, to y: Tensor, adding: Tensor?,
        _ weights: ConvolutionWeights, packedCount: Int, activation: Activation
    ) {
        source = resources.views[x.index]
        target = resources.views[y.index]
        residual = adding.map { resources.views[$0.index] }
        self.weights = resources.weights
        bias = resources.weights + packedCount
        for (index, value) in weights.bias.enumerated() { bias[index] = value }
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
        let method = try tuning.method(for: problem, backend: backend, pool: pool)
        let inputs = x.shape.paddedChannels
        let outputs = y.shape.paddedChannels
        let size = method.winogradSize
        let product = problem.product
        let edge = size?.edge ?? DirectStep.tileEdge
        let tiles = ((product.width + edge - 1) / edge) * ((product.height + edge - 1) / edge)
        let tilesPerPiece = pieceSize(tiles, limit: method.tiles, threads: threads)
        let packedCount =
            size.map { WinogradStep.packedCount($0, inputs: inputs, outputs: outputs) }
            ?? weights.kernel * weights.kernel * inputs * outputs
        let scratchCount =
            size.map {
                WinogradStep.scratchCount(
                    $0, tiles: tilesPerPiece, inputs: inputs, outputs: outputs)
            } ?? DirectStep.scratchCount(tiles: tilesPerPiece, outputs: outputs)
        return append(
            Node(
                inputs: [x] + (adding.map { [$0] } ?? []), output: y,
                weightCount: packedCount + outputs, scratchCount: scratchCount
            ) { resources in
                let convolution = Convolution(
                    resources, from: x, to: y, adding: adding, weights, packedCount: packedCount,
                    activation: activation)
                guard let size else {
                    DirectStep.pack(weights, inputs: inputs, to: convolution.weights)
                    return DirectStep(
                        name: name, convolution, kernel: weights.kernel, stride: stride,
                        isUpsampled: isUpsampled, tilesPerPiece: tilesPerPiece)
                }
                let usesBLAS = method.algorithm == .winograd4BLAS
                WinogradStep.pack(
                    weights, size: size, usesBLAS: usesBLAS, inputs: inputs, outputs: outputs,
                    to: convolution.weights)
                return WinogradStep(
                    name: name, convolution, size: size, usesBLAS: usesBLAS,
                    tilesPerPiece: tilesPerPiece)
            })
    }
}
