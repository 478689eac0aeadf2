// Strided and 1 × 1 convolutions: one GEMM whose left-hand operand is read where it lies.

internal import CKernels

/// Rows of a GEMM are output pixels side by side; the kernel finds the 16-channel runs of their
/// windows in the source by offsets, so nothing is copied first (no im2col).
final class DirectStep: TiledWork {
    private let convolution: Convolution
    private let stride: Int
    private let padding: Int
    private let isUpsampled: Bool
    // Tap by tap, block by block: floats from the window's first pixel.
    private let offsets: [Int32]

    /// Tiles are 4 × 4 pixels, as those of most other layers.
    static let tileEdge = 4

    init(
        name: String, _ convolution: Convolution, kernel: Int, stride: Int, isUpsampled: Bool,
        tilesPerPiece: Int, threads: Int
    ) {
        self.convolution = convolution
        self.stride = stride
        self.isUpsampled = isUpsampled
        padding = kernel / 2
        let source = convolution.source.shape
        offsets = (0..<kernel * kernel).flatMap { tap in
            (0..<source.blocks).map { block in
                Int32(
                    block * source.blockStride + tap / kernel * source.rowStride
                        + tap % kernel * channelBlock)
            }
        }
        // The tiles of the product: before it is upsampled.
        var shape = convolution.target.shape
        if isUpsampled { shape = source }
        super.init(
            name: name, shape: shape, edge: Self.tileEdge, tilesPerPiece: tilesPerPiece,
            threads: threads)
        let packed = offsets.count * channelBlock * convolution.outputs
        cost = StepCost(
            convolution, kernel: kernel, stride: stride, over: shape,
            multipliedMACs: packed * shape.height * shape.width,
            weightBytes: packed * MemoryLayout<Float>.stride, matrix: convolution.matrix)
        // One row of a tile at a time.
        cost.scratchBytes =
            Self.tileEdge * tilesPerPiece * convolution.outputs * MemoryLayout<Float>.stride
        cost.scratchTraffic =
            2 * shape.height * shape.width * convolution.outputs * MemoryLayout<Float>.stride
        cost.algorithm = "direct"
    }

    override func perform(piece: Int, worker: Int) {
        let products = convolution.scratch + worker * convolution.scratchStride
        let height = isUpsampled ? convolution.source.shape.height : convolution.target.shape.height
        let width = isUpsampled ? convolution.source.shape.width : convolution.target.shape.width
        forEachResult(
            of: piece, worker: worker, in: convolution.target, isUpsampled: isUpsampled
        ) { run, to in
            let count = min(edge * run.count, width - run.x)
            for y in run.y..<min(run.y + edge, height) {
                multiply(y: y, x: run.x, count: count, to: products)
                if isUpsampled {
                    spread(products, y: y, x: run.x, count: count, to: to, row: 2 * (y - run.y))
                } else {
                    scatter(products, y: y, x: run.x, count: count, to: to, row: y - run.y)
                }
            }
        }
    }

    private func multiply(y: Int, x: Int, count: Int, to products: UnsafeMutablePointer<Float>) {
        let source = convolution.source.pixel(
            block: 0, y: stride * y - padding, x: stride * x - padding)
        convolution.matrix.pointee.multiply(
            source, stride * channelBlock, offsets, offsets.count, convolution.weights,
            convolution.outputs / channelBlock, count, products, convolution.outputs, nil)
    }

    private func scatter(
        _ products: UnsafePointer<Float>, y: Int, x: Int, count: Int, to: TileDestination, row: Int
    ) {
        for block in 0..<convolution.target.shape.blocks {
            convolution.kernels.pointee.scatter(
                products + block * channelBlock, convolution.outputs, count,
                to.base + block * to.blockStride + row * to.rowStride,
                convolution.bias + block * channelBlock,
                convolution.residual?.pixel(block: block, y: y, x: x), convolution.activation)
        }
    }

    private func spread(
        _ products: UnsafePointer<Float>, y: Int, x: Int, count: Int, to: TileDestination, row: Int
    ) {
        for block in 0..<convolution.target.shape.blocks {
            convolution.kernels.pointee.scatter_2x2(
                products + block * channelBlock, convolution.outputs, count,
                to.base + block * to.blockStride + row * to.rowStride, to.rowStride,
                convolution.bias + block * channelBlock,
                convolution.residual?.pixel(block: block, y: 2 * y, x: 2 * x),
                convolution.activation)
        }
    }

    static func scratchCount(tiles: Int, outputs: Int) -> Int { tileEdge * tiles * outputs }

    /// Weights as one GEMM operand, (tap, input) × output, in panels of 16 outputs.
    static func pack(
        _ weights: ConvolutionWeights, inputs: Int, to target: UnsafeMutablePointer<Float>
    ) {
        let taps = weights.kernel * weights.kernel
        for output in 0..<weights.outputs {
            let (panel, lane) = output.quotientAndRemainder(dividingBy: channelBlock)
            weights.withFilters(of: output) { filters in
                for input in 0..<weights.inputs {
                    for tap in 0..<taps {
                        let row = panel * taps * inputs + tap * inputs + input
                        target[row * channelBlock + lane] = filters[input * taps + tap]
                    }
                }
            }
        }
    }
}
