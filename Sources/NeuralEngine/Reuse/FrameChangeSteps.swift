// The way of a frame into a network that remembers the one before.

internal import CKernels

/// The frame as the network last saw it, in bytes at the model's padded size, and what has changed
/// since.
final class FrameMemory {
    /// Pixels on a cell's side: 2 pixels of the network's input, each a square of 4.
    static let cellEdge = 8

    let rows: FrameRows
    /// Cells in a row and rows of cells.
    let cellColumns: Int
    let cellRows: Int
    /// How much each cell of the new frame differs from `reference`, in levels² of the picture that
    /// comes out. Written by any worker, each its own rows.
    let changes: UnsafeMutablePointer<Float>
    /// What the network saw, cell by cell.
    let reference: UnsafeMutablePointer<UInt8>
    /// Bytes of a row.
    let stride: Int
    /// Of the four measures that `cell_changes` takes.
    let weights: UnsafeMutablePointer<Float>

    // The new frame where it cannot be read in place.
    private let scaled: UnsafeMutablePointer<UInt8>

    init(backend: Backend, geometry: FrameGeometry, threads: Int) {
        rows = FrameRows(backend: backend, geometry: geometry, threads: threads)
        cellColumns = geometry.paddedWidth / Self.cellEdge
        cellRows = geometry.paddedHeight / Self.cellEdge
        stride = 3 * geometry.paddedWidth
        let bytes = stride * geometry.paddedHeight
        changes = .allocate(capacity: cellColumns * cellRows)
        changes.initialize(repeating: 0, count: cellColumns * cellRows)
        reference = .allocate(capacity: bytes)
        reference.initialize(repeating: 0, count: bytes)
        scaled = .allocate(capacity: bytes)
        scaled.initialize(repeating: 0, count: bytes)
        weights = .allocate(capacity: 4)
        weights.initialize(repeating: 1, count: 4)
    }

    deinit {
        changes.deallocate()
        reference.deallocate()
        scaled.deallocate()
        weights.deallocate()
    }

    /// Bytes that the memory of one frame takes.
    static func byteCount(_ geometry: FrameGeometry) -> Int {
        6 * geometry.paddedWidth * geometry.paddedHeight
    }

    /// A row of cells of the new frame, scaled before if `scales`; else it has been.
    func newRow(_ row: Int, scales: Bool, worker: Int) -> (UnsafePointer<UInt8>, stride: Int) {
        if let rows = rows.inPlace(y: row * Self.cellEdge, count: Self.cellEdge) {
            return (rows, self.rows.frameStride)
        }
        let target = scaled + row * Self.cellEdge * stride
        if scales {
            rows.copy(y: row * Self.cellEdge, count: Self.cellEdge, to: target, worker: worker)
        }
        return (UnsafePointer(target), stride)
    }
}

/// Compares a frame with the one that the network remembers. One row of cells a piece.
final class FrameChangeStep: ParallelWork, FrameInput {
    private let memory: FrameMemory
    private let kernels: UnsafePointer<ck_kernels>

    init(memory: FrameMemory, backend: Backend) {
        self.memory = memory
        kernels = backend.kernels
        super.init(name: "frame change", pieces: memory.cellRows)
    }

    func setFrame(_ frame: UnsafePointer<UInt8>, stride: Int) {
        memory.rows.frame = frame
        memory.rows.frameStride = stride
    }

    override func perform(piece: Int, worker: Int) {
        let (row, stride) = memory.newRow(piece, scales: true, worker: worker)
        kernels.pointee.cell_changes(
            row, stride, memory.reference + piece * FrameMemory.cellEdge * memory.stride,
            memory.stride, memory.cellColumns, memory.weights,
            memory.changes + piece * memory.cellColumns)
    }
}

/// Takes over the cells that have changed: into the memory, and pixel-unshuffled by 4 into the
/// network's input, (48, H/4, W/4) in [0, 1]. One row of cells a piece.
final class FrameUpdateStep: ParallelWork {
    private let memory: FrameMemory
    private let target: TensorView
    private let kernels: UnsafePointer<ck_kernels>
    private let reuse: TemporalReuse

    init(memory: FrameMemory, target: TensorView, backend: Backend, reuse: TemporalReuse) {
        self.memory = memory
        self.target = target
        kernels = backend.kernels
        self.reuse = reuse
        super.init(name: "frame in", pieces: memory.cellRows)
    }

    override func perform(piece: Int, worker: Int) {
        let (row, stride) = memory.newRow(piece, scales: false, worker: worker)
        guard let changed = reuse.changedCells(row: piece) else {
            update(piece, 0..<memory.cellColumns, row, stride)
            return
        }
        var column = 0
        while column < memory.cellColumns {
            var end = column
            while end < memory.cellColumns && !(changed[end] <= 0) { end += 1 }
            if end > column { update(piece, column..<end, row, stride) }
            column = end + 1
        }
    }

    private func update(
        _ row: Int, _ columns: Range<Int>, _ frame: UnsafePointer<UInt8>, _ stride: Int
    ) {
        let left = 3 * FrameMemory.cellEdge * columns.lowerBound
        let reference = memory.reference + row * FrameMemory.cellEdge * memory.stride + left
        for y in 0..<FrameMemory.cellEdge {
            (reference + y * memory.stride).update(
                from: frame + y * stride + left, count: 3 * FrameMemory.cellEdge * columns.count)
        }
        for half in 0..<2 {
            kernels.pointee.unshuffle_rgb(
                frame + 4 * half * stride + left, stride, 2 * columns.count,
                target.pixel(block: 0, y: 2 * row + half, x: 2 * columns.lowerBound),
                target.shape.blockStride)
        }
    }
}
