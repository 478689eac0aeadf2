// 3 × 3 convolutions of stride 1 by Winograd F(m × m, 3 × 3): (m + 2)² GEMMs on a group of tiles.

internal import CBLAS
internal import CKernels

/// Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2015), equation 8. The
/// interpolation points are those of `ck_winograd`.
final class WinogradStep: TiledWork {
    private let convolution: Convolution
    private let size: WinogradSize
    private let usesBLAS: Bool
    private let matrix: UnsafePointer<ck_matrix_kernels>
    // Where a row of the left-hand operand has its runs of 16 channels: one after another.
    private let offsets: [Int32]

    init(
        name: String, _ convolution: Convolution, size: WinogradSize, usesBLAS: Bool,
        tilesPerPiece: Int
    ) {
        self.convolution = convolution
        self.size = size
        self.usesBLAS = usesBLAS
        matrix = convolution.matrix
        offsets = (0..<convolution.inputs / channelBlock).map { Int32($0 * channelBlock) }
        super.init(
            name: name, shape: convolution.target.shape, edge: size.edge,
            tilesPerPiece: tilesPerPiece)
    }

    override func perform(piece: Int, worker: Int) {
        let inputStride = Self.pointStride(tilesPerPiece, convolution.inputs)
        let outputStride = Self.pointStride(tilesPerPiece, convolution.outputs)
        let transformed = convolution.scratch + worker * convolution.scratchStride
        let products = transformed + size.points * inputStride
        transformInput(piece, to: transformed, stride: inputStride)
        multiply(
            count(of: piece), transformed, inputStride, to: products, stride: outputStride)
        transformOutput(piece, from: products, stride: outputStride)
    }

    /// 16 floats apart from a power of two, or all points would fall into the same cache set.
    private static func pointStride(_ tiles: Int, _ channels: Int) -> Int {
        tiles * channels + channelBlock
    }

    private func transformInput(
        _ piece: Int, to target: UnsafeMutablePointer<Float>, stride: Int
    ) {
        let source = convolution.source
        forEachRun(of: piece) { run in
            for block in 0..<source.shape.blocks {
                size.input(
                    matrix, source.pixel(block: block, y: run.y - 1, x: run.x - 1),
                    source.shape.rowStride, run.count,
                    target + run.done * convolution.inputs + block * channelBlock, stride,
                    convolution.inputs)
            }
        }
    }

    private func multiply(
        _ count: Int, _ transformed: UnsafeMutablePointer<Float>, _ inputStride: Int,
        to products: UnsafeMutablePointer<Float>, stride outputStride: Int
    ) {
        let inputs = convolution.inputs
        let outputs = convolution.outputs
        for point in 0..<size.points {
            let weights = convolution.weights + point * inputs * outputs
            if usesBLAS {
                lucida_sgemm(
                    outputs, count, inputs, weights, outputs, transformed + point * inputStride,
                    inputs, 0, products + point * outputStride, outputs)
            } else {
                matrix.pointee.multiply(
                    transformed + point * inputStride, inputs, offsets, offsets.count, weights,
                    outputs / channelBlock, count, products + point * outputStride, outputs,
                    point + 1 < size.points ? weights + inputs * outputs : nil)
            }
        }
    }

    private func transformOutput(
        _ piece: Int, from source: UnsafeMutablePointer<Float>, stride: Int
    ) {
        let target = convolution.target
        forEachRun(of: piece) { run in
            for block in 0..<target.shape.blocks {
                size.output(
                    matrix,
                    source + run.done * convolution.outputs + block * channelBlock, stride,
                    convolution.outputs, min(edge, target.shape.height - run.y),
                    min(edge * run.count, target.shape.width - run.x),
                    target.pixel(block: block, y: run.y, x: run.x), target.shape.rowStride,
                    convolution.bias + block * channelBlock,
                    convolution.residual?.pixel(block: block, y: run.y, x: run.x),
                    convolution.activation)
            }
        }
    }

    static func packedCount(_ size: WinogradSize, inputs: Int, outputs: Int) -> Int {
        size.points * inputs * outputs
    }

    static func scratchCount(
        _ size: WinogradSize, tiles: Int, inputs: Int, outputs: Int
    ) -> Int {
        size.points * (pointStride(tiles, inputs) + pointStride(tiles, outputs))
    }

    /// G g Gᵀ of every window: one GEMM operand a point, in panels of 16 outputs for our own
    /// kernel, inputs × outputs for BLAS.
    static func pack(
        _ weights: ConvolutionWeights, size: WinogradSize, usesBLAS: Bool, inputs: Int,
        outputs: Int, to target: UnsafeMutablePointer<Float>
    ) {
        var transformed = [Double](repeating: 0, count: size.points)
        for output in 0..<weights.outputs {
            let (panel, lane) = output.quotientAndRemainder(dividingBy: channelBlock)
            for input in 0..<weights.inputs {
                size.transform(weights.window(output: output, input: input), to: &transformed)
                let index =
                    usesBLAS
                    ? input * outputs + output : (panel * inputs + input) * channelBlock + lane
                for point in 0..<size.points {
                    target[point * inputs * outputs + index] = Float(transformed[point])
                }
            }
        }
    }
}

/// How large the tiles of a result are.
enum WinogradSize: Int, Sendable, CaseIterable {
    /// F(2 × 2, 3 × 3).
    case f2 = 2
    /// F(4 × 4, 3 × 3).
    case f4 = 4
    /// F(6 × 6, 3 × 3).
    case f6 = 6

    /// Pixels of a tile's side.
    var edge: Int { rawValue }
    /// Products of a tile, channel by channel.
    var points: Int { (rawValue + 2) * (rawValue + 2) }

    /// Input transform of a run of tiles; `ck_matrix_kernels` says what the arguments mean.
    @inline(__always)
    func input(
        _ matrix: UnsafePointer<ck_matrix_kernels>, _ source: UnsafePointer<Float>,
        _ rowStride: Int, _ tiles: Int, _ target: UnsafeMutablePointer<Float>,
        _ pointStride: Int, _ tileStride: Int
    ) {
        let kernels = matrix.pointee.winograd_input
        let kernel = self == .f2 ? kernels.0 : self == .f4 ? kernels.1 : kernels.2
        kernel?(source, rowStride, tiles, target, pointStride, tileStride, nil, 0)
    }

    /// Output transform of a run of tiles.
    @inline(__always)
    func output(
        _ matrix: UnsafePointer<ck_matrix_kernels>, _ source: UnsafePointer<Float>,
        _ pointStride: Int, _ tileStride: Int, _ rows: Int, _ columns: Int,
        _ target: UnsafeMutablePointer<Float>, _ rowStride: Int, _ bias: UnsafePointer<Float>,
        _ residual: UnsafePointer<Float>?, _ activation: ck_activation
    ) {
        let kernels = matrix.pointee.winograd_output
        let kernel = self == .f2 ? kernels.0 : self == .f4 ? kernels.1 : kernels.2
        kernel?(
            source, pointStride, tileStride, rows, columns, target, rowStride, bias, residual,
            activation, nil, 0)
    }

    private var finitePoints: [Double] {
        let half = 0.5.squareRoot()
        let root = 2.0.squareRoot()
        return switch self {
        case .f2: [0, 1, -1]
        case .f4: [0, half, -half, root, -root]
        case .f6: [0, 0.5, -0.5, 1, -1, 2, -2]
        }
    }

    /// Rows of G: (1, p, p²) / Π (p − other points), and (0, 0, 1) for ∞.
    private var matrix: [(Double, Double, Double)] {
        let points = finitePoints
        return points.map { p in
            let product = points.filter { $0 != p }.reduce(1) { $0 * (p - $1) }
            return (1 / product, p / product, p * p / product)
        } + [(0, 0, 1)]
    }

    private static let matrices = allCases.map(\.matrix)

    /// G g Gᵀ: 9 numbers to `points`.
    func transform(_ g: ArraySlice<Float>, to result: inout [Double]) {
        let rows = Self.matrices[rawValue / 2 - 1]
        let start = g.startIndex
        for (y, a) in rows.enumerated() {
            func column(_ x: Int) -> Double {
                a.0 * Double(g[start + x]) + a.1 * Double(g[start + 3 + x])
                    + a.2 * Double(g[start + 6 + x])
            }
            let (left, middle, right) = (column(0), column(1), column(2))
            for (x, b) in rows.enumerated() {
                result[y * rows.count + x] = b.0 * left + b.1 * middle + b.2 * right
            }
        }
    }
}
