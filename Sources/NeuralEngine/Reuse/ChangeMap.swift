// What changed in a tensor from one frame to the next, in cells of 2 × 2 pixels.

/// One number for each cell: the mean square change of the final picture, in levels², that the
/// cell's change is expected to cause in the square of the picture beneath it. 0: nothing changed.
/// Written by any worker, each its own cells; read between dispatches.
final class ChangeMap {
    /// Pixels of the tensor on a cell's side.
    static let cellEdge = 2

    /// Cells in a row.
    let columns: Int
    /// Rows of cells.
    let rows: Int
    /// Numbers from one row to the next.
    let stride: Int
    /// Whether all cells are 0. Owned by the thread that runs the plan.
    private(set) var isClear = true

    // With a border of zeros: one cell before, and after as many as the last tile overhangs.
    private let base: UnsafeMutablePointer<Float>
    private let count: Int
    private static let overhang = 5

    init(width: Int, height: Int) {
        columns = (width + Self.cellEdge - 1) / Self.cellEdge
        rows = (height + Self.cellEdge - 1) / Self.cellEdge
        stride = columns + 1 + Self.overhang
        count = stride * (rows + 1 + Self.overhang)
        base = .allocate(capacity: count)
        base.initialize(repeating: 0, count: count)
    }

    deinit { base.deallocate() }

    /// The number of a cell; those of its row follow.
    @inline(__always)
    func cell(row: Int, column: Int) -> UnsafeMutablePointer<Float> {
        base + (row + 1) * stride + column + 1
    }

    /// Sets all to 0, if any is not.
    func clear() {
        guard !isClear else { return }
        base.update(repeating: 0, count: count)
        isClear = true
    }

    /// To be called before cells are written.
    func willChange() { isClear = false }
}

/// Cells of the network's input that are computed anew whatever has changed, in this frame.
struct CellRectangle {
    var rows: Range<Int>
    var columns: Range<Int>

    static let none = CellRectangle(rows: 0..<0, columns: 0..<0)

    var isEmpty: Bool { rows.isEmpty || columns.isEmpty }

    func overlaps(rows otherRows: Range<Int>, columns otherColumns: Range<Int>) -> Bool {
        rows.overlaps(otherRows) && columns.overlaps(otherColumns)
    }
}
