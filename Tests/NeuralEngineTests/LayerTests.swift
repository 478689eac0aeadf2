// Layers against tensors that PyTorch computed (Training/ says how), for each instruction set.

import CKernels
import Foundation
import Glibc
import Testing

@testable import NeuralEngine

/// Path of a file in this target's resources.
func resource(_ name: String) throws -> String {
    try #require(
        Bundle.module.path(forResource: "Resources/\(name)", ofType: nil),
        "the resource \(name) is missing: see Training/README.md")
}

/// One layer of the dump.
private struct LayerCase: Decodable {
    let name: String
    let op: String
    let stride: Int
    let activation: String
    let bias: Bool
    let residual: Bool
}

/// The dump, and the engine's answer to each of its cases.
struct LayerDump {
    private let file: Safetensors
    private let cases: [LayerCase]

    init() throws {
        file = try Safetensors(file: resource("layers.safetensors"))
        let json = try #require(file.metadata["cases"])
        cases = try JSONDecoder().decode([LayerCase].self, from: Data(json.utf8))
    }

    /// How far a result may be off, relative to its largest value.
    private static func tolerance(_ precision: Precision) -> Float {
        switch precision {
        case .f32: 1e-4
        case .int16: 1e-3
        case .bf16: 3e-2
        case .int8: 0.1
        }
    }

    /// Names of the cases whose result is off by more than the precision explains, with every method
    /// that computes convolutions.
    func failures(threads: Int) throws -> [String] {
        var failures: [String] = []
        for precision in Precision.allCases {
            let algorithms =
                precision == .f32
                ? ConvolutionMethod.Algorithm.allCases : ConvolutionMethod.Algorithm.narrow
            for algorithm in algorithms {
                for tiles in [5, 24] {
                    let method = ConvolutionMethod(
                        algorithm: algorithm, precision: precision, tiles: tiles)
                    failures += try self.failures(method, threads: threads)
                }
            }
        }
        return failures
    }

    private func failures(_ method: ConvolutionMethod, threads: Int) throws -> [String] {
        let computed = try cases.filter { try isComputed($0, by: method) }
        var failures = computed.isEmpty ? ["\(method.text) computes no layer"] : []
        for layer in computed {
            let expected = try file.values(of: "\(layer.name)/output")
            let found = try run(layer, method, threads: threads)
            let scale = expected.reduce(Float(0)) { max($0, abs($1)) }
            let error = zip(found, expected).reduce(Float(0)) {
                // NaN must not slip through a maximum.
                let difference = abs($1.0 - $1.1)
                return difference.isNaN ? .infinity : max($0, difference)
            }
            if found.count != expected.count || error > Self.tolerance(method.precision) * scale {
                failures.append("\(layer.name), \(method.text): error \(error) of \(scale)")
            }
        }
        return failures
    }

    var count: Int { cases.count }

    /// Whether a method has a part in a layer: what it cannot compute would be computed directly.
    private func isComputed(_ layer: LayerCase, by method: ConvolutionMethod) throws -> Bool {
        guard layer.op == "conv2d" else { return method.algorithm == .direct }
        let kernel = try #require(file.shape(of: "\(layer.name)/weight"))[2]
        let (source, target) = (
            try shape("\(layer.name)/input"), try shape("\(layer.name)/output")
        )
        return ConvolutionProblem(
            source: source, target: target, kernel: kernel, stride: layer.stride,
            isUpsampled: false
        ).allows(method.algorithm)
    }

    private func shape(_ name: String) throws -> TensorShape {
        let shape = try #require(file.shape(of: name))
        return TensorShape(channels: shape[1], height: shape[2], width: shape[3])
    }

    private func run(
        _ layer: LayerCase, _ method: ConvolutionMethod, threads: Int
    ) throws -> [Float] {
        if layer.op == "pixel_shuffle" { return try shuffle(layer) }
        if layer.op == "pixel_unshuffle" { return try unshuffle(layer) }
        let builder = PlanBuilder(
            backend: try Backend.shared(), pool: try WorkerPool(threads: threads),
            tuning: ConvolutionTuning(fixed: method))
        var inputs = [("input", builder.input(try shape("\(layer.name)/input")))]
        if layer.residual {
            inputs.append(("residual", builder.input(try shape("\(layer.name)/residual"))))
        }
        let x = inputs[0].1
        let y: Tensor
        switch layer.op {
        case "conv2d":
            let weights = try #require(file.shape(of: "\(layer.name)/weight"))
            let convolution = try ConvolutionWeights(
                outputs: weights[0], inputs: weights[1], kernel: weights[2],
                values: file.values(of: "\(layer.name)/weight"),
                bias: layer.bias ? file.values(of: "\(layer.name)/bias") : nil)
            let activations: [String: Activation] = ["relu": .relu, "silu": .silu, "none": .none]
            y = try builder.convolution(
                layer.name, x, convolution, stride: layer.stride,
                activation: try #require(activations[layer.activation]),
                adding: layer.residual ? inputs[1].1 : nil)
        case "upsample_nearest":
            y = try builder.convolutionUpsampled2(layer.name, x, identity(x.shape.channels))
        default:
            Issue.record("the dump has an operation \(layer.op) that no test knows")
            return []
        }
        let plan = try builder.build(outputs: [y])
        for (name, tensor) in inputs {
            try file.values(of: "\(layer.name)/\(name)").withUnsafeBufferPointer {
                plan.view(of: tensor).load(planar: $0)
            }
        }
        // Twice: what the first run left in the memory must not show.
        plan.run()
        plan.run()
        return plan.view(of: y).planar()
    }

    private func identity(_ channels: Int) throws -> ConvolutionWeights {
        try ConvolutionWeights(
            outputs: channels, inputs: channels, kernel: 1,
            values: (0..<channels * channels).map { $0 % (channels + 1) == 0 ? 1 : 0 })
    }

    /// 48 planes to interleaved rows by the kernel, then to planes as PyTorch has them.
    private func shuffle(_ layer: LayerCase) throws -> [Float] {
        let shape = try shape("\(layer.name)/input")
        let blocks = try blocked(file.values(of: "\(layer.name)/input"), shape)
        let kernels = try Backend.shared().kernels.pointee
        let width = 4 * shape.width
        let height = 4 * shape.height
        var rows = [Float](repeating: 0, count: 3 * width * height)
        rows.withUnsafeMutableBufferPointer { rows in
            guard let base = rows.baseAddress else { return }
            for y in 0..<shape.height {
                blocks.withUnsafeBufferPointer {
                    guard let from = $0.baseAddress else { return }
                    _ = kernels.shuffle_rgb(
                        from + y * shape.width * 16, shape.height * shape.width * 16, shape.width,
                        base + 4 * y * 3 * width, 3 * width)
                }
            }
        }
        return (0..<3).flatMap { colour in
            (0..<width * height).map { rows[3 * $0 + colour] }
        }
    }

    /// The dump holds real numbers, the kernel takes bytes: their places are compared by carrying
    /// the rank of each number, which a byte holds for a part of the picture at a time.
    private func unshuffle(_ layer: LayerCase) throws -> [Float] {
        let values = try file.values(of: "\(layer.name)/input")
        let image = try shape("\(layer.name)/input")
        let blocks = TensorShape(channels: 48, height: image.height / 4, width: image.width / 4)
        let plane = image.height * image.width
        var result = [Float](repeating: .nan, count: values.count)
        for base in stride(from: 0, to: values.count, by: 255) {
            // Byte k > 0 marks the element base + k - 1.
            var bytes = [UInt8](repeating: 0, count: values.count)
            for index in base..<min(base + 255, values.count) {
                let (colour, pixel) = index.quotientAndRemainder(dividingBy: plane)
                bytes[3 * pixel + colour] = UInt8(index - base + 1)
            }
            var squares = [Float](repeating: 0, count: blocks.height * blocks.width * 48)
            let blockStride = blocks.height * blocks.width * 16
            let kernels = try Backend.shared().kernels.pointee
            squares.withUnsafeMutableBufferPointer { to in
                bytes.withUnsafeBufferPointer { from in
                    guard let to = to.baseAddress, let from = from.baseAddress else { return }
                    for y in 0..<blocks.height {
                        kernels.unshuffle_rgb(
                            from + 4 * y * 3 * image.width, 3 * image.width, blocks.width,
                            to + y * blocks.width * 16, blockStride)
                    }
                }
            }
            for channel in 0..<48 {
                for pixel in 0..<blocks.height * blocks.width {
                    let value = squares[channel / 16 * blockStride + pixel * 16 + channel % 16]
                    let mark = Int((value * 255).rounded())
                    if mark > 0 {
                        result[channel * blocks.height * blocks.width + pixel] =
                            values[base + mark - 1]
                    }
                }
            }
        }
        return result
    }

    /// Planes to blocks of 16 channels without borders.
    private func blocked(_ planes: [Float], _ shape: TensorShape) -> [Float] {
        let plane = shape.height * shape.width
        var blocks = [Float](repeating: 0, count: shape.paddedChannels * plane)
        for channel in 0..<shape.channels {
            for pixel in 0..<plane {
                blocks[channel / 16 * plane * 16 + pixel * 16 + channel % 16] =
                    planes[channel * plane + pixel]
            }
        }
        return blocks
    }
}

struct LayerTests {
    @Test("Every layer matches PyTorch in every precision", arguments: [1, 2, 3])
    func matchesPyTorch(threads: Int) throws {
        let dump = try LayerDump()
        #expect(dump.count >= 20)
        #expect(try dump.failures(threads: threads) == [])
    }

    // One core type of BLAS a process: each instruction set gets one of its own.
    @Test("Every layer matches PyTorch with plain C and baseline BLAS")
    func scalarProcess() async {
        await #expect(processExitsWith: .success) {
            setenv("LUCIDA_ISA", "scalar", 1)
            let failures = try LayerDump().failures(threads: 2)
            try #require(failures == [])
            try #require(Backend.shared().instructionSet == .scalar)
        }
    }

    @Test("Every layer matches PyTorch with AVX2", .enabled(if: InstructionSet.avx2.isSupported))
    func avx2Process() async {
        await #expect(processExitsWith: .success) {
            setenv("LUCIDA_ISA", "avx2", 1)
            unsetenv("OPENBLAS_CORETYPE")
            let failures = try LayerDump().failures(threads: 2)
            try #require(failures == [])
            try #require(Backend.shared().blasCore == "Haswell")
        }
    }

    @Test(
        "Every layer matches PyTorch with AVX-512",
        .enabled(if: InstructionSet.avx512.isSupported))
    func avx512Process() async {
        await #expect(processExitsWith: .success) {
            setenv("LUCIDA_ISA", "avx512", 1)
            unsetenv("OPENBLAS_CORETYPE")
            let failures = try LayerDump().failures(threads: 2)
            try #require(failures == [])
            try #require(Backend.shared().blasCore == "SkylakeX")
        }
    }
}
