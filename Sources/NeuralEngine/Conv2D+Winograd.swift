// 3 × 3 convolutions by Winograd: one GEMM for each product of a tile, on a group of tiles.

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
        let packed = Self.packedCount(
            size, inputs: convolution.inputs, outputs: convolution.outputs)
        cost = StepCost(
            convolution, kernel: 3, over: convolution.target.shape,
            multipliedMACs: tileCount * size.points * convolution.inputs * convolution.outputs,
            weightBytes: packed * MemoryLayout<Float>.stride)
        let name = size == .stride2 ? "F(4,3)/2" : "F(\(size.edge),3)"
        cost.algorithm = name + (usesBLAS ? " BLAS" : "")
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
                    matrix,
                    source.pixel(
                        block: block, y: size.stride * run.y - 1, x: size.stride * run.x - 1),
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
            let weights = convolution.weights + size.operand(of: point) * inputs * outputs
            if usesBLAS {
                lucida_sgemm(
                    outputs, count, inputs, weights, outputs, transformed + point * inputStride,
                    inputs, 0, products + point * outputStride, outputs)
            } else {
                let following =
                    point + 1 < size.points
                    ? convolution.weights + size.operand(of: point + 1) * inputs * outputs : nil
                matrix.pointee.multiply(
                    transformed + point * inputStride, inputs, offsets, offsets.count, weights,
                    outputs / channelBlock, count, products + point * outputStride, outputs,
                    following)
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
        size.operands * inputs * outputs
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
        var transformed = [Double](repeating: 0, count: size.operands)
        for output in 0..<weights.outputs {
            let (panel, lane) = output.quotientAndRemainder(dividingBy: channelBlock)
            for input in 0..<weights.inputs {
                size.transform(weights.window(output: output, input: input), to: &transformed)
                let index =
                    usesBLAS
                    ? input * outputs + output : (panel * inputs + input) * channelBlock + lane
                for operand in 0..<size.operands {
                    target[operand * inputs * outputs + index] = Float(transformed[operand])
                }
            }
        }
    }
}
