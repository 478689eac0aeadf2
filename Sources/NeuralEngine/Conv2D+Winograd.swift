// 3 × 3 convolutions of stride 1 by Winograd F(4 × 4, 3 × 3): 36 small GEMMs on a block of tiles.

internal import CBLAS
internal import CKernels

/// Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2015), equation 8, with
/// the interpolation points 0, ±√½, ±√2, ∞.
final class WinogradStep: ParallelWork {
    private let convolution: Convolution
    private let tilesPerPiece: Int

    init(name: String, _ convolution: Convolution, tilesPerPiece: Int) {
        self.convolution = convolution
        self.tilesPerPiece = tilesPerPiece
        let tiles = convolution.target.shape.tiles
        super.init(name: name, pieces: (tiles + tilesPerPiece - 1) / tilesPerPiece)
    }

    override func perform(piece: Int, worker: Int) {
        let first = piece * tilesPerPiece
        let count = min(tilesPerPiece, convolution.target.shape.tiles - first)
        let inputs = convolution.inputs
        let outputs = convolution.outputs
        // 16 floats apart from a power of two, or all 36 points would fall into the same cache set.
        let inputStride = tilesPerPiece * inputs + channelBlock
        let outputStride = tilesPerPiece * outputs + channelBlock
        let transformed = convolution.scratch + worker * convolution.scratchStride
        let products = transformed + Self.points * inputStride

        transformInput(first, count, to: transformed, stride: inputStride)
        for point in 0..<Self.points {
            lucida_sgemm(
                outputs, count, inputs, convolution.weights + point * inputs * outputs, outputs,
                transformed + point * inputStride, inputs, 0, products + point * outputStride,
                outputs)
        }
        transformOutput(first, count, from: products, stride: outputStride)
    }

    private func transformInput(
        _ first: Int, _ count: Int, to target: UnsafeMutablePointer<Float>, stride: Int
    ) {
        let source = convolution.source
        let columns = source.shape.tileColumns
        var done = 0
        while done < count {
            let (row, column) = (first + done).quotientAndRemainder(dividingBy: columns)
            let run = min(columns - column, count - done)
            for block in 0..<source.shape.blocks {
                convolution.kernels.pointee.winograd_input(
                    source.pixel(block: block, y: 4 * row - 1, x: 4 * column - 1),
                    source.shape.rowStride, run,
                    target + done * convolution.inputs + block * channelBlock, stride,
                    convolution.inputs)
            }
            done += run
        }
    }

    private func transformOutput(
        _ first: Int, _ count: Int, from source: UnsafeMutablePointer<Float>, stride: Int
    ) {
        let target = convolution.target
        let columns = target.shape.tileColumns
        var done = 0
        while done < count {
            let (row, column) = (first + done).quotientAndRemainder(dividingBy: columns)
            let run = min(columns - column, count - done)
            let y = 4 * row
            let x = 4 * column
            for block in 0..<target.shape.blocks {
                convolution.kernels.pointee.winograd_output(
                    source + done * convolution.outputs + block * channelBlock, stride,
                    convolution.outputs, min(4, target.shape.height - y),
                    min(4 * run, target.shape.width - x), target.pixel(block: block, y: y, x: x),
                    target.shape.rowStride, convolution.bias + block * channelBlock,
                    convolution.residual?.pixel(block: block, y: y, x: x), convolution.activation)
            }
            done += run
        }
    }

    static let points = Int(CK_WINOGRAD_POINTS)

    /// G g Gᵀ of every window, in blocks of one GEMM operand a point: inputs × outputs.
    static func pack(
        _ weights: ConvolutionWeights, inputs: Int, outputs: Int,
        to target: UnsafeMutablePointer<Float>
    ) {
        for output in 0..<weights.outputs {
            for input in 0..<weights.inputs {
                let window = weights.window(output: output, input: input)
                let transformed = transform(window.map(Double.init))
                for point in 0..<points {
                    target[(point * inputs + input) * outputs + output] =
                        Float(transformed[point])
                }
            }
        }
    }

    // Row of G for the point p: (1, p, p²) / Π (p − other points).
    private static let matrix: [[Double]] = {
        let a = 0.5.squareRoot()
        let b = 2.0.squareRoot()
        return [
            [1, 0, 0],
            [-1 / 1.5, -a / 1.5, -0.5 / 1.5],
            [-1 / 1.5, a / 1.5, -0.5 / 1.5],
            [1.0 / 6, b / 6, 2.0 / 6],
            [1.0 / 6, -b / 6, 2.0 / 6],
            [0, 0, 1],
        ]
    }()

    /// G g Gᵀ, 36 numbers; `window` has 9.
    private static func transform(_ window: [Double]) -> [Double] {
        let half = matrix.map { g in
            (0..<3).map { x in g[0] * window[x] + g[1] * window[3 + x] + g[2] * window[6 + x] }
        }
        return half.flatMap { row in
            matrix.map { g in g[0] * row[0] + g[1] * row[1] + g[2] * row[2] }
        }
    }
}

extension PlanBuilder {
    func appendWinograd(
        _ name: String, _ x: Tensor, _ y: Tensor, _ weights: ConvolutionWeights,
        _ activation: Activation, _ adding: Tensor?
    ) -> Tensor {
        let inputs = x.shape.paddedChannels
        let outputs = y.shape.paddedChannels
        let limit = winogradTileLimit(inputs: inputs, outputs: outputs)
        let tilesPerPiece = pieceSize(y.shape.tiles, limit: limit, threads: threads)
        let packedCount = WinogradStep.points * inputs * outputs
        let scratchCount =
            WinogradStep.points * (tilesPerPiece * (inputs + outputs) + 2 * channelBlock)
        return append(
            Node(
                inputs: [x] + (adding.map { [$0] } ?? []), output: y,
                weightCount: packedCount + outputs, scratchCount: scratchCount
            ) { resources in
                let convolution = Convolution(
                    resources, from: x, to: y, adding: adding, weights, packedCount: packedCount,
                    activation: activation)
                WinogradStep.pack(
                    weights, inputs: inputs, outputs: outputs, to: convolution.weights)
                return WinogradStep(name: name, convolution, tilesPerPiece: tilesPerPiece)
            })
    }

    /// Tiles of a piece: both transformed operands stay near the second-level cache.
    private func winogradTileLimit(inputs: Int, outputs: Int) -> Int {
        let cacheBytes = 1 << 20
        let perTile = WinogradStep.points * (inputs + outputs) * MemoryLayout<Float>.stride
        return max(1, min(cacheBytes / perTile, gemmLimit / (inputs * outputs)))
    }
}
