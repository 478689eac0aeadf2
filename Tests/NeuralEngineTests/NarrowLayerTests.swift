// Convolutions in bfloat16, int16 and int8 as a network runs them: any size, any number of channels, and
// input that is not finite.

import Testing

@testable import NeuralEngine

struct NarrowLayerTests {
    private static let narrow: [Precision] = [.int16, .bf16, .int8]

    /// Channels in and out, rows, columns, stride.
    struct Geometry: CustomTestStringConvertible {
        let inputs: Int
        let outputs: Int
        let height: Int
        let width: Int
        let stride: Int

        var testDescription: String { "\(inputs) to \(outputs), \(width)×\(height) / \(stride)" }
    }

    /// Smaller than a tile, one pixel more and less than tiles, one channel, and channels that fill no
    /// block.
    private static let geometries = [1, 2].flatMap { stride in
        [
            Geometry(inputs: 1, outputs: 1, height: 1, width: 1, stride: stride),
            Geometry(inputs: 5, outputs: 3, height: 2, width: 3, stride: stride),
            Geometry(inputs: 17, outputs: 40, height: 5, width: 9, stride: stride),
            Geometry(inputs: 48, outputs: 64, height: 13, width: 22, stride: stride),
            Geometry(inputs: 96, outputs: 33, height: 8, width: 31, stride: stride),
        ]
    }

    private func run(
        _ g: Geometry, _ precisions: Set<Precision>, _ input: [Float], adds: Bool = true
    ) throws -> (output: [Float], precision: Precision) {
        var noise = Noise(seed: UInt64(g.inputs * 100 + g.outputs))
        let builder = PlanBuilder(
            backend: try Backend.shared(), pool: try WorkerPool(threads: 2),
            precisions: precisions)
        let x = builder.input(TensorShape(channels: g.inputs, height: g.height, width: g.width))
        let rows = (g.height - 1) / g.stride + 1
        let columns = (g.width - 1) / g.stride + 1
        let residual = builder.input(
            TensorShape(channels: g.outputs, height: rows, width: columns))
        let y = try builder.convolution(
            "layer", x,
            ConvolutionWeights(
                outputs: g.outputs, inputs: g.inputs, kernel: 3,
                values: noise.floats(9 * g.inputs * g.outputs), bias: noise.floats(g.outputs)),
            stride: g.stride, activation: .relu, adding: adds ? residual : nil)
        let plan = try builder.build(outputs: [y])
        input.withUnsafeBufferPointer { plan.view(of: x).load(planar: $0) }
        noise.floats(g.outputs * rows * columns).withUnsafeBufferPointer {
            plan.view(of: residual).load(planar: $0)
        }
        plan.run()
        let precision = try #require(plan.precisions.first)
        let cost = try #require(plan.steps.first).cost
        #expect(cost.operand == precision)
        #expect(cost.weightBytes % precision.byteCount == 0)
        return (plan.view(of: y).planar(), precision)
    }

    private func input(_ g: Geometry) -> [Float] {
        var noise = Noise(seed: 77)
        return noise.floats(g.inputs * g.height * g.width)
    }

    @Test("Every size is as near f32 as the precision allows", arguments: narrow, geometries)
    private func sizes(precision: Precision, g: Geometry) throws {
        let input = input(g)
        let exact = try run(g, [], input)
        let rounded = try run(g, [precision], input)
        #expect(exact.precision == .f32)
        #expect(rounded.precision == precision)
        #expect(rounded.output.count == exact.output.count)
        let error = zip(rounded.output, exact.output).reduce(Float(0)) {
            let difference = $1.0 - $1.1
            return $0 + difference * difference
        }
        let energy = exact.output.reduce(Float(0)) { $0 + $1 * $1 }
        let tolerance: Float = precision == .int16 ? 1e-3 : precision == .bf16 ? 1.5e-2 : 6e-2
        #expect(error.isFinite && error.squareRoot() <= tolerance * energy.squareRoot())
        // Were it f32 after all, nothing would differ this much.
        if g.inputs > 1 { #expect(error.squareRoot() > 1e-6 * energy.squareRoot()) }
    }

    @Test("NaN and infinity anywhere in the input are seen in the result", arguments: narrow)
    func notFinite(precision: Precision) throws {
        for g in Self.geometries where g.inputs > 1 {
            for bad in [Float.nan, -.nan, .infinity, -.infinity] {
                // Every phase of stride 2, corners, and lanes at both ends.
                for place in [0, 1, g.width, g.width + 1, g.inputs * g.height * g.width - 1] {
                    var input = input(g)
                    guard place < input.count else { continue }
                    input[place] = bad
                    let found = try run(g, [precision], input, adds: false).output
                    let exact = try run(g, [], input, adds: false).output
                    // An infinity that only negative weights meet is 0 after the activation.
                    if exact.contains(where: { !$0.isFinite }) {
                        #expect(
                            found.contains { !$0.isFinite }, "\(bad) at \(place) of \(input.count)")
                    }
                    if bad.isNaN { #expect(exact.contains { $0.isNaN }) }
                }
            }
        }
    }

    @Test("The largest finite input stays finite or becomes visibly infinite", arguments: narrow)
    func huge(precision: Precision) throws {
        let g = Geometry(inputs: 17, outputs: 40, height: 5, width: 9, stride: 1)
        for scale: Float in [1e-38, 1e-30, 1e30, 1e35] {
            let input = input(g).map { $0 * scale }
            let exact = try run(g, [], input, adds: false).output
            let found = try run(g, [precision], input, adds: false).output
            let largest = exact.reduce(Float(0)) { max($0, abs($1)) }
            for (a, b) in zip(found, exact) where b.isFinite {
                #expect(abs(a - b) <= 0.05 * largest)
            }
        }
    }

    @Test("Without f32 among them, precisions are forced; an empty set is f32")
    func choice() throws {
        let g = Geometry(inputs: 16, outputs: 16, height: 9, width: 9, stride: 1)
        let input = input(g)
        #expect(try run(g, [.int8, .f32, .bf16], input).precision == .int8)
        #expect(try run(g, [.int16, .bf16], input).precision == .bf16)
        #expect(try run(g, [.f32], input).precision == .f32)
        #expect(try run(g, [], input).precision == .f32)
    }
}
