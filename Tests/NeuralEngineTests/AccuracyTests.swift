// How exact f32 is: a small U-Net by every method against direct convolutions in Float64.

import Glibc
import Testing

@testable import NeuralEngine

/// A picture in Float64, plane by plane.
private struct Planes {
    let shape: TensorShape
    var values: [Double]
}

/// A layer of the network, by the indices of the tensors it reads.
private struct Layer {
    let source: Int
    let adding: Int?
    let weights: ConvolutionWeights
    let stride: Int
    let isUpsampled: Bool
    let activation: Activation

    /// The layer by its definition.
    func compute(_ x: Planes, adding residual: Planes?, target: TensorShape) -> Planes {
        var result = Planes(shape: target, values: [])
        result.values.reserveCapacity(target.channels * target.height * target.width)
        let (height, width, kernel) = (x.shape.height, x.shape.width, weights.kernel)
        x.values.withUnsafeBufferPointer { x in
            weights.values.withUnsafeBufferPointer { weights in
                for output in 0..<target.channels {
                    for row in 0..<target.height {
                        for column in 0..<target.width {
                            let scale = isUpsampled ? 2 : 1
                            let top = row / scale * stride - kernel / 2
                            let left = column / scale * stride - kernel / 2
                            var sum = Double(self.weights.bias[output])
                            for dy in max(0, -top)..<min(kernel, height - top) {
                                for dx in max(0, -left)..<min(kernel, width - left) {
                                    var from = (top + dy) * width + left + dx
                                    var tap = output * self.weights.inputs * kernel * kernel
                                    tap += dy * kernel + dx
                                    for _ in 0..<self.weights.inputs {
                                        sum += x[from] * Double(weights[tap])
                                        from += height * width
                                        tap += kernel * kernel
                                    }
                                }
                            }
                            if let residual { sum += residual.values[result.values.count] }
                            result.values.append(activated(sum))
                        }
                    }
                }
            }
        }
        return result
    }

    private func activated(_ value: Double) -> Double {
        switch activation {
        case .none: value
        case .relu: max(value, 0)
        case .silu: value / (1 + exp(-value))
        }
    }
}

/// Residual blocks on two scales, of sizes and channels that fill neither tiles nor blocks. Random
/// weights of the variance that keeps activations alike from layer to layer (He et al., 2015).
struct AccuracyNetwork {
    private let input: [Float]
    private let inputShape = TensorShape(channels: 19, height: 22, width: 30)
    private let layers: [Layer]
    // By Float64.
    private let expected: [Double]

    init() throws {
        var noise = Noise(seed: 12)
        func layer(
            _ inputs: Int, _ outputs: Int, from source: Int, adding: Int? = nil, kernel: Int = 3,
            stride: Int = 1, isUpsampled: Bool = false, activation: Activation = .relu
        ) throws -> Layer {
            let scale = (6 / Float(inputs * kernel * kernel)).squareRoot()
            return Layer(
                source: source, adding: adding,
                weights: try ConvolutionWeights(
                    outputs: outputs, inputs: inputs, kernel: kernel,
                    values: noise.floats(outputs * inputs * kernel * kernel).map { $0 * scale },
                    bias: noise.floats(outputs).map { $0 / 10 }),
                stride: stride, isUpsampled: isUpsampled, activation: activation)
        }
        layers = [
            try layer(19, 24, from: 0),
            try layer(24, 24, from: 1),
            try layer(24, 24, from: 2, adding: 1),
            try layer(24, 33, from: 3, stride: 2),
            try layer(33, 33, from: 4, activation: .silu),
            try layer(33, 33, from: 5, adding: 4),
            try layer(33, 24, from: 6, adding: 3, kernel: 1, isUpsampled: true),
            try layer(24, 24, from: 7, adding: 7),
            try layer(24, 17, from: 8, activation: .none),
        ]
        input = noise.floats(19 * 22 * 30)
        var tensors = [Planes(shape: inputShape, values: input.map(Double.init))]
        for layer in layers {
            let x = tensors[layer.source]
            let target = TensorShape(
                channels: layer.weights.outputs,
                height: layer.isUpsampled
                    ? 2 * x.shape.height : (x.shape.height - 1) / layer.stride + 1,
                width: layer.isUpsampled
                    ? 2 * x.shape.width : (x.shape.width - 1) / layer.stride + 1)
            tensors.append(
                layer.compute(x, adding: layer.adding.map { tensors[$0] }, target: target))
        }
        expected = tensors[layers.count].values
    }

    /// What a method made of the network.
    struct Outcome {
        /// Of the result, in the L2 norm.
        let relativeError: Double
        /// How many convolutions each algorithm computed, by the names of `StepCost`.
        let algorithms: [String: Int]
    }

    func run(_ method: ConvolutionMethod) throws -> Outcome {
        let builder = PlanBuilder(
            backend: try Backend.shared(), pool: try WorkerPool(threads: 2),
            tuning: ConvolutionTuning(fixed: method))
        var tensors = [builder.input(inputShape)]
        for (index, layer) in layers.enumerated() {
            let adding = layer.adding.map { tensors[$0] }
            tensors.append(
                layer.isUpsampled
                    ? try builder.convolutionUpsampled2(
                        "\(index)", tensors[layer.source], layer.weights,
                        activation: layer.activation, adding: adding)
                    : try builder.convolution(
                        "\(index)", tensors[layer.source], layer.weights, stride: layer.stride,
                        activation: layer.activation, adding: adding))
        }
        let plan = try builder.build(outputs: [tensors[layers.count]])
        input.withUnsafeBufferPointer { plan.view(of: tensors[0]).load(planar: $0) }
        plan.run()
        let found = plan.view(of: tensors[layers.count]).planar()
        var (error, energy) = (0.0, 0.0)
        for (a, b) in zip(found, expected) {
            error += (Double(a) - b) * (Double(a) - b)
            energy += b * b
        }
        return Outcome(
            relativeError: found.count == expected.count
                ? (error / energy).squareRoot() : .infinity,
            algorithms: Dictionary(grouping: plan.steps, by: \.cost.algorithm)
                .mapValues(\.count))
    }

    /// Half as much again as any instruction set needs, or twice: other interpolation points for tiles
    /// of 4 × 4, which are as good by every other test, double the error.
    private static func limit(_ algorithm: ConvolutionMethod.Algorithm) -> Double {
        algorithm == .winograd6 ? 5e-6 : 1e-6
    }

    /// What is wrong with any method, for people.
    func failures() throws -> [String] {
        // Seven 3 × 3 convolutions, one of stride 2, one of 1 × 1.
        let expected: [ConvolutionMethod.Algorithm: [String: Int]] = [
            .winograd2: ["F(2,3)": 7, "direct": 2], .winograd4: ["F(4,3)": 7, "direct": 2],
            .winograd6: ["F(6,3)": 7, "direct": 2],
            .winograd4BLAS: ["F(4,3) BLAS": 7, "direct": 2],
            .winogradStride2: ["F(4,3)/2": 1, "direct": 8], .direct: ["direct": 9],
        ]
        return try ConvolutionMethod.Algorithm.allCases.flatMap { algorithm in
            let outcome = try run(ConvolutionMethod(algorithm: algorithm, tiles: 24))
            var failures: [String] = []
            if outcome.algorithms != expected[algorithm] {
                failures.append("\(algorithm) ran as \(outcome.algorithms)")
            }
            // Written so that NaN fails.
            if !(outcome.relativeError <= Self.limit(algorithm)) {
                failures.append("\(algorithm): relative error \(outcome.relativeError)")
            }
            return failures
        }
    }
}

struct AccuracyTests {
    @Test("A U-Net is as exact as f32 allows, by every method")
    func best() throws {
        let failures = try AccuracyNetwork().failures()
        #expect(failures == [])
    }

    // One instruction set a process.
    @Test("So it is with plain C and baseline BLAS")
    func scalarProcess() async {
        await #expect(processExitsWith: .success) {
            setenv("LUCIDA_ISA", "scalar", 1)
            let failures = try AccuracyNetwork().failures()
            try #require(failures == [])
            try #require(Backend.shared().instructionSet == .scalar)
        }
    }

    @Test("So it is with AVX2", .enabled(if: InstructionSet.avx2.isSupported))
    func avx2Process() async {
        await #expect(processExitsWith: .success) {
            setenv("LUCIDA_ISA", "avx2", 1)
            let failures = try AccuracyNetwork().failures()
            try #require(failures == [])
            try #require(Backend.shared().instructionSet == .avx2)
        }
    }
}
