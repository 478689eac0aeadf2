// Work on a picture in square tiles: which of them, in what pieces.

/// A step whose result falls into tiles that can be computed one by one. All of them make a whole
/// frame; any subset, in ascending order, can be chosen instead.
class TiledWork: ParallelWork {
    /// Tiles side by side that one call of a kernel can take.
    struct Run {
        /// Tiles of the same piece that come before it.
        let done: Int
        /// First row of the result, in pixels.
        let y: Int
        /// First column, in pixels.
        let x: Int
        /// Tiles.
        let count: Int
    }

    /// Pixels of a tile's side.
    let edge: Int
    /// Tiles in a row of the picture.
    let tileColumns: Int
    /// Tiles of the whole picture.
    let tileCount: Int
    let tilesPerPiece: Int

    // Indices of the tiles to compute, row by row, and how many of them.
    private let tiles: UnsafeMutablePointer<Int32>
    private var chosen: Int

    init(name: String, shape: TensorShape, edge: Int, tilesPerPiece: Int) {
        self.edge = edge
        self.tilesPerPiece = tilesPerPiece
        tileColumns = (shape.width + edge - 1) / edge
        tileCount = tileColumns * ((shape.height + edge - 1) / edge)
        tiles = .allocate(capacity: tileCount)
        for index in 0..<tileCount { tiles[index] = Int32(index) }
        chosen = tileCount
        super.init(name: name, pieces: (tileCount + tilesPerPiece - 1) / tilesPerPiece)
    }

    deinit { tiles.deallocate() }

    /// Tiles of a piece.
    func count(of piece: Int) -> Int {
        min(tilesPerPiece, chosen - piece * tilesPerPiece)
    }

    /// Calls `body` with the tiles of a piece, as many as lie side by side at a time.
    @inline(__always)
    func forEachRun(of piece: Int, _ body: (Run) -> Void) {
        let first = piece * tilesPerPiece
        let count = count(of: piece)
        var done = 0
        while done < count {
            let start = Int(tiles[first + done])
            let (row, column) = start.quotientAndRemainder(dividingBy: tileColumns)
            let limit = min(tileColumns - column, count - done)
            var run = 1
            while run < limit && Int(tiles[first + done + run]) == start + run { run += 1 }
            body(Run(done: done, y: row * edge, x: column * edge, count: run))
            done += run
        }
    }
}

/// Divides `count` items into pieces of at most `limit`, as even as possible and, if there are
/// enough, a multiple of `threads` of them.
func pieceSize(_ count: Int, limit: Int, threads: Int) -> Int {
    var pieces = (count + limit - 1) / limit
    pieces = min(count, roundUp(pieces, to: threads))
    return (count + pieces - 1) / pieces
}
