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

    /// Set before the first run if only what changed shall be computed.
    var reuse: TileReuse?
    /// Whether the next runs are to compute what changed, or everything. Set between runs.
    var computesChanges = false {
        didSet { if oldValue && !computesChanges { reuse?.settle() } }
    }
    /// Tiles computed in the last run.
    private(set) var chosen: Int
    override var share: Double { Double(chosen) / Double(tileCount) }

    // Indices of the tiles to compute, row by row.
    private let tiles: UnsafeMutablePointer<Int32>
    private var tilesPerChosenPiece: Int
    private let threads: Int
    private var hasAll = true

    /// - Parameters:
    ///   - shape: of the result.
    ///   - edge: pixels of a tile's side.
    ///   - tilesPerPiece: at most; fewer tiles than all are dealt evenly to `threads`.
    init(name: String, shape: TensorShape, edge: Int, tilesPerPiece: Int, threads: Int) {
        self.edge = edge
        self.tilesPerPiece = tilesPerPiece
        self.threads = threads
        tilesPerChosenPiece = tilesPerPiece
        tileColumns = (shape.width + edge - 1) / edge
        tileCount = tileColumns * ((shape.height + edge - 1) / edge)
        tiles = .allocate(capacity: tileCount)
        for index in 0..<tileCount { tiles[index] = Int32(index) }
        chosen = tileCount
        super.init(name: name, pieces: (tileCount + tilesPerPiece - 1) / tilesPerPiece)
    }

    deinit { tiles.deallocate() }

    override func willRun() {
        if let reuse, computesChanges {
            chosen = reuse.choose(into: tiles)
            hasAll = chosen == tileCount
        } else if !hasAll {
            for index in 0..<tileCount { tiles[index] = Int32(index) }
            chosen = tileCount
            hasAll = true
        }
        tilesPerChosenPiece =
            hasAll
            ? tilesPerPiece : pieceSize(max(chosen, 1), limit: tilesPerPiece, threads: threads)
        pieces = (chosen + tilesPerChosenPiece - 1) / tilesPerChosenPiece
    }

    /// Tiles of a piece.
    func count(of piece: Int) -> Int {
        min(tilesPerChosenPiece, chosen - piece * tilesPerChosenPiece)
    }

    /// Calls `body` with the tiles of a piece, as many as lie side by side at a time, at most `most`.
    @inline(__always)
    func forEachRun(of piece: Int, most: Int = .max, _ body: (Run) -> Void) {
        let first = piece * tilesPerChosenPiece
        let count = count(of: piece)
        var done = 0
        while done < count {
            let start = Int(tiles[first + done])
            let (row, column) = start.quotientAndRemainder(dividingBy: tileColumns)
            let limit = min(tileColumns - column, count - done, most)
            var run = 1
            while run < limit && Int(tiles[first + done + run]) == start + run { run += 1 }
            body(Run(done: done, y: row * edge, x: column * edge, count: run))
            done += run
        }
    }

    /// As `forEachRun`, for a `body` that writes tiles of the result `view`, upsampled or not: what
    /// comes out much as it was before stays as it was.
    @inline(__always)
    func forEachResult(
        of piece: Int, worker: Int, in view: TensorView, isUpsampled: Bool = false,
        _ body: (Run, TileDestination) -> Void
    ) {
        guard let reuse, computesChanges, reuse.hasReaders else {
            let scale = isUpsampled ? 2 : 1
            forEachRun(of: piece) { run in
                body(
                    run,
                    TileDestination(
                        base: view.pixel(block: 0, y: scale * run.y, x: scale * run.x),
                        rowStride: view.shape.rowStride, blockStride: view.shape.blockStride))
            }
            return
        }
        forEachRun(of: piece, most: TileReuse.tilesAtOnce) { run in
            let aside = reuse.destination(
                y: run.y, x: run.x, tiles: run.count, worker: worker)
            body(run, aside)
            reuse.take(aside, y: run.y, x: run.x, tiles: run.count)
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
