// The ends of a pixel-space network: RGB24 frame to blocks, residual to RGB24 frame.

internal import CKernels
internal import Synchronization

/// Sizes on the way of a frame through a network.
public struct FrameGeometry: Sendable, Equatable {
    /// Pixels in a row of the frame.
    public let frameWidth: Int
    /// Rows of the frame.
    public let frameHeight: Int
    /// Pixels in a row as the network sees it, before padding.
    public let modelWidth: Int
    /// Rows as the network sees them, before padding.
    public let modelHeight: Int
    /// Model size rounded up to what the network can divide.
    public let paddedWidth: Int
    /// Model size rounded up to what the network can divide.
    public let paddedHeight: Int

    /// Sizes from 1 to 16384 pixels.
    ///
    /// - Parameter multiple: of which the padded size is; itself a multiple of 4.
    public init(
        frameWidth: Int, frameHeight: Int, modelWidth: Int, modelHeight: Int, multiple: Int
    ) throws(EngineError) {
        for (name, value) in [
            ("frame width", frameWidth), ("frame height", frameHeight),
            ("model width", modelWidth), ("model height", modelHeight),
        ] where !(1...16384).contains(value) {
            throw .invalid("a \(name) of \(value) pixels: 1 to 16384 are possible")
        }
        guard multiple > 0 && multiple % 4 == 0 && multiple <= 1024 else {
            throw .invalid("a size multiple of \(multiple): multiples of 4 are possible")
        }
        self.frameWidth = frameWidth
        self.frameHeight = frameHeight
        self.modelWidth = modelWidth
        self.modelHeight = modelHeight
        paddedWidth = roundUp(modelWidth, to: multiple)
        paddedHeight = roundUp(modelHeight, to: multiple)
    }

    /// Whether frame and model have the same size.
    public var isSameSize: Bool { frameWidth == modelWidth && frameHeight == modelHeight }

    /// A picture as the network takes and gives it: 48 channels at a quarter of the padded size.
    public var blocks: TensorShape { blocks(channels: 48) }

    /// The same with another number of channels.
    public func blocks(channels: Int) -> TensorShape {
        TensorShape(channels: channels, height: paddedHeight / 4, width: paddedWidth / 4)
    }

    /// Whether a tensor can hold a picture: 48 channels or more of the right size.
    func fits(_ shape: TensorShape) -> Bool {
        shape.channels >= blocks.channels && shape == blocks(channels: shape.channels)
    }

    /// Bytes of a frame without gaps between its rows.
    var frameBytes: Int { 3 * frameWidth * frameHeight }

    /// Bytes that the steps below allocate at most, together with one frame.
    public func byteCount(threads: Int) -> Int {
        let float = MemoryLayout<Float>.stride
        let frameRow = roundUp(3 * frameWidth, to: 16)
        let input = float * (frameRow + 3 * modelWidth + 64) + 12 * paddedWidth + 64
        let output = float * (frameRow + 12 * paddedWidth + 16)
        let residualRows = isSameSize ? 0 : float * frameRow * modelHeight
        return threads * (input + output) + residualRows + frameBytes
    }
}

/// A frame's rows at the model's padded size, in bytes: what the network was trained on.
final class FrameRows {
    /// First row of the frame; set before each run by the thread that runs.
    var frame: UnsafePointer<UInt8>?
    /// Bytes from row to row of the frame.
    var frameStride = 0

    let geometry: FrameGeometry
    private let kernels: UnsafePointer<ck_kernels>
    private let horizontal: ResamplingTable
    private let vertical: ResamplingTable
    // Per worker: a frame row and a model row in f32.
    private let rows: UnsafeMutablePointer<Float>
    private let rowsStride: Int

    init(backend: Backend, geometry: FrameGeometry, threads: Int) {
        self.geometry = geometry
        kernels = backend.kernels
        horizontal = ResamplingTable(from: geometry.frameWidth, to: geometry.modelWidth)
        vertical = ResamplingTable(from: geometry.frameHeight, to: geometry.modelHeight)
        rowsStride = roundUp(3 * (geometry.frameWidth + geometry.modelWidth) + 32, to: 16)
        rows = .allocate(capacity: rowsStride * threads)
        rows.initialize(repeating: 0, count: rowsStride * threads)
    }

    deinit { rows.deallocate() }

    /// The frame's own `count` rows from `y` on, if they are what the network sees; else nil.
    func inPlace(y: Int, count: Int) -> UnsafePointer<UInt8>? {
        guard geometry.isSameSize, geometry.paddedWidth == geometry.modelWidth,
            y + count <= geometry.modelHeight
        else { return nil }
        return frame.map { $0 + y * frameStride }
    }

    /// Scales `count` rows from `y` on and repeats the edges. Rows of 3 · `paddedWidth` bytes.
    func copy(y: Int, count: Int, to target: UnsafeMutablePointer<UInt8>, worker: Int) {
        let stride = 3 * geometry.paddedWidth
        for index in 0..<count {
            let row = target + index * stride
            modelRow(min(y + index, geometry.modelHeight - 1), to: row, worker: worker)
            for x in 3 * geometry.modelWidth..<stride { row[x] = row[x - 3] }
        }
    }

    private func modelRow(_ y: Int, to target: UnsafeMutablePointer<UInt8>, worker: Int) {
        guard let frame else { return }
        if geometry.isSameSize {
            target.update(from: frame + y * frameStride, count: 3 * geometry.modelWidth)
            return
        }
        let tall = rows + worker * rowsStride
        let wide = tall + roundUp(3 * geometry.frameWidth + 16, to: 16)
        let first = Int(vertical.starts[y])
        for tap in 0..<vertical.taps {
            kernels.pointee.accumulate_u8(
                frame + (first + tap) * frameStride, vertical.weights[y * vertical.taps + tap],
                tap == 0 ? 1 : 0, 3 * geometry.frameWidth, tall)
        }
        kernels.pointee.resample_rgb(
            tall, horizontal.starts, horizontal.weights, horizontal.taps, geometry.modelWidth,
            wide)
        kernels.pointee.quantize_u8(wide, 3 * geometry.modelWidth, target)
    }
}

/// What brings frames into a network, whether or not it remembers the one before.
public protocol FrameInput: AnyObject {
    /// Sets the next frame; by the thread that runs, before each run.
    ///
    /// - Parameters:
    ///   - frame: RGB24, full range; must stay until the run is over.
    ///   - stride: bytes from row to row.
    func setFrame(_ frame: UnsafePointer<UInt8>, stride: Int)
}

/// Scales a frame to the model's size, repeats its edges up to the padded size and
/// pixel-unshuffles it by 4: RGB24 to (48, H/4, W/4) in [0, 1]. One row of blocks a piece.
public final class FrameInputStep: ParallelWork, FrameInput {
    private let rows: FrameRows
    private let target: TensorView
    private let kernels: UnsafePointer<ck_kernels>
    // Per worker: four padded model rows.
    private let bytes: UnsafeMutablePointer<UInt8>
    private let bytesStride: Int

    /// - Parameter target: `geometry.blocks`, or more channels, which are filled with zeros.
    public init(
        backend: Backend, geometry: FrameGeometry, target: TensorView, threads: Int
    ) {
        precondition(geometry.fits(target.shape), "the target has the network's input shape")
        rows = FrameRows(backend: backend, geometry: geometry, threads: threads)
        self.target = target
        kernels = backend.kernels
        bytesStride = roundUp(4 * 3 * geometry.paddedWidth, to: 64)
        bytes = .allocate(capacity: bytesStride * threads)
        bytes.initialize(repeating: 0, count: bytesStride * threads)
        super.init(name: "frame in", pieces: geometry.blocks.height)
        cost.bytesRead = geometry.frameBytes
        cost.bytesWritten = target.shape.interiorBytes
    }

    deinit { bytes.deallocate() }

    /// - Realtime: safe
    public func setFrame(_ frame: UnsafePointer<UInt8>, stride: Int) {
        rows.frame = frame
        rows.frameStride = stride
    }

    /// One row of blocks.
    ///
    /// - Realtime: safe
    public override func perform(piece: Int, worker: Int) {
        let squares = target.shape.width
        // Every frame anew: later layers may have used the memory.
        for block in rows.geometry.blocks.blocks..<target.shape.blocks {
            target.pixel(block: block, y: piece, x: 0)
                .update(repeating: 0, count: squares * channelBlock)
        }
        let to = target.pixel(block: 0, y: piece, x: 0)
        if let from = rows.inPlace(y: 4 * piece, count: 4) {
            kernels.pointee.unshuffle_rgb(
                from, rows.frameStride, squares, to, target.shape.blockStride)
            return
        }
        let padded = bytes + worker * bytesStride
        rows.copy(y: 4 * piece, count: 4, to: padded, worker: worker)
        kernels.pointee.unshuffle_rgb(padded, 12 * squares, squares, to, target.shape.blockStride)
    }
}

/// Where the output steps read the frame and write the result; set before each run.
public struct FramePointers {
    /// First row of the unchanged frame.
    public var frame: UnsafePointer<UInt8>
    /// Bytes from row to row.
    public var frameStride: Int
    /// First row of the result; may be the frame itself.
    public var output: UnsafeMutablePointer<UInt8>
    /// Bytes from row to row.
    public var outputStride: Int
    /// Factor of the residual.
    public var strength: Float

    /// Rows that do not overlap unless both are the same.
    public init(
        frame: UnsafePointer<UInt8>, frameStride: Int, output: UnsafeMutablePointer<UInt8>,
        outputStride: Int, strength: Float
    ) {
        self.frame = frame
        self.frameStride = frameStride
        self.output = output
        self.outputStride = outputStride
        self.strength = strength
    }
}

/// Whether a residual held NaN or infinity. Set by any worker, read and cleared between runs.
public final class FiniteCheck: Sendable {
    private let isBad = Atomic<Bool>(false)

    /// Nothing bad seen yet.
    public init() {}

    // Relaxed: the end of the dispatch orders it.
    func report(_ code: Int32) {
        if code != 0 { isBad.store(true, ordering: .relaxed) }
    }

    /// Whether everything since the last call was finite.
    ///
    /// - Realtime: safe
    public func takeResult() -> Bool { !isBad.exchange(false, ordering: .relaxed) }
}

/// Frame and model of the same size: clamp(frame + strength · residual), the padding cropped away.
/// One row of blocks a piece.
public final class ResidualOutputStep: ParallelWork {
    /// Set before each run by the thread that runs.
    public var pointers: FramePointers?

    private let geometry: FrameGeometry
    private let residual: TensorView
    private let kernels: UnsafePointer<ck_kernels>
    private let check: FiniteCheck

    /// - Parameter residual: `geometry.blocks`, or more channels, which are ignored.
    public init(
        backend: Backend, geometry: FrameGeometry, residual: TensorView, check: FiniteCheck
    ) {
        precondition(geometry.fits(residual.shape), "the residual has the network's shape")
        self.geometry = geometry
        self.residual = residual
        kernels = backend.kernels
        self.check = check
        super.init(name: "frame out", pieces: (geometry.modelHeight + 3) / 4)
        cost.bytesRead = geometry.frameBytes + geometry.blocks.interiorBytes
        cost.bytesWritten = geometry.frameBytes
    }

    /// One row of blocks.
    ///
    /// - Realtime: safe
    public override func perform(piece: Int, worker: Int) {
        guard let pointers else { return }
        check.report(
            kernels.pointee.shuffle_add_rgb(
                residual.pixel(block: 0, y: piece, x: 0), residual.shape.blockStride,
                min(4, geometry.modelHeight - 4 * piece), geometry.modelWidth,
                pointers.frame + 4 * piece * pointers.frameStride, pointers.frameStride,
                pointers.strength, pointers.output + 4 * piece * pointers.outputStride,
                pointers.outputStride))
    }
}

/// Frame and model of different sizes, first half: the residual in rows, scaled to the frame's
/// width. One row of blocks a piece.
public final class ResidualRowsStep: ParallelWork {
    private let geometry: FrameGeometry
    private let residual: TensorView
    private let kernels: UnsafePointer<ck_kernels>
    private let check: FiniteCheck
    private let horizontal: ResamplingTable
    // Model height × frame width, interleaved f32 RGB.
    fileprivate let rows: UnsafeMutablePointer<Float>
    fileprivate let rowStride: Int
    // Per worker: four rows at model width.
    private let scratch: UnsafeMutablePointer<Float>
    private let scratchStride: Int

    /// - Parameter residual: `geometry.blocks`, or more channels, which are ignored.
    public init(
        backend: Backend, geometry: FrameGeometry, residual: TensorView, check: FiniteCheck,
        threads: Int
    ) {
        precondition(geometry.fits(residual.shape), "the residual has the network's shape")
        self.geometry = geometry
        self.residual = residual
        kernels = backend.kernels
        self.check = check
        horizontal = ResamplingTable(from: geometry.modelWidth, to: geometry.frameWidth)
        rowStride = roundUp(3 * geometry.frameWidth, to: 16)
        rows = .allocate(capacity: rowStride * geometry.modelHeight)
        rows.initialize(repeating: 0, count: rowStride * geometry.modelHeight)
        scratchStride = 4 * 3 * geometry.paddedWidth + 16
        scratch = .allocate(capacity: scratchStride * threads)
        scratch.initialize(repeating: 0, count: scratchStride * threads)
        super.init(name: "residual rows", pieces: (geometry.modelHeight + 3) / 4)
        cost.bytesRead = geometry.blocks.interiorBytes
        cost.bytesWritten = rowStride * geometry.modelHeight * MemoryLayout<Float>.stride
    }

    deinit {
        rows.deallocate()
        scratch.deallocate()
    }

    /// One row of blocks.
    ///
    /// - Realtime: safe
    public override func perform(piece: Int, worker: Int) {
        let shuffled = scratch + worker * scratchStride
        let stride = 3 * geometry.paddedWidth
        check.report(
            kernels.pointee.shuffle_rgb(
                residual.pixel(block: 0, y: piece, x: 0), residual.shape.blockStride,
                geometry.paddedWidth / 4, shuffled, stride))
        for y in 0..<min(4, geometry.modelHeight - 4 * piece) {
            kernels.pointee.resample_rgb(
                shuffled + y * stride, horizontal.starts, horizontal.weights, horizontal.taps,
                geometry.frameWidth, rows + (4 * piece + y) * rowStride)
        }
    }
}

/// Second half: the rows scaled to the frame's height and added. Eight rows of the frame a piece.
public final class ResidualBlendStep: ParallelWork {
    /// Set before each run by the thread that runs.
    public var pointers: FramePointers?

    private let geometry: FrameGeometry
    private let source: ResidualRowsStep
    private let kernels: UnsafePointer<ck_kernels>
    private let vertical: ResamplingTable
    // Per worker: one row, used when more than two rows make one.
    private let scratch: UnsafeMutablePointer<Float>

    private static let rowsPerPiece = 8

    /// - Parameter source: the first half, for the same geometry.
    public init(
        backend: Backend, geometry: FrameGeometry, source: ResidualRowsStep, threads: Int
    ) {
        self.geometry = geometry
        self.source = source
        kernels = backend.kernels
        vertical = ResamplingTable(from: geometry.modelHeight, to: geometry.frameHeight)
        scratch = .allocate(capacity: source.rowStride * threads)
        scratch.initialize(repeating: 0, count: source.rowStride * threads)
        super.init(
            name: "frame out",
            pieces: (geometry.frameHeight + Self.rowsPerPiece - 1) / Self.rowsPerPiece)
        cost.bytesRead = geometry.frameBytes + source.cost.bytesWritten
        cost.bytesWritten = geometry.frameBytes
    }

    deinit { scratch.deallocate() }

    /// Eight rows of the frame.
    ///
    /// - Realtime: safe
    public override func perform(piece: Int, worker: Int) {
        let first = piece * Self.rowsPerPiece
        for y in first..<min(first + Self.rowsPerPiece, geometry.frameHeight) {
            blend(y, worker: worker)
        }
    }

    private func blend(_ y: Int, worker: Int) {
        guard let pointers else { return }
        let count = 3 * geometry.frameWidth
        let weights = vertical.weights + y * vertical.taps
        var upper = source.rows + Int(vertical.starts[y]) * source.rowStride
        var lower = upper
        var t: Float = 0
        if vertical.taps == 2 {
            lower = upper + source.rowStride
            t = weights[1]
        } else if vertical.taps > 2 {
            let sum = scratch + worker * source.rowStride
            for tap in 0..<vertical.taps {
                kernels.pointee.accumulate_f32(
                    upper + tap * source.rowStride, weights[tap], tap == 0 ? 1 : 0, count, sum)
            }
            upper = sum
            lower = sum
        }
        kernels.pointee.blend_rows(
            pointers.frame + y * pointers.frameStride, upper, lower, t, 255 * pointers.strength,
            count, pointers.output + y * pointers.outputStride)
    }
}
