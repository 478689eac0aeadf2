// What a step has to do at least: the numbers behind a roofline.

internal import CKernels

/// Work and traffic of one dispatch of a step. Bytes count every tensor once, without its border.
public struct StepCost: Sendable, Equatable {
    /// Multiply-accumulates of the layer as it is defined.
    public var directMACs = 0
    /// Multiply-accumulates of the chosen algorithm's GEMMs. Winograd does fewer than the definition;
    /// channels and tiles that are filled up count too.
    public var multipliedMACs = 0
    /// The fewest that any of the engine's algorithms would do with these operands.
    public var leastMACs = 0
    /// Packed weights that are read, in bytes.
    public var weightBytes = 0
    /// Activations that are read, in bytes.
    public var bytesRead = 0
    /// Activations that are written, in bytes.
    public var bytesWritten = 0
    /// Scratch memory of a worker, in bytes.
    public var scratchBytes = 0
    /// What all workers together write to scratch memory and read from it, in bytes.
    public var scratchTraffic = 0
    /// What the GEMMs multiply; f32 where nothing is multiplied.
    public var operand = Precision.f32
    /// How it is computed, for people; empty where there is no choice.
    public var algorithm = ""

    /// No work.
    public init() {}

    /// A step without weights.
    init(reading sources: [TensorShape], writing target: TensorShape) {
        bytesRead = sources.reduce(0) { $0 + $1.interiorBytes }
        bytesWritten = target.interiorBytes
    }

    /// A convolution.
    ///
    /// - Parameters:
    ///   - product: what is computed, before it is upsampled.
    ///   - matrix: the kernels that multiply.
    init(
        _ convolution: Convolution, kernel: Int, stride: Int, over product: TensorShape,
        multipliedMACs: Int, weightBytes: Int, operand: Precision = .f32,
        matrix: UnsafePointer<ck_matrix_kernels>
    ) {
        let target = convolution.target.shape
        let source = convolution.source.shape
        self.init(
            reading: [source] + (convolution.residual.map { [$0.shape] } ?? []), writing: target)
        directMACs =
            product.height * product.width * target.channels * source.channels * kernel * kernel
        self.multipliedMACs = multipliedMACs
        let sizes = WinogradSize.allCases.filter {
            kernel == 3 && $0.stride == stride && $0.input(matrix) != nil
        }
        leastMACs = sizes.map {
            $0.points * $0.tileCount(of: product) * convolution.inputs * convolution.outputs
        }.reduce(multipliedMACs, min)
        self.weightBytes = weightBytes
        self.operand = operand
    }

    /// Everything that is read or written, in bytes.
    public var bytes: Int { weightBytes + bytesRead + bytesWritten }
}

extension WinogradSize {
    fileprivate func tileCount(of shape: TensorShape) -> Int {
        ((shape.height + edge - 1) / edge) * ((shape.width + edge - 1) / edge)
    }
}

extension TensorShape {
    /// Bytes of all blocks without the border.
    var interiorBytes: Int { paddedChannels * height * width * MemoryLayout<Float>.stride }
}
