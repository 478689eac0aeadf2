// Motion from frame to frame: luma pyramid, dense inverse search, one vector for each square.

internal import CKernels

/// Two frames' luma, and how what is in the present one has moved since the one before.
///
/// The steps below fill it, in their order. Squares are 4 × 4 pixels; flow is backward, in pixels:
/// what is at p was at p + flow.
final class Motion {
    /// Levels of the pyramid: 1/2, 1/4, 1/8, 1/16.
    private static let levelsMax = 4
    /// Rows of the frame that make one row of the coarsest level.
    static let bandRows = 1 << levelsMax
    /// A patch may have moved if it differs by more than this many times the noise.
    private static let stillFactor: Float = 2
    /// Blotchy noise differs by more than its fine part, but by no more than this many times.
    private static let blotchMax: Float = 2.5
    /// Bounds of what is taken for noise: variance of the differences of half-size luma, levels².
    private static let noiseMin: Float = 1
    private static let noiseMax: Float = 16
    /// The same for squares: mean absolute difference of luma, levels.
    private static let squareNoiseMin: Float = 0.25
    private static let squareNoiseMax: Float = 8
    /// A patch that moves by less than this, in pixels of the finest level, …
    private static let slowMax: Float = 2
    /// … does not unless so many of its eight neighbours move.
    private static let neighboursMin = 3

    /// A level of the pyramid and its patches.
    struct Level {
        /// Of two frames; which is the present one, `Motion.present` says.
        let planes: [MarginPlane<Float>]
        let columns: Int
        let rows: Int
        let flow: UnsafeMutablePointer<Float>

        init(width: Int, height: Int, in allocator: StreamAllocator) {
            planes = (0..<2).map { _ in
                MarginPlane(width: width, height: height, in: allocator)
            }
            columns = (width + Int(CK_PATCH_STEP) - 1) / Int(CK_PATCH_STEP)
            rows = (height + Int(CK_PATCH_STEP) - 1) / Int(CK_PATCH_STEP)
            flow = allocator.make(2 * columns * rows, of: Float.self)
        }

        var patches: Int { columns * rows }
        /// Of one frame.
        var planeBytes: Int { planes[0].width * planes[0].height * MemoryLayout<Float>.stride }
    }

    /// Of a vector.
    static let vectorBytes = 2 * MemoryLayout<Float>.stride
    /// Of what the search says about a patch's cells.
    var cellBytes: Int { patches * Int(CK_PATCH_CELLS) * MemoryLayout<Float>.stride }

    let kernels: UnsafePointer<ck_stream_kernels>
    /// Squares in a row, and rows of them.
    let columns: Int
    let rows: Int
    /// From fine to coarse.
    let levels: [Level]
    /// 16-bit luma of two frames.
    let luma: [MarginPlane<UInt16>]
    /// Of each square's colour in the present frame, and its surroundings', CK_MEANS numbers.
    let means: UnsafeMutablePointer<Float>
    /// The same of what the last output was painted from: the frames before it, as much of each as
    /// the network's gate has kept.
    let basis: UnsafeMutablePointer<Float>
    /// That where it is now.
    let alignedBasis: UnsafeMutablePointer<Float>
    /// A vector for each square.
    let flow: UnsafeMutablePointer<Float>
    /// The same for texture, which moves with its surroundings where nothing speaks against it.
    let drift: UnsafeMutablePointer<Float>
    /// Mean absolute difference of luma after the flow, in levels, and what a square's means differ
    /// by from the basis, luma counted twice: a hand may be as bright as the wall, and what changes
    /// slowly differs little from the frame before, but more and more from what is still seen of it.
    let errors: UnsafeMutablePointer<Float>
    /// What the means of its surroundings differ by: a network paints around things, too.
    let errorsAround: UnsafeMutablePointer<Float>
    /// Whether there is a frame before.
    var isBeforeKnown = false

    /// Index of the present frame.
    private(set) var present = 0
    /// Whether anything may have moved.
    fileprivate(set) var isMoving = false

    // Of the finest level's patches.
    fileprivate let changes: UnsafeMutablePointer<Float>
    fileprivate let active: UnsafeMutablePointer<UInt8>
    fileprivate let grain: UnsafeMutablePointer<Float>
    fileprivate let cells: UnsafeMutablePointer<Float>
    fileprivate let settled: UnsafeMutablePointer<Float>
    private let histogram: Histogram
    fileprivate private(set) var noise = noiseMin
    fileprivate private(set) var squareNoise = squareNoiseMin

    init(
        kernels: UnsafePointer<ck_stream_kernels>, width: Int, height: Int,
        in allocator: StreamAllocator
    ) {
        self.kernels = kernels
        columns = width / 4
        rows = height / 4
        // Less than a patch would see nothing but its repeated edges.
        let count =
            (1...Self.levelsMax).last { min(width, height) >> $0 >= Int(CK_PATCH) } ?? 1
        levels = (1...count).map { Level(width: width >> $0, height: height >> $0, in: allocator) }
        luma = (0..<2).map { _ in MarginPlane(width: width, height: height, in: allocator) }
        let squares = columns * rows
        means = allocator.make(Int(CK_MEANS) * squares, of: Float.self)
        basis = allocator.make(Int(CK_MEANS) * squares, of: Float.self)
        alignedBasis = allocator.make(Int(CK_MEANS) * squares, of: Float.self)
        flow = allocator.make(2 * squares, of: Float.self)
        drift = allocator.make(2 * squares, of: Float.self)
        errors = allocator.make(squares, of: Float.self)
        errorsAround = allocator.make(squares, of: Float.self)
        let patches = levels[0].columns * levels[0].rows
        changes = allocator.make(patches, of: Float.self)
        active = allocator.make(patches, of: UInt8.self)
        grain = allocator.make(patches, of: Float.self)
        cells = allocator.make(patches * Int(CK_PATCH_CELLS), of: Float.self)
        settled = allocator.make(2 * patches, of: Float.self)
        histogram = Histogram(counts: allocator.make(Histogram.bins, of: UInt32.self))
    }

    /// The present frame becomes the one before.
    func nextFrame() { present = 1 - present }

    /// Forgets the frame before.
    func reset() {
        isBeforeKnown = false
        isMoving = false
        squareNoise = Self.squareNoiseMin
        settled.update(repeating: 0, count: 2 * patches)
        flow.update(repeating: 0, count: 2 * columns * rows)
    }

    private var patches: Int { levels[0].columns * levels[0].rows }

    func level(_ index: Int) -> ck_luma_level {
        let (now, before) = (levels[index].planes[present], levels[index].planes[1 - present])
        return ck_luma_level(
            now: now.first, before: before.first, stride: now.stride, width: now.width,
            height: now.height)
    }

    /// Finds the noise, and which patches may have moved, once their changes are known.
    ///
    /// Some of almost every picture stands still, or has nothing that could be seen to move: so the
    /// noise is what a fifth of the patches stay under. Where everything moves that is too much;
    /// but noise changes from pixel to pixel, what moves more smoothly: that bounds it.
    fileprivate func findActive() {
        let fine = lowerFifth(grain)
        let all = lowerFifth(changes)
        noise = min(max(all, fine), Self.blotchMax * fine)
        noise = min(max(noise, Self.noiseMin), Self.noiseMax)
        let limit = Self.stillFactor * noise
        isMoving = false
        for index in 0..<patches {
            let mayMove = changes[index] > limit
            active[index] = mayMove ? 1 : 0
            isMoving = isMoving || mayMove
        }
    }

    private func lowerFifth(_ values: UnsafeMutablePointer<Float>) -> Float {
        histogram.clear()
        // A change less its mean may be a little below 0.
        for index in 0..<patches { histogram.add(max(values[index], 0)) }
        return histogram.value(rank: patches / 5)
    }

    /// Takes the median of what the squares' luma differs by for their noise in the next frame.
    func learn(median: Float) {
        squareNoise = min(max(median, Self.squareNoiseMin), Self.squareNoiseMax)
    }

    /// The finest level's vectors without those that only noise has made; they also serve as the
    /// next frame's hint.
    ///
    /// What moves slowly has neighbours that move: patches overlap, and those of noise stand alone.
    fileprivate func settle() {
        settled.update(repeating: 0, count: 2 * patches)
        guard isMoving else { return }
        let level = levels[0]
        for y in 0..<level.rows {
            for x in 0..<level.columns {
                let (u, v) = vector(x, y)
                guard u != 0 || v != 0 else { continue }
                let isFast = abs(u) + abs(v) >= Self.slowMax
                guard isFast || movingNeighbours(x, y) >= Self.neighboursMin else { continue }
                settled[2 * (y * level.columns + x)] = u
                settled[2 * (y * level.columns + x) + 1] = v
            }
        }
    }

    private func vector(_ x: Int, _ y: Int) -> (Float, Float) {
        let at = levels[0].flow + 2 * (y * levels[0].columns + x)
        return (at[0], at[1])
    }

    private func movingNeighbours(_ x: Int, _ y: Int) -> Int {
        var count = -1  // itself
        for row in max(y - 1, 0)...min(y + 1, levels[0].rows - 1) {
            for column in max(x - 1, 0)...min(x + 1, levels[0].columns - 1) {
                let (u, v) = vector(column, row)
                count += u != 0 || v != 0 ? 1 : 0
            }
        }
        return count
    }
}

/// A frame into the network's input, luma and pyramid. Sixteen rows of the frame a piece.
final class StreamFrameStep: ParallelWork {
    private let state: StreamState
    private let motion: Motion
    private let input: TensorView

    init(_ state: StreamState, input: TensorView) {
        self.state = state
        self.input = input
        motion = state.motion
        super.init(name: "frame in", pieces: 4 * motion.rows / Motion.bandRows)
        let squares = motion.rows * motion.columns
        cost.bytesRead = squares * 48
        // The network's input, luma, the pyramid, half of the means.
        cost.bytesWritten = squares * (48 * 4 + 16 * 2 + 21 + 4 * 4)
    }

    override func perform(piece: Int, worker: Int) {
        let top = piece * Motion.bandRows
        let (rgb, stride) = state.slot.frame.fill(
            y: top, count: Motion.bandRows, worker: worker)
        let luma = motion.luma[motion.present]
        let half = motion.levels[0].planes[motion.present]
        for row in 0..<Motion.bandRows / 4 {
            let y = top / 4 + row
            motion.kernels.pointee.frame_squares(
                rgb + 4 * row * stride, stride, motion.columns,
                input.pixel(block: 3, y: y, x: 0), input.shape.blockStride, luma.row(4 * y),
                luma.stride, half.row(2 * y), half.stride,
                motion.means + Int(CK_MEANS) * y * motion.columns)
        }
        luma.repeatEdges(rows: top..<top + Motion.bandRows)
        for index in motion.levels.indices {
            let plane = motion.levels[index].planes[motion.present]
            let rows = (top >> (index + 1))..<(top + Motion.bandRows) >> (index + 1)
            if index > 0 {
                let finer = motion.levels[index - 1].planes[motion.present]
                for y in rows {
                    motion.kernels.pointee.halve(
                        finer.row(2 * y), finer.stride, plane.width, plane.row(y))
                }
            }
            plane.repeatEdges(rows: rows)
        }
    }
}

/// How much the finest level's patches differ if nothing has moved. One row of them a piece.
final class PatchChangeStep: ParallelWork {
    private let motion: Motion
    private let rows: Int

    init(motion: Motion) {
        self.motion = motion
        rows = motion.levels[0].rows
        super.init(name: "patch changes", pieces: rows)
        cost.bytesRead = 2 * motion.levels[0].planeBytes
        cost.bytesWritten = 2 * motion.levels[0].patches * MemoryLayout<Float>.stride
    }

    override func willRun() { pieces = motion.isBeforeKnown ? rows : 0 }

    override func perform(piece: Int, worker: Int) {
        var level = motion.level(0)
        let columns = motion.levels[0].columns
        motion.kernels.pointee.patch_changes(
            &level, piece, columns, motion.changes + piece * columns,
            motion.grain + piece * columns)
    }
}

/// The search on one level, from coarse to fine. One row of patches a piece.
final class PatchSearchStep: ParallelWork {
    private let motion: Motion
    private let index: Int
    private let rows: Int

    init(motion: Motion, level index: Int) {
        self.motion = motion
        self.index = index
        rows = motion.levels[index].rows
        super.init(name: "motion 1/\(2 << index)", pieces: rows)
        let level = motion.levels[index]
        // Both frames, where the last frame's vectors lead, and those of the coarser level.
        let coarser = index + 1 < motion.levels.count ? motion.levels[index + 1].patches : 0
        cost.bytesRead = 2 * level.planeBytes + Motion.vectorBytes * (level.patches + coarser)
        cost.bytesWritten =
            Motion.vectorBytes * level.patches + (index == 0 ? motion.cellBytes : 0)
    }

    override func willRun() {
        if index == motion.levels.count - 1 && motion.isBeforeKnown { motion.findActive() }
        pieces = motion.isMoving ? rows : 0
    }

    override func perform(piece: Int, worker: Int) {
        let (level, finest) = (motion.levels[index], motion.levels[0])
        let coarser = index + 1 < motion.levels.count ? motion.levels[index + 1] : nil
        var search = ck_patch_search(
            level: motion.level(index), columns: level.columns, rows: level.rows,
            scale: 1 << index, active: motion.active, active_columns: finest.columns,
            active_rows: finest.rows, noise: motion.noise, grain: motion.grain,
            coarse: coarser.map { UnsafePointer($0.flow) },
            coarse_columns: coarser?.columns ?? 0, coarse_rows: coarser?.rows ?? 0,
            last: motion.settled, flow: level.flow,
            cells: index == 0 ? motion.cells : nil)
        motion.kernels.pointee.search_patches(&search, piece)
    }
}

/// The patches' vectors to one for each square, and what differs after it. One row of squares a
/// piece.
final class SquareErrorStep: ParallelWork {
    private let motion: Motion
    private let exposure: FrameExposure
    // One for each thread; the last is for their sum.
    private let errors: [Histogram]
    private let errorsAround: [Histogram]
    private let lumaErrors: [Histogram]

    init(_ state: StreamState, threads: Int) {
        motion = state.motion
        exposure = state.exposure
        func histograms() -> [Histogram] {
            (0...threads).map { _ in
                Histogram(counts: state.allocator.make(Histogram.bins, of: UInt32.self))
            }
        }
        errors = histograms()
        errorsAround = histograms()
        lumaErrors = histograms()
        super.init(name: "motion of squares", pieces: motion.rows)
        let squares = motion.rows * motion.columns
        // Luma of both frames, means and basis; two vectors, two errors, half of the means and the
        // basis for each square.
        cost.bytesRead =
            squares * 2 * (16 * 2 + 8 * 4) + motion.cellBytes
            + motion.levels[0].patches * Motion.vectorBytes
        cost.bytesWritten = squares * (2 * Motion.vectorBytes + 2 * 4 + 12 * 4)
    }

    /// The median of `Motion.errors`, the lower one of two, in levels.
    func median() -> Float { median(errors) }

    /// The same of `Motion.errorsAround`.
    func medianAround() -> Float { median(errorsAround) }

    /// The same of what luma alone differs by from the frame before.
    func lumaMedian() -> Float { median(lumaErrors) }

    private func median(_ histograms: [Histogram]) -> Float {
        let sum = histograms[histograms.count - 1]
        sum.clear()
        for worker in 0..<histograms.count - 1 { sum.add(histograms[worker]) }
        return sum.value(rank: (motion.rows * motion.columns - 1) / 2)
    }

    override func willRun() {
        guard motion.isBeforeKnown else { return }
        motion.settle()
        for worker in errors.indices {
            errors[worker].clear()
            errorsAround[worker].clear()
            lumaErrors[worker].clear()
        }
    }

    override func perform(piece: Int, worker: Int) {
        motion.kernels.pointee.surrounding_means(motion.means, motion.columns, motion.rows, piece)
        if motion.isBeforeKnown { compare(piece, worker) }
    }

    private func compare(_ piece: Int, _ worker: Int) {
        let flow = motion.flow + 2 * piece * motion.columns
        let finest = motion.levels[0]
        if motion.isMoving {
            motion.kernels.pointee.spread_flow(
                motion.settled, motion.cells, finest.columns, finest.rows, piece, motion.columns,
                flow)
        } else {
            flow.update(repeating: 0, count: 2 * motion.columns)
        }
        let at = piece * motion.columns
        let (errors, around) = (motion.errors + at, motion.errorsAround + at)
        let (now, before) = (motion.luma[motion.present], motion.luma[1 - motion.present])
        motion.kernels.pointee.square_errors(
            now.first, before.first, now.stride, motion.columns, motion.rows, piece,
            motion.squareNoise, flow, motion.drift + 2 * at, errors)
        for index in 0..<motion.columns { lumaErrors[worker].add(errors[index]) }
        motion.kernels.pointee.basis_errors(
            motion.means + Int(CK_MEANS) * at, motion.basis, motion.columns, motion.rows, piece,
            flow,
            exposure.factor, motion.alignedBasis + Int(CK_MEANS) * at, errors, around)
        for index in 0..<motion.columns {
            self.errors[worker].add(errors[index])
            errorsAround[worker].add(around[index])
        }
    }
}
