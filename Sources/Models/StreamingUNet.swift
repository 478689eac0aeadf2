// The streaming U-Net: a few-step flow from the aligned past to the present picture, in any style.

internal import NeuralEngine

/// The architecture `streaming-flow-unet`, version 1. docs/model.md has the equations.
///
///     start z (48)         ┐                                               ┌ residual (48)
///     frame (48)           ├ stem ─ enc0 ─────────────── + ─ dec0 ─ head ─┤ gate (16)
///     state (11), light (4),         │ down1             ▲ up0            └ state (11)
///     tau (1)              ┘         │                   │
///                                   enc1 ─────────── + ─ dec1
///                                    │ down2         ▲ up1
///                                    └───── mid ─────┘
///
/// `stem` and `head` are 3 × 3 convolutions, `down` has stride 2, `up` is 1 × 1 and nearest ×2; the
/// others are residual blocks y = relu(x + b(relu(a(x)))). A style scales input and output channels of
/// every convolution and shifts its bias; the share r of the way that a step covers shifts it too. All
/// of it is folded into the weights before a frame comes, so that every style and mix costs the same.
/// Weights are immutable: sessions may share a network.
public struct StreamingUNet: Sendable {
    /// The file the weights came from, with title, styles and licence.
    public let file: ModelFile
    /// Channels at 1/4, 1/8 and 1/16 of the input size.
    public let channels: [Int]
    /// Residual blocks of enc0, enc1, mid, dec1 and dec0.
    public let blocks: [Int]

    /// tau at a trust of 1.
    let trustMax: Float

    private let layers: [String: StyledConvolution]
    // By style, in the file's order: 3 planes of `sourceEdge` × `sourceEdge` bytes. Empty for a style
    // that leaves nothing to chance.
    private let sources: [[UInt8]]

    /// Width and height that the network divides by: two halvings of 4 × 4 squares.
    static var sizeMultiple: Int { StreamSteps.sizeMultiple }
    /// Residual, gate and state.
    private static let outputChannels = 48 + 16 + 11
    /// Texels on a source's side; it repeats.
    private static var sourceEdge: Int { StreamSteps.sourceSize }
    /// Numbers that r is spread over.
    static let shareCount = 8

    /// Reads and checks a model file.
    public init(file path: String) throws(ModelError) { try self.init(ModelFile(file: path)) }

    /// As `init(file:)`, of a file that has been read.
    init(_ file: ModelFile) throws(ModelError) {
        try file.check("architecture", is: Self.architecture)
        try file.check("architecture_version", is: "1")
        try file.check("color_range", is: "full")
        try file.check("size_multiple", is: "\(Self.sizeMultiple)")
        try file.check("state", is: "11")
        try file.check("light", is: "4")
        let styles = file.styles
        guard !styles.isEmpty, styles.count <= 64, Set(styles).count == styles.count else {
            throw file.failure("its styles are not 1 to 64 different names")
        }
        let channels = try file.numbers("channels", count: 3)
        let blocks = try file.numbers("blocks", count: 5, atLeast: 0)
        guard let trustMax = Float(file.metadata["trust_max"] ?? ""), trustMax > 0, trustMax <= 1
        else { throw file.failure("its trust_max is no number above 0, up to 1") }
        var layers: [String: StyledConvolution] = [:]
        for layer in Self.layerTable(channels, blocks) {
            layers[layer.name] = try StyledConvolution(
                file, layer.name, inputs: layer.inputs, outputs: layer.outputs,
                kernel: layer.kernel, styles: styles.count)
        }
        var sources: [[UInt8]] = []
        let withSource = file.list("sources")
        if let stranger = withSource.first(where: { !styles.contains($0) }) {
            throw file.failure(
                "its sources name \(stranger.quotedForMessages), which is no style of it")
        }
        let unnamed = styles.first { style in
            !withSource.contains(style) && file.hasTensor("source.\(style)")
        }
        if let unnamed {
            throw file.failure("its sources lack \(unnamed.quotedForMessages), whose tensor it has")
        }
        for style in styles {
            sources.append(
                withSource.contains(style)
                    ? try file.bytes(
                        "source.\(style)", shape: [3, Self.sourceEdge, Self.sourceEdge]) : [])
        }
        self.file = file
        self.channels = channels
        self.blocks = blocks
        self.trustMax = trustMax
        self.layers = layers
        self.sources = sources
    }

    /// What `ModelFile.architecture` is for these.
    static let architecture = "streaming-flow-unet"

    private static func layerTable(
        _ c: [Int], _ blocks: [Int]
    ) -> [(name: String, inputs: Int, outputs: Int, kernel: Int)] {
        func residual(_ part: Int, _ channels: Int) -> [(String, Int, Int, Int)] {
            (0..<blocks[part]).flatMap { index in
                ["a", "b"].map {
                    ("\(parts[part]).\(index).\($0)", channels, channels, 3)
                }
            }
        }
        return [("stem", StreamSteps.inputChannels, c[0], 3)] + residual(0, c[0])
            + [("down1", c[0], c[1], 3)] + residual(1, c[1])
            + [("down2", c[1], c[2], 3)] + residual(2, c[2])
            + [("up1", c[2], c[1], 1)] + residual(3, c[1])
            + [("up0", c[1], c[0], 1)] + residual(4, c[0])
            + [("head", c[0], outputChannels, 3)]
    }

    private static let parts = ["enc0", "enc1", "mid", "dec1", "dec0"]

    /// The shares of a mix, in the order of the file's styles.
    func weights(of mix: StyleMix) throws(ModelError) -> [Float] {
        guard let weights = mix.weights(in: file.styles) else {
            for part in mix.parts { try file.requireStyle(part.name) }
            throw file.failure("it lacks a style of \"\(mix)\"")
        }
        return weights
    }

    /// A source that says nothing: 0.5.
    private static let grey: UInt8 = 128

    /// What chance is made of: 3 planes of `sourceEdge` × `sourceEdge` bytes, blended.
    func source(_ styles: [Float]) -> [UInt8] {
        var sum = [Float](repeating: 0, count: 3 * Self.sourceEdge * Self.sourceEdge)
        for (source, share) in zip(sources, styles) where share > 0 {
            for index in sum.indices {
                sum[index] += share * Float(source.isEmpty ? Self.grey : source[index])
            }
        }
        return sum.map { UInt8(min(255, max(0, $0.rounded()))) }
    }

    /// The weights for a style and a step.
    ///
    /// - Parameters:
    ///   - styles: share of each of the file's styles.
    ///   - share: r, of the way that is left, 0…1.
    func folded(
        _ styles: [Float], share: Float
    ) throws(EngineError) -> [String: ConvolutionWeights] {
        let position = share * Float(Self.shareCount - 1)
        let shares = (0..<Self.shareCount).map { max(0, 1 - abs(position - Float($0))) }
        var result: [String: ConvolutionWeights] = [:]
        for (name, layer) in layers {
            result[name] = try layer.folded(styles: styles, shares: shares)
        }
        return result
    }

    /// The network itself: (112, H/4, W/4) to (75, H/4, W/4), before sigmoid and tanh.
    func raw(
        _ input: Tensor, _ weights: [String: ConvolutionWeights], in builder: PlanBuilder
    ) throws(EngineError) -> Tensor {
        func convolve(
            _ name: String, _ x: Tensor, stride: Int = 1, _ activation: Activation = .none,
            adding: Tensor? = nil
        ) throws(EngineError) -> Tensor {
            guard let weights = weights[name] else { throw .invalid("no layer \(name)") }
            return try builder.convolution(
                name, x, weights, stride: stride, activation: activation, adding: adding)
        }
        func residual(_ part: Int, _ x: Tensor) throws(EngineError) -> Tensor {
            var x = x
            for index in 0..<blocks[part] {
                let name = "\(Self.parts[part]).\(index)"
                x = try convolve("\(name).b", convolve("\(name).a", x, .relu), .relu, adding: x)
            }
            return x
        }
        func up(_ name: String, _ x: Tensor, adding skip: Tensor) throws(EngineError) -> Tensor {
            guard let weights = weights[name] else { throw .invalid("no layer \(name)") }
            return try builder.convolutionUpsampled2(name, x, weights, adding: skip)
        }

        let skip0 = try residual(0, convolve("stem", input, .relu))
        let skip1 = try residual(1, convolve("down1", skip0, stride: 2, .relu))
        let mid = try residual(2, convolve("down2", skip1, stride: 2, .relu))
        let dec1 = try residual(3, up("up1", mid, adding: skip1))
        let dec0 = try residual(4, up("up0", dec1, adding: skip0))
        return try convolve("head", dec0)
    }
}

/// A convolution whose channels a style scales and shifts.
private struct StyledConvolution: Sendable {
    let inputs: Int
    let outputs: Int
    let kernel: Int
    // outputs × inputs × kernel × kernel
    let weight: [Float]
    let bias: [Float]
    // styles × inputs
    let scaleIn: [Float]
    // styles × outputs
    let scaleOut: [Float]
    let shift: [Float]
    // shareCount × outputs
    let shareShift: [Float]

    init(
        _ file: ModelFile, _ name: String, inputs: Int, outputs: Int, kernel: Int, styles: Int
    ) throws(ModelError) {
        weight = try file.values("\(name).weight", shape: [outputs, inputs, kernel, kernel])
        bias = try file.values("\(name).bias", shape: [outputs])
        scaleIn = try file.values("\(name).scale_in", shape: [styles, inputs])
        scaleOut = try file.values("\(name).scale_out", shape: [styles, outputs])
        shift = try file.values("\(name).shift", shape: [styles, outputs])
        shareShift = try file.values(
            "\(name).share_shift", shape: [StreamingUNet.shareCount, outputs])
        self.inputs = inputs
        self.outputs = outputs
        self.kernel = kernel
    }

    func folded(styles: [Float], shares: [Float]) throws(EngineError) -> ConvolutionWeights {
        let scaleIn = Self.mix(scaleIn, styles, count: inputs).map { 1 + $0 }
        let scaleOut = Self.mix(scaleOut, styles, count: outputs).map { 1 + $0 }
        let styleShift = Self.mix(shift, styles, count: outputs)
        let stepShift = Self.mix(shareShift, shares, count: outputs)
        let area = kernel * kernel
        let values = [Float](unsafeUninitializedCapacity: weight.count) { target, initialized in
            for output in 0..<outputs {
                for input in 0..<inputs {
                    let scale = scaleOut[output] * scaleIn[input]
                    let first = (output * inputs + input) * area
                    for tap in first..<first + area { target[tap] = weight[tap] * scale }
                }
            }
            initialized = weight.count
        }
        return try ConvolutionWeights(
            outputs: outputs, inputs: inputs, kernel: kernel, values: values,
            bias: bias.indices.map { bias[$0] + styleShift[$0] + stepShift[$0] })
    }

    /// Rows of `count` numbers, each times its weight, summed.
    private static func mix(_ rows: [Float], _ weights: [Float], count: Int) -> [Float] {
        var sum = [Float](repeating: 0, count: count)
        for (row, weight) in weights.enumerated() where weight != 0 {
            for index in 0..<count { sum[index] += weight * rows[row * count + index] }
        }
        return sum
    }
}
