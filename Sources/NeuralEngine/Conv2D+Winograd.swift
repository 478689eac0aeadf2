// 3 × 3 convolutions by Winograd: one GEMM for each product of a tile, on a group of tiles.

internal import CBLAS
internal import CKernels

/// Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2015), equation 8. The
/// interpolation points are those of `ck_winograd`.
final class WinogradStep: TiledWork {
    private let convolution: Convolution
    private let size: WinogradSize
    private let transformInputKernel: WinogradSize.InputKernel
    private let transformOutputKernel: WinogradSize.OutputKernel
    private let usesBLAS: Bool
    private let matrix: UnsafePointer<ck_matrix_kernels>
    private let scratch: WinogradScratch
    // Bytes of the weights of one point.
    private let operandByteCount: Int
    // Integers: factors of the sums, points × outputs.
    private let factors: UnsafePointer<Float>?
    // Where a row of the left-hand operand has its runs of 16 channels: one after another.
    private let offsets: [Int32]

    init(
        name: String, _ convolution: Convolution, operand: WinogradOperand, usesBLAS: Bool,
        factors: UnsafePointer<Float>?, matrix: UnsafePointer<ck_matrix_kernels>,
        tilesPerPiece: Int, threads: Int
    ) {
        self.convolution = convolution
        size = operand.size
        guard let input = size.input(matrix), let output = size.output(matrix) else {
            preconditionFailure("a method is chosen among those that have kernels")
        }
        transformInputKernel = input
        transformOutputKernel = output
        self.usesBLAS = usesBLAS
        self.factors = factors
        self.matrix = matrix
        operandByteCount = operand.byteCount
        scratch = WinogradScratch(operand, tiles: tilesPerPiece)
        offsets = (0..<convolution.inputs / channelBlock).map { Int32($0 * channelBlock) }
        super.init(
            name: name, shape: convolution.target.shape, edge: size.edge,
            tilesPerPiece: tilesPerPiece, threads: threads)
        cost = StepCost(
            convolution, kernel: 3, stride: size.stride, over: convolution.target.shape,
            multipliedMACs: tileCount * size.points * convolution.inputs * convolution.outputs,
            weightBytes: operand.totalByteCount, operand: operand.precision, matrix: matrix)
        cost.scratchBytes = scratch.count * MemoryLayout<Float>.stride
        // Transformed input and products, each written once and read once.
        cost.scratchTraffic =
            2 * tileCount * size.points
            * (convolution.inputs * scratch.elementByteCount
                + convolution.outputs * MemoryLayout<Float>.stride)
        let name = size == .stride2 ? "F(4,3)/2" : "F(\(size.edge),3)"
        cost.algorithm = name + (usesBLAS ? " BLAS" : "")
    }

    override func perform(piece: Int, worker: Int) {
        let memory = convolution.scratch + worker * convolution.scratchStride
        transformInput(piece, memory)
        multiply(count(of: piece), memory)
        transformOutput(piece, worker, memory)
    }

    private func transformInput(_ piece: Int, _ memory: UnsafeMutablePointer<Float>) {
        let source = convolution.source
        let target = UnsafeMutableRawPointer(memory)
        let rowFactors = memory + scratch.rowFactors
        forEachRun(of: piece) { run in
            transformInputKernel(
                source.pixel(block: 0, y: size.stride * run.y - 1, x: size.stride * run.x - 1),
                source.shape.rowStride, source.shape.blockStride, source.shape.blocks, run.count,
                target + run.done * convolution.inputs * scratch.elementByteCount,
                scratch.inputStride, convolution.inputs, rowFactors + run.done * channelBlock,
                memory + scratch.staging)
        }
    }

    private func multiply(_ count: Int, _ memory: UnsafeMutablePointer<Float>) {
        let inputs = convolution.inputs
        let outputs = convolution.outputs
        let weights = UnsafeRawPointer(convolution.weights)
        let products = memory + scratch.products
        for point in 0..<size.points {
            let operand = weights + size.operand(of: point) * operandByteCount
            let sums = products + point * scratch.outputStride
            if usesBLAS {
                lucida_sgemm(
                    outputs, count, inputs, operand.assumingMemoryBound(to: Float.self), outputs,
                    memory + point * scratch.inputStride, inputs, 0, sums, outputs)
            } else {
                let following =
                    point + 1 < size.points
                    ? weights + size.operand(of: point + 1) * operandByteCount : nil
                let rows =
                    UnsafeRawPointer(memory)
                    + point * scratch.inputStride * scratch.elementByteCount
                matrix.pointee.multiply(
                    rows, inputs, offsets, offsets.count, operand, outputs / channelBlock, count,
                    sums, outputs, following)
            }
        }
    }

    private func transformOutput(_ piece: Int, _ worker: Int, _ memory: UnsafeMutablePointer<Float>)
    {
        let target = convolution.target
        let outputs = convolution.outputs
        let products = memory + scratch.products
        let rowFactors = memory + scratch.rowFactors
        forEachResult(of: piece, worker: worker, in: target) { run, to in
            for block in 0..<target.shape.blocks {
                transformOutputKernel(
                    products + run.done * outputs + block * channelBlock, scratch.outputStride,
                    outputs, min(edge, target.shape.height - run.y),
                    min(edge * run.count, target.shape.width - run.x),
                    to.base + block * to.blockStride, to.rowStride,
                    convolution.bias + block * channelBlock,
                    convolution.residual?.pixel(block: block, y: run.y, x: run.x),
                    convolution.activation, rowFactors + run.done * channelBlock,
                    factors.map { $0 + block * channelBlock }, outputs)
            }
        }
    }
}

/// The memory in which a worker computes a group of tiles, in floats: transformed input, products,
/// and for integers the factors of the input's rows and room to find them.
struct WinogradScratch {
    let elementByteCount: Int
    /// Elements from one point of the transformed input to the next.
    let inputStride: Int
    /// Sums from one point of the products to the next.
    let outputStride: Int
    let products: Int
    let rowFactors: Int
    let staging: Int
    let count: Int

    init(_ operand: WinogradOperand, tiles: Int) {
        elementByteCount = operand.precision.byteCount
        // 64 bytes apart from a power of two, or all points would fall into the same cache set.
        inputStride = tiles * operand.inputs + 64 / elementByteCount
        outputStride = tiles * operand.outputs + channelBlock
        let points = operand.size.points
        products = roundUp(points * inputStride * elementByteCount / 4, to: channelBlock)
        rowFactors = products + points * outputStride
        let isInteger = operand.precision.isInteger
        staging = rowFactors + (isInteger ? tiles * channelBlock : 0)
        count = staging + (isInteger ? points * operand.inputs : 0)
    }
}
