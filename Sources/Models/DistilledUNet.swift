// The distilled U-Net: pixel space, three scales, residual on the input.

public import NeuralEngine

/// The architecture `distilled-unet`, version 1.
///
///     frame ─ pixel-unshuffle 4 ─ stem ─ enc0 ──────────── skip ──────────── + ─ dec0 ─ head ─
///                                          └ down1 ─ enc1 ─ skip ─ + ─ dec1 ─ up0 ┘      │
///                                                      └ down2 ─ mid ─ up1 ┘     pixel-shuffle 4
///                                                                                        │
///     frame ───────────────────────────────────────────────────────────────────────────  + ─ out
///
/// `stem` and `head` are 3 × 3 convolutions, `down` has stride 2, `up` is 1 × 1 and nearest ×2; the
/// others are residual blocks y = relu(x + b(relu(a(x)))). All have biases and pad with zeros;
/// stem and down end in a ReLU. Weights are immutable: sessions may share a network.
public struct DistilledUNet: Sendable {
    /// The file the weights came from, with title, styles and licence.
    public let file: ModelFile
    /// Channels at 1/4, 1/8 and 1/16 of the input size.
    public let channels: [Int]
    /// Channels of image and residual: 48 (pixel-unshuffle by 4 of red, green and blue), or more; a
    /// frame then leaves the others zero, and what the network gives there is ignored.
    public let imageChannels: Int

    private let layers: [String: ConvolutionWeights]

    /// Width and height that the network divides by: two halvings of 4 × 4 squares.
    static let sizeMultiple = 16
    /// What `ModelFile.architecture` is for these.
    static let architecture = "distilled-unet"
    private static let imageChannelRange = 48...256

    /// Reads and checks a model file.
    public init(file path: String) throws(ModelError) { try self.init(ModelFile(file: path)) }

    /// As `init(file:)`, of a file that has been read.
    init(_ file: ModelFile) throws(ModelError) {
        try file.check("architecture", is: Self.architecture)
        try file.check("architecture_version", is: "1")
        try file.check("color_range", is: "full")
        try file.check("size_multiple", is: "\(Self.sizeMultiple)")
        let channels = try file.numbers("channels", count: 3)
        let imageChannels = try Self.imageChannels(of: file)
        var layers: [String: ConvolutionWeights] = [:]
        for layer in Self.layerTable(channels, imageChannels: imageChannels) {
            layers[layer.name] = try file.convolution(
                layer.name, inputs: layer.inputs, outputs: layer.outputs, kernel: layer.kernel)
        }
        self.file = file
        self.channels = channels
        self.imageChannels = imageChannels
        self.layers = layers
    }

    /// The metadata `image_channels`; files without it have 48.
    private static func imageChannels(of file: ModelFile) throws(ModelError) -> Int {
        guard let text = file.metadata["image_channels"] else {
            return imageChannelRange.lowerBound
        }
        guard let count = Int(text), imageChannelRange.contains(count),
            count % channelBlock == 0
        else {
            throw file.failure(
                "its image_channels is \(text.quotedForMessages): a multiple of \(channelBlock) "
                    + "from \(imageChannelRange.lowerBound) to \(imageChannelRange.upperBound) "
                    + "is expected")
        }
        return count
    }

    private static func layerTable(
        _ c: [Int], imageChannels: Int
    ) -> [(name: String, inputs: Int, outputs: Int, kernel: Int)] {
        func block(_ name: String, _ channels: Int) -> [(String, Int, Int, Int)] {
            [("\(name).a", channels, channels, 3), ("\(name).b", channels, channels, 3)]
        }
        return [("stem", imageChannels, c[0], 3)] + block("enc0.0", c[0])
            + [("down1", c[0], c[1], 3)] + block("enc1.0", c[1])
            + [("down2", c[1], c[2], 3)] + block("mid.0", c[2]) + block("mid.1", c[2])
            + [("up1", c[2], c[1], 1)] + block("dec1.0", c[1])
            + [("up0", c[1], c[0], 1)] + block("dec0.0", c[0])
            + [("head", c[0], imageChannels, 3)]
    }

    /// Plans memory, packs weights and starts threads for one size; runs once to warm up.
    ///
    /// - Parameters:
    ///   - frameWidth: of the RGB24 frames that come and go.
    ///   - frameHeight: likewise.
    ///   - modelWidth: at which the network works; any size, padded inside.
    ///   - modelHeight: likewise.
    ///   - threads: of the engine, the calling one included.
    ///   - tuning: chooses how convolutions are computed; may measure first.
    ///   - precisions: in which they may be multiplied. Without f32 all that can be are in one of
    ///     the others; none is f32.
    ///   - reuses: whether to compute only what changed since the frame before. Takes more memory.
    public func prepare(
        frameWidth: Int, frameHeight: Int, modelWidth: Int, modelHeight: Int, threads: Int,
        tuning: ConvolutionTuning = ConvolutionTuning(), precisions: Set<Precision> = [],
        reuses: Bool = false
    ) throws(ModelError) -> ModelSession {
        do throws(EngineError) {
            let geometry = try FrameGeometry(
                frameWidth: frameWidth, frameHeight: frameHeight, modelWidth: modelWidth,
                modelHeight: modelHeight, multiple: Self.sizeMultiple)
            return try ModelSession(
                factory(threads: threads), geometry: geometry, tuning: tuning,
                precisions: precisions, reuses: reuses,
                sensitivities: file.calibration?.sensitivities)
        } catch {
            throw .engine(error)
        }
    }

    /// What changes of a frame or layer do to the picture; takes as long as some frames.
    public func measureSensitivities(threads: Int) throws(ModelError) -> ReuseSensitivities {
        do throws(EngineError) {
            return try factory(threads: threads).measureSensitivities()
        } catch {
            throw .engine(error)
        }
    }

    private func factory(threads: Int) throws(EngineError) -> NetworkFactory {
        NetworkFactory(
            backend: try Backend.shared(), pool: try WorkerPool(threads: threads),
            imageChannels: imageChannels
        ) { builder, image throws(EngineError) in
            try residual(of: image, in: builder)
        }
    }

    /// The network itself: image (C, H/4, W/4) in [0, 1] to residual (C, H/4, W/4), C being
    /// `imageChannels`.
    func residual(
        of image: Tensor, in builder: PlanBuilder
    ) throws(EngineError) -> Tensor {
        func convolve(
            _ name: String, _ x: Tensor, stride: Int = 1, _ activation: Activation = .none,
            adding: Tensor? = nil
        ) throws(EngineError) -> Tensor {
            guard let weights = layers[name] else { throw .invalid("no layer \(name)") }
            return try builder.convolution(
                name, x, weights, stride: stride, activation: activation, adding: adding)
        }
        func block(_ name: String, _ x: Tensor) throws(EngineError) -> Tensor {
            try convolve("\(name).b", convolve("\(name).a", x, .relu), .relu, adding: x)
        }
        func up(_ name: String, _ x: Tensor, adding skip: Tensor) throws(EngineError) -> Tensor {
            guard let weights = layers[name] else { throw .invalid("no layer \(name)") }
            return try builder.convolutionUpsampled2(name, x, weights, adding: skip)
        }

        let skip0 = try block("enc0.0", convolve("stem", image, .relu))
        let skip1 = try block("enc1.0", convolve("down1", skip0, stride: 2, .relu))
        let low = try convolve("down2", skip1, stride: 2, .relu)
        let mid = try block("mid.1", block("mid.0", low))
        let dec1 = try block("dec1.0", up("up1", mid, adding: skip1))
        let dec0 = try block("dec0.0", up("up0", dec1, adding: skip0))
        return try convolve("head", dec0)
    }
}
