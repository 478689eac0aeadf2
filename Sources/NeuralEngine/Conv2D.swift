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

/// Geometry and memory that both algorithms share.
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
    }
}

extension PlanBuilder {
    /// y = activation(convolution(x) + bias + adding), zeros beyond the border of x.
    ///
    /// 3 × 3 with stride 1 runs as Winograd F(4 × 4, 3 × 3), the rest as im2col and GEMM.
    /// - Parameters:
    ///   - name: for timings.
    ///   - x: `weights.inputs` channels.
    ///   - stride: 1 or 2.
    ///   - adding: a tensor of the result's shape.
    public func convolution(
        _ name: String, _ x: Tensor, _ weights: ConvolutionWeights, stride: Int = 1,
        activation: Activation = .none, adding: Tensor? = nil
    ) throws(EngineError) -> Tensor {
        guard weights.inputs == x.shape.channels else {
            throw .invalid(
                "\(name): \(weights.inputs) input channels, but x has \(x.shape.channels)")
        }
        guard stride == 1 || stride == 2 else {
            throw .invalid("\(name): stride \(stride): the engine has 1 and 2")
        }
        let y = makeTensor(
            TensorShape(
                channels: weights.outputs, height: (x.shape.height - 1) / stride + 1,
                width: (x.shape.width - 1) / stride + 1))
        guard adding.map({ $0.shape == y.shape }) ?? true else {
            throw .invalid("\(name): what is added has another shape than the result")
        }
        return weights.kernel == 3 && stride == 1
            ? appendWinograd(name, x, y, weights, activation, adding)
            : appendIm2col(name, x, y, weights, stride, activation, adding)
    }
}

/// Divides `count` items into pieces of at most `limit`, as even as possible and, if there are
/// enough, a multiple of `threads` of them.
func pieceSize(_ count: Int, limit: Int, threads: Int) -> Int {
    var pieces = (count + limit - 1) / limit
    pieces = min(count, roundUp(pieces, to: threads))
    return (count + pieces - 1) / pieces
}
