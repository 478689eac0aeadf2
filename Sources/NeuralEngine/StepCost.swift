// What a step has to do at least: the numbers behind a roofline.

internal import CKernels

/// What a step multiplies.
public enum MultiplyOperand: String, Sendable, Codable, CaseIterable {
    /// FMA.
    case f32
    /// AVX512_BF16.
    case bf16
    /// AVX512_VNNI or AVX-VNNI, pairs of 16 bits.
    case int16
    /// AVX512_VNNI or AVX-VNNI, quadruples of 8 bits.
    case int8
}

/// Work and traffic of one dispatch of a step. Bytes count every tensor once, without its border:
/// scratch memory stays in a core's own cache.
public struct StepCost: Sendable, Equatable {
    /// Multiply-accumulates of the layer as it is defined.
    public var directMACs = 0
    /// Multiply-accumulates of the chosen algorithm's GEMMs. Winograd does fewer than the definition;
    /// channels and tiles that are filled up count too.
    public var multipliedMACs = 0
    /// Packed weights that are read, in bytes.
    public var weightBytes = 0
    /// Activations that are read, in bytes.
    public var bytesRead = 0
    /// Activations that are written, in bytes.
    public var bytesWritten = 0
    /// What the GEMMs multiply; f32 where nothing is multiplied.
    public var operand = MultiplyOperand.f32
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
    /// - Parameter product: what is computed, before it is upsampled.
    init(
        _ convolution: Convolution, kernel: Int, over product: TensorShape, multipliedMACs: Int,
        weightBytes: Int
    ) {
        let target = convolution.target.shape
        let source = convolution.source.shape
        self.init(
            reading: [source] + (convolution.residual.map { [$0.shape] } ?? []), writing: target)
        directMACs =
            product.height * product.width * target.channels * source.channels * kernel * kernel
        self.multipliedMACs = multipliedMACs
        self.weightBytes = weightBytes
    }

    /// Everything that is read or written, in bytes.
    public var bytes: Int { weightBytes + bytesRead + bytesWritten }
}

extension TensorShape {
    /// Bytes of all blocks without the border.
    var interiorBytes: Int { paddedChannels * height * width * MemoryLayout<Float>.stride }
}
