// Strided and 1 × 1 convolutions: windows are copied side by side (im2col) and multiplied.

internal import CBLAS
internal import CKernels

/// One GEMM a piece: (pixels × taps · inputs) · (taps · inputs × outputs).
final class Im2colStep: ParallelWork {
    private let convolution: Convolution
    private let kernel: Int
    private let stride: Int
    private let pixelsPerPiece: Int

    init(
        name: String, _ convolution: Convolution, kernel: Int, stride: Int, pixelsPerPiece: Int
    ) {
        self.convolution = convolution
        self.kernel = kernel
        self.stride = stride
        self.pixelsPerPiece = pixelsPerPiece
        let pixels = convolution.target.shape.height * convolution.target.shape.width
        super.init(name: name, pieces: (pixels + pixelsPerPiece - 1) / pixelsPerPiece)
    }

    override func perform(piece: Int, worker: Int) {
        let shape = convolution.target.shape
        let first = piece * pixelsPerPiece
        let count = min(pixelsPerPiece, shape.height * shape.width - first)
        let depth = kernel * kernel * convolution.inputs
        let windows = convolution.scratch + worker * convolution.scratchStride
        let products = windows + pixelsPerPiece * depth

        gather(first, count, to: windows, depth: depth)
        lucida_sgemm(
            convolution.outputs, count, depth, convolution.weights, convolution.outputs, windows,
            depth, 0, products, convolution.outputs)
        scatter(first, count, from: products)
    }

    private func gather(
        _ first: Int, _ count: Int, to target: UnsafeMutablePointer<Float>, depth: Int
    ) {
        let source = convolution.source
        let columns = convolution.target.shape.width
        let padding = kernel / 2
        var done = 0
        while done < count {
            let (y, x) = (first + done).quotientAndRemainder(dividingBy: columns)
            let run = min(columns - x, count - done)
            for block in 0..<source.shape.blocks {
                convolution.kernels.pointee.gather(
                    source.pixel(block: block, y: stride * y - padding, x: stride * x - padding),
                    source.shape.rowStride, stride * channelBlock, kernel, run,
                    target + done * depth + block * channelBlock, depth, convolution.inputs)
            }
            done += run
        }
    }

    private func scatter(_ first: Int, _ count: Int, from source: UnsafeMutablePointer<Float>) {
        let target = convolution.target
        var done = 0
        while done < count {
            let (y, x) = (first + done).quotientAndRemainder(dividingBy: target.shape.width)
            let run = min(target.shape.width - x, count - done)
            for block in 0..<target.shape.blocks {
                convolution.kernels.pointee.scatter(
                    source + done * convolution.outputs + block * channelBlock,
                    convolution.outputs, run, target.pixel(block: block, y: y, x: x),
                    convolution.bias + block * channelBlock,
                    convolution.residual?.pixel(block: block, y: y, x: x), convolution.activation)
            }
            done += run
        }
    }

    /// Weights as one GEMM operand: (tap, input) × output.
    static func pack(
        _ weights: ConvolutionWeights, inputs: Int, outputs: Int,
        to target: UnsafeMutablePointer<Float>
    ) {
        for output in 0..<weights.outputs {
            for input in 0..<weights.inputs {
                let window = weights.window(output: output, input: input)
                for (tap, value) in window.enumerated() {
                    target[(tap * inputs + input) * outputs + output] = value
                }
            }
        }
    }
}

extension PlanBuilder {
    /// Largest M · N · K of one call. The AVX-512 family of OpenBLAS has a path for small matrices
    /// that packs nothing and ends at 10⁶; the others always pack, which larger calls repay.
    var gemmLimit: Int { backend.instructionSet == .avx512 ? 990_000 : 4_000_000 }

    func appendIm2col(
        _ name: String, _ x: Tensor, _ y: Tensor, _ weights: ConvolutionWeights, _ stride: Int,
        _ activation: Activation, _ adding: Tensor?
    ) -> Tensor {
        let inputs = x.shape.paddedChannels
        let outputs = y.shape.paddedChannels
        let depth = weights.kernel * weights.kernel * inputs
        let pixelsPerPiece = pieceSize(
            y.shape.height * y.shape.width, limit: max(1, min(256, gemmLimit / (depth * outputs))),
            threads: threads)
        let packedCount = depth * outputs
        return append(
            Node(
                inputs: [x] + (adding.map { [$0] } ?? []), output: y,
                weightCount: packedCount + outputs,
                scratchCount: pixelsPerPiece * (depth + outputs)
            ) { resources in
                let convolution = Convolution(
                    resources, from: x, to: y, adding: adding, weights, packedCount: packedCount,
                    activation: activation)
                Im2colStep.pack(
                    weights, inputs: inputs, outputs: outputs, to: convolution.weights)
                return Im2colStep(
                    name: name, convolution, kernel: weights.kernel, stride: stride,
                    pixelsPerPiece: pixelsPerPiece)
            })
    }
}
