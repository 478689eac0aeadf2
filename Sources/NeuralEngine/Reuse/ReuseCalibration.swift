// How a change of the frame, or of a layer, shows in the picture: measured on the network itself.

internal import Glibc

/// What a change of the frame, or of a layer's result, does to the picture. It belongs to the weights
/// and not to the size of the picture.
public struct ReuseSensitivities: Codable, Sendable, Equatable {
    /// Weights of the measures of `cell_changes`, so that their sum is the expected mean square
    /// change of the picture.
    let frame: [Float]
    /// Expected change of the picture, in levels² summed over its values, for each change² of one
    /// number of a step's result, step by step. The last step's is exact.
    let layers: [Float]

    /// Whether they can be of a network with so many steps. With others nothing would count as a
    /// change, and the picture would stand still.
    public func areUsable(steps: Int) -> Bool {
        frame.count == 4 && layers.count == steps && frame.contains { $0 > 0 }
            && (frame + layers).allSatisfy { $0.isFinite && $0 >= 0 }
    }

    /// A size at which they can be measured in little time: width and height in pixels.
    public static let pictureSize = (width: 256, height: 192)

    /// Disturbs a drawn scene, and every layer's result on it, and measures what comes out. Control
    /// thread; takes about as long as half as many runs of the plan as there are layers.
    ///
    /// - Parameters:
    ///   - plan: built for reuse.
    ///   - image: the network's input, pixel-unshuffled by 4.
    ///   - residual: its result, likewise.
    public init(measuring plan: Plan, image: TensorView, residual: TensorView) {
        plan.reuse?.computeAll()
        let calibration = ReuseCalibration(plan: plan, image: image, residual: residual)
        frame = calibration.frameWeights()
        layers = calibration.layerSensitivities()
    }
}

private struct ReuseCalibration {
    private let plan: Plan
    private let image: TensorView
    private let residual: TensorView
    // Border and padding included.
    private let undisturbed: [Float]
    private let scene: [Float]

    /// Levels in the range of a value.
    private static let levels: Float = 255
    /// Of a disturbance of the frame.
    private static let frameLevels: Float = 3
    /// Of a disturbance of a layer: this share of its own variation.
    private static let layerShare: Float = 0.1

    /// - Parameters:
    ///   - image: the network's input, pixel-unshuffled by 4.
    ///   - residual: its result, likewise.
    init(plan: Plan, image: TensorView, residual: TensorView) {
        self.plan = plan
        self.image = image
        self.residual = residual
        scene = DrawnScene(width: 4 * image.shape.width, height: 4 * image.shape.height).values
        Self.load(scene, into: image)
        plan.run()
        undisturbed = Array(residual.picture)
    }

    func layerSensitivities() -> [Float] {
        var random = RandomNumbers(seed: 2)
        var result: [Float] = []
        Self.load(scene, into: image)
        plan.run()
        // From the last to the first: what a disturbance leaves behind is computed anew next time.
        for (index, step) in plan.steps.enumerated().reversed() {
            guard let tensor = plan.reuse.map({ plan.view(at: $0.steps[index].result) }) else {
                return []
            }
            let power = disturb(tensor, &random)
            for later in plan.steps[(index + 1)...] { plan.pool.run(later) }
            result.append(outputPower / power)
            plan.pool.run(step)
        }
        return result.reversed()
    }

    func frameWeights() -> [Float] {
        // What each pattern, at a mean square of 1, is in terms of the four measures.
        let patterns: [(NoisePattern, [Float])] = [
            (.init(edge: 1, isLuma: false, isChroma: false), [1, 0.094, 0.0234, 0.0625]),
            (.init(edge: 2, isLuma: true, isChroma: false), [1, 1, 0.25, 0.25]),
            (.init(edge: 4, isLuma: true, isChroma: false), [1, 1, 1, 1]),
            (.init(edge: 4, isLuma: false, isChroma: true), [1, 0.0625, 0.0625, 1]),
        ]
        let gains = patterns.map { gain(of: $0.0) }
        // Gauss–Seidel, nothing below 0.
        var weights = [Float](repeating: 0, count: patterns.count)
        for _ in 0..<100 {
            for (index, (_, measures)) in patterns.enumerated() {
                var rest = gains[index]
                for other in weights.indices where other != index {
                    rest -= measures[other] * weights[other]
                }
                weights[index] = max(0, rest / measures[index])
            }
        }
        return weights
    }

    private func gain(of pattern: NoisePattern) -> Float {
        let width = 4 * image.shape.width
        let noise = pattern.values(width: width, height: 4 * image.shape.height)
        var power: Float = 0
        var disturbed = scene
        for index in disturbed.indices {
            disturbed[index] += Self.frameLevels * noise[index]
            power += noise[index] * noise[index] * Self.frameLevels * Self.frameLevels
        }
        Self.load(disturbed, into: image)
        plan.run()
        return outputPower / power
    }

    /// Levels² by which the result differs from the undisturbed one, summed.
    private var outputPower: Float {
        var sum = 0.0
        for (a, b) in zip(residual.picture, undisturbed) { sum += Double((a - b) * (a - b)) }
        return Float(sum) * Self.levels * Self.levels
    }

    /// Adds noise in proportion to each channel's variation; returns its sum of squares.
    private func disturb(_ tensor: TensorView, _ random: inout RandomNumbers) -> Float {
        let shape = tensor.shape
        var deviations = [Float](repeating: 0, count: shape.channels)
        for channel in 0..<shape.channels {
            var sum = 0.0
            var squares = 0.0
            tensor.forEachValue(of: channel) { value in
                sum += Double(value.pointee)
                squares += Double(value.pointee) * Double(value.pointee)
            }
            let count = Double(shape.width * shape.height)
            deviations[channel] = Float(
                max(0, squares / count - sum / count * sum / count).squareRoot())
        }
        // A channel that is silent here may speak in front of a camera.
        let mean = deviations.reduce(0, +) / Float(shape.channels)
        var power: Float = 0
        for channel in 0..<shape.channels {
            let amplitude = Self.layerShare * max(deviations[channel], 0.05 * mean, 1e-3)
            tensor.forEachValue(of: channel) { value in
                let noise = amplitude * random.signed()
                value.pointee += noise
                power += noise * noise
            }
        }
        return power
    }

    /// A picture of interleaved RGB in levels, into the network's input.
    private static func load(_ picture: [Float], into image: TensorView) {
        let width = 4 * image.shape.width
        for colour in 0..<3 {
            for y in 0..<image.shape.height {
                let row = image.pixel(block: colour, y: y, x: 0)
                for x in 0..<image.shape.width {
                    for lane in 0..<channelBlock {
                        let pixel = (4 * y + lane / 4) * width + 4 * x + lane % 4
                        row[x * channelBlock + lane] = picture[3 * pixel + colour] / levels
                    }
                }
            }
        }
    }
}

extension TensorView {
    /// The numbers that make a picture, border included: 16 for each colour.
    fileprivate var picture: UnsafeBufferPointer<Float> {
        UnsafeBufferPointer(start: base, count: 3 * shape.blockStride)
    }

    fileprivate func forEachValue(of channel: Int, _ body: (UnsafeMutablePointer<Float>) -> Void) {
        let (block, lane) = channel.quotientAndRemainder(dividingBy: channelBlock)
        for y in 0..<shape.height {
            let row = pixel(block: block, y: y, x: 0) + lane
            for x in 0..<shape.width { body(row + x * channelBlock) }
        }
    }
}

/// Marsaglia's xorshift: the same numbers on every machine.
private struct RandomNumbers {
    private var state: UInt64

    init(seed: UInt64) { state = seed &* 0x9e37_79b9_7f4a_7c15 | 1 }

    /// 0 ..< 1
    mutating func unit() -> Float {
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        return Float(state >> 40) / Float(1 << 24)
    }

    /// −1 ..< 1
    mutating func signed() -> Float { 2 * unit() - 1 }
}

/// Noise that is constant in squares.
private struct NoisePattern {
    /// Pixels on a square's side.
    let edge: Int
    /// All colours alike.
    let isLuma: Bool
    /// The colours sum to 0.
    let isChroma: Bool

    /// Interleaved RGB.
    func values(width: Int, height: Int) -> [Float] {
        var random = RandomNumbers(seed: 3)
        var result = [Float](repeating: 0, count: 3 * width * height)
        for top in stride(from: 0, to: height, by: edge) {
            for left in stride(from: 0, to: width, by: edge) {
                var (red, green, blue) = (random.signed(), random.signed(), random.signed())
                let mean = (red + green + blue) / 3
                if isLuma { (green, blue) = (red, red) }
                if isChroma { (red, green, blue) = (red - mean, green - mean, blue - mean) }
                for y in top..<min(top + edge, height) {
                    for x in left..<min(left + edge, width) {
                        let place = 3 * (y * width + x)
                        result[place] = red
                        result[place + 1] = green
                        result[place + 2] = blue
                    }
                }
            }
        }
        return result
    }
}

/// Ellipses over ellipses ("dead leaves"): edges of every direction and contrast, as a camera sees.
private struct DrawnScene {
    let width: Int
    let height: Int
    /// Interleaved RGB in levels.
    private(set) var values: [Float]

    private static let pixelsPerShape = 1000

    init(width: Int, height: Int) {
        self.width = width
        self.height = height
        values = (0..<3 * width * height).map { 40 + 160 * Float($0 / 3 % width) / Float(width) }
        var random = RandomNumbers(seed: 1)
        for _ in 0..<width * height / Self.pixelsPerShape { draw(&random) }
    }

    private mutating func draw(_ random: inout RandomNumbers) {
        let x0 = random.unit() * Float(width)
        let y0 = random.unit() * Float(height)
        let u = random.unit()
        let long = 4 + 100 * u * u * u
        let short = long * (0.4 + 0.6 * random.unit())
        let angle = random.unit() * .pi
        let colour = (0..<3).map { _ in random.unit() * 255 }
        let (c, s) = (cosf(angle), sinf(angle))
        for y in max(0, Int(y0 - long) - 2)..<max(0, min(height, Int(y0 + long) + 3)) {
            for x in max(0, Int(x0 - long) - 2)..<max(0, min(width, Int(x0 + long) + 3)) {
                let (dx, dy) = (Float(x) - x0, Float(y) - y0)
                let (a, b) = ((c * dx + s * dy) / long, (c * dy - s * dx) / short)
                // An edge about two pixels wide.
                let cover = min(1, max(0, 0.5 + (1 - (a * a + b * b).squareRoot()) * short / 2))
                for index in 0..<3 {
                    let at = 3 * (y * width + x) + index
                    values[at] += cover * (colour[index] - values[at])
                }
            }
        }
    }
}

extension TemporalReuse {
    /// What makes `plan` run on what changed alone.
    ///
    /// - Parameters:
    ///   - image: the network's input, shape `geometry.blocks`.
    ///   - sensitivities: of the same network.
    /// - Returns: the two steps that bring a frame in; nil if the plan was not built for it.
    public static func prepare(
        backend: Backend, geometry: FrameGeometry, plan: Plan, image: TensorView,
        sensitivities: ReuseSensitivities
    ) -> (reuse: TemporalReuse, steps: [ParallelWork], input: any FrameInput)? {
        guard let planReuse = plan.reuse else { return nil }
        let memory = FrameMemory(backend: backend, geometry: geometry, threads: plan.pool.threads)
        let reuse = TemporalReuse(plan: planReuse, memory: memory)
        for (index, weight) in sensitivities.frame.enumerated() { memory.weights[index] = weight }
        for (step, sensitivity) in zip(planReuse.steps, sensitivities.layers) {
            step.work.reuse?.sensitivity = sensitivity
        }
        let change = FrameChangeStep(memory: memory, backend: backend)
        let update = FrameUpdateStep(
            memory: memory, target: image, backend: backend, reuse: reuse)
        return (reuse, [change, update], change)
    }
}
