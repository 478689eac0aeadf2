// What lets a step compute only the tiles that its inputs' changes call for.

internal import CKernels

/// How far a step reaches from a result to its inputs.
struct TileReach: Sendable {
    /// Rows and columns of the window.
    let kernel: Int
    let stride: Int
    let isUpsampled: Bool
}

/// Where a step writes tiles: to its result, or aside.
struct TileDestination {
    /// First pixel of the first tile, channel block 0.
    let base: UnsafeMutablePointer<Float>
    let rowStride: Int
    let blockStride: Int
}

/// The past of one step: changes of its inputs that its result does not show yet, tile by tile.
/// The thread that runs the plan owns it; workers call
/// `destination` and `take` for tiles of their own.
final class TileReuse {
    /// What a change must come to, in levels² of the picture.
    struct Thresholds {
        /// Before a tile is computed anew.
        var tile: Float
        /// Before a new result replaces the old one.
        var cell: Float
    }

    /// The share of a 3 × 3 window's work that crosses from a cell to one of its neighbours: one of
    /// its two rows, with one of three taps.
    private static let neighbourShare: Float = 1.0 / 6
    /// The same with stride 2, where only the lower of two rows is read twice.
    private static let stridedNeighbourShare: Float = 1.0 / 3
    /// Tiles that are written aside at a time.
    static let tilesAtOnce = 10

    var thresholds = Thresholds(tile: 0, cell: 0)
    /// Expected change of the picture, in levels², for each change² of one number of the result.
    var sensitivity: Float = 1
    /// In cells of the network's input.
    var forced = CellRectangle.none

    private let source: ChangeMap
    private let adding: ChangeMap?
    private let target: ChangeMap?
    private let view: TensorView
    private let kernels: UnsafePointer<ck_kernels>
    private let edge: Int
    // Cells on a tile's side in the source and in the target.
    private let sourceSpan: Int
    private let targetSpan: Int
    // Cells of the network's input on the side of a cell of the target.
    private let cellEdge: Int
    private let before: Float
    private let after: Float
    private let sourceScale: Float
    private let addingScale: Float
    private let tileColumns: Int
    private let tileRows: Int
    private let pending: UnsafeMutablePointer<Float>
    // Of the tensor that is divided into tiles.
    private let rowLimit: Int
    private let columnLimit: Int
    private let aside: UnsafeMutablePointer<Float>
    private let asideStride: Int

    /// - Parameters:
    ///   - target: nil where nobody asks what changed: in the last step.
    ///   - view: the step's result.
    ///   - edge: pixels of a tile's side, before upsampling.
    ///   - cellEdge: cells of the network's input on the side of a cell of the result.
    ///   - aside: memory for `asideCount` numbers a worker.
    init(
        reach: TileReach, source: ChangeMap, adding: ChangeMap?, target: ChangeMap?,
        view: TensorView, edge: Int, tileColumns: Int, tileRows: Int, cellEdge: Int,
        kernels: UnsafePointer<ck_kernels>, aside: UnsafeMutablePointer<Float>, asideStride: Int
    ) {
        self.source = source
        self.adding = adding
        self.target = target
        self.view = view
        self.edge = edge
        self.kernels = kernels
        self.cellEdge = cellEdge
        self.tileColumns = tileColumns
        self.tileRows = tileRows
        self.aside = aside
        self.asideStride = asideStride
        sourceSpan = edge * reach.stride / ChangeMap.cellEdge
        targetSpan = edge * (reach.isUpsampled ? 2 : 1) / ChangeMap.cellEdge
        rowLimit = view.shape.height / (reach.isUpsampled ? 2 : 1)
        columnLimit = view.shape.width / (reach.isUpsampled ? 2 : 1)
        let share = reach.stride == 2 ? Self.stridedNeighbourShare : Self.neighbourShare
        before = reach.kernel == 3 ? share : 0
        after = reach.kernel == 3 && reach.stride == 1 ? share : 0
        // A mean over a larger cell is a quarter of the sum over its four smaller ones.
        sourceScale = reach.stride == 2 ? 0.25 : reach.isUpsampled ? 4 : 1
        addingScale = !reach.isUpsampled ? 1 : 4
        pending = .allocate(capacity: tileColumns * tileRows)
        pending.initialize(repeating: 0, count: tileColumns * tileRows)
    }

    deinit { pending.deallocate() }

    /// Numbers that a worker writes aside.
    static func asideCount(edge: Int, isUpsampled: Bool, shape: TensorShape) -> Int {
        let rows = edge * (isUpsampled ? 2 : 1)
        // The last row may overhang by a tile.
        return (rows * shape.blocks + 1) * shape.rowStride + rows * tilesAtOnce * channelBlock
    }

    /// Whether anybody asks what changed.
    var hasReaders: Bool { target != nil }

    /// Forgets what was pending: everything is about to be computed.
    func settle() {
        pending.update(repeating: 0, count: tileColumns * tileRows)
        target?.clear()
    }

    /// Writes the tiles to compute, in ascending order.
    ///
    /// - Returns: how many.
    func choose(into tiles: UnsafeMutablePointer<Int32>) -> Int {
        target?.clear()
        if source.isClear && adding?.isClear ?? true && forced.isEmpty { return 0 }
        // Of a mean over the tile; the sums are in units of one cell.
        let limit = thresholds.tile * Float(targetSpan * targetSpan)
        var count = 0
        for row in 0..<tileRows {
            let first = row * tileColumns
            gather(row: row, into: pending + first)
            force(row: row, pending + first)
            for column in 0..<tileColumns where !(pending[first + column] <= limit) {
                tiles[count] = Int32(first + column)
                count += 1
                pending[first + column] = 0
            }
        }
        if count > 0 { target?.willChange() }
        return count
    }

    private func gather(row: Int, into tiles: UnsafeMutablePointer<Float>) {
        if !source.isClear {
            kernels.pointee.gather_changes(
                source.cell(row: row * sourceSpan, column: 0), source.stride, sourceSpan, before,
                after, sourceScale, tileColumns, tiles)
        }
        if let adding, !adding.isClear {
            kernels.pointee.gather_changes(
                adding.cell(row: row * targetSpan, column: 0), adding.stride, targetSpan, 0, 0,
                addingScale, tileColumns, tiles)
        }
    }

    private func force(row: Int, _ tiles: UnsafeMutablePointer<Float>) {
        let edge = targetSpan * cellEdge
        guard forced.rows.overlaps(row * edge..<(row + 1) * edge) else { return }
        let last = min((forced.columns.upperBound + edge - 1) / edge, tileColumns)
        for tile in min(forced.columns.lowerBound / edge, last)..<last { tiles[tile] = .infinity }
    }

    /// Where tiles side by side are to be written, the first one at (`y`, `x`) before upsampling:
    /// aside, if `take` is to be called for them.
    @inline(__always)
    func destination(y: Int, x: Int, tiles: Int, worker: Int) -> TileDestination {
        let rows = 2 * targetSpan
        // The result's own, because the kernels take what they add from rows as far apart.
        let rowStride = view.shape.rowStride
        let base = aside + worker * asideStride
        // Cells that the picture's end cuts: nothing is written past it, and nothing taken.
        if y + edge > rowLimit || x + edge * tiles > columnLimit {
            for row in 0..<view.shape.blocks * rows {
                (base + row * rowStride).update(
                    repeating: 0, count: rows * tiles * channelBlock)
            }
        }
        return TileDestination(base: base, rowStride: rowStride, blockStride: rows * rowStride)
    }

    /// Takes over the cells that have changed, and notes by how much.
    @inline(__always)
    func take(_ from: TileDestination, y: Int, x: Int, tiles: Int) {
        guard let target else { return }
        let row = y / edge * targetSpan
        let column = x / edge * targetSpan
        let scale = sensitivity / Float(3 * 64 * cellEdge * cellEdge)
        for tile in 0..<tiles {
            let x = column + tile * targetSpan
            let columns = min(targetSpan, target.columns - x)
            for y in row..<min(row + targetSpan, target.rows) {
                kernels.pointee.take_cells(
                    from.base + 2 * (y - row) * from.rowStride + 2 * (x - column) * channelBlock,
                    from.rowStride, from.blockStride,
                    view.pixel(block: 0, y: 2 * y, x: 2 * x), view.shape.rowStride,
                    view.shape.blockStride, view.shape.blocks, columns, scale,
                    isForced(row: y, column: x) ? -1 : thresholds.cell,
                    target.cell(row: y, column: x))
            }
        }
    }

    @inline(__always)
    private func isForced(row: Int, column: Int) -> Bool {
        forced.overlaps(
            rows: row * cellEdge..<(row + 1) * cellEdge,
            columns: column * cellEdge..<(column + targetSpan) * cellEdge)
    }
}
