// Decides, frame by frame, what of the last frame's work still holds.

internal import CKernels

/// Most of a camera's frame is the one before, plus noise. docs/temporal-reuse.md has the method
/// and its figures.
///
/// Three levels of lossy comparison, all in the same unit, the change of the final picture:
/// - cells of 8 × 8 pixels of the frame against what the network last saw there, with a threshold
///   that follows the camera's noise;
/// - tiles of a layer, computed only when what has changed beneath them adds up to something;
/// - cells of a layer's result, passed on only when they have changed.
///
/// What is not passed on is not forgotten: cells and tiles are compared with what later layers
/// have really seen. A few cells are computed anew in each frame, in rotation.
/// Belongs to the thread that runs the plan, but for `changedCells`, which workers read.
public final class TemporalReuse {
    /// What may be lost, in levels of the picture that comes out.
    struct Settings {
        /// Threshold of a change of the frame: at least, for cameras without noise.
        var frameMinimum: Float = 1.5
        /// At most, for those with much.
        var frameMaximum: Float = 2.1
        /// Between the two: this many times the camera's noise.
        var noiseFactor: Float = 1.5
        var limits = PlanReuse.Limits(tile: 0.8, cell: 0.5)
        /// In how many frames everything is computed anew once.
        var refreshFrames = 128
        /// From this share of the cells or of the work on, the whole network is faster. At most;
        /// `ModelSession` measures it.
        var crowdedShare = 0.7
        /// How many frames pass before calm is looked for.
        var pauseFrames = 15
        /// Calm is this much less than crowded, or the two would alternate.
        var calmShare = 0.8
    }

    /// Which network computes a frame.
    public enum Choice {
        /// This one.
        case here
        /// The other one.
        case elsewhere
        /// The other one; and this frame is what the next one is compared with.
        case elsewhereRemembered
        /// `decide` says, after the comparison.
        case afterComparison
    }

    /// What is known of the frame before the next one.
    private enum Past {
        /// Nothing.
        case none
        /// All of it was computed here.
        case whole
        /// Part of it was computed here.
        case part
        /// Too much changed: it was computed elsewhere, and calm is looked for.
        case crowded
    }

    var settings = Settings()
    /// Share of a whole frame's work that the last one took.
    public var workShare: Double { past == .part ? plan.workShare : 1 }
    /// Noise of the camera as it would show in the picture, levels: root mean square.
    public var noiseLevels: Float { noise < 0 ? 0 : noise.squareRoot() }

    let plan: PlanReuse
    let memory: FrameMemory
    private var past = Past.none
    // levels²; negative before the first comparison.
    private var noise: Float = -1
    private let histogram: UnsafeMutablePointer<Int32>
    private var refreshed = 0.0
    private var nextBlock = 0
    // Frames to come until calm is looked for.
    private var pauseLeft = 0

    // Buckets by exponent and the first three bits of the fraction: 9 % wide.
    private static let bucketShift: UInt32 = 20
    private static let buckets = 1 << 11
    // Side of what is refreshed at a time, in cells: one tile of the deepest scale.
    private static let refreshEdge = 8

    init(plan: PlanReuse, memory: FrameMemory) {
        self.plan = plan
        self.memory = memory
        histogram = .allocate(capacity: Self.buckets)
        histogram.initialize(repeating: 0, count: Self.buckets)
    }

    /// Bytes that it takes besides the plan.
    public static func byteCount(_ geometry: FrameGeometry) -> Int {
        FrameMemory.byteCount(geometry)
    }

    deinit { histogram.deallocate() }

    /// Forgets the past: the next frame is computed as if it were the first.
    ///
    /// - Realtime: safe
    public func reset() {
        past = .none
        noise = -1
        pauseLeft = 0
    }

    /// Sets from which share of the work on the whole network is faster, if that is less than usual.
    public func limitCrowdedShare(to share: Double) {
        settings.crowdedShare = min(settings.crowdedShare, share)
    }

    /// Before each frame.
    ///
    /// - Realtime: safe
    public func beginFrame() -> Choice {
        if pauseLeft > 0 {
            pauseLeft -= 1
            if pauseLeft > 1 { return .elsewhere }
            return pauseLeft == 1 ? remember() : .afterComparison
        }
        return past == .none ? computeAll() : .afterComparison
    }

    /// The cells of a row that have changed hold numbers above 0, or NaN; nil: take all.
    func changedCells(row: Int) -> UnsafePointer<Float>? {
        past == .part ? UnsafePointer(plan.input.cell(row: row, column: 0)) : nil
    }

    /// After the comparison of a frame.
    ///
    /// - Realtime: safe
    public func decide() -> Choice {
        let limit = settings.crowdedShare * Double(memory.cellColumns * memory.cellRows)
        if past == .crowded {
            let changed = markChanges(forced: .none)
            return Double(changed) > settings.calmShare * limit ? pause() : computeAll()
        }
        followNoise()
        let forced = nextRefresh()
        let changed = markChanges(forced: forced)
        // More came of the last frame's changes than could be foreseen.
        if past == .part && plan.workShare > settings.crowdedShare { return pause() }
        // A cut, or the beginning of something: the next frame tells.
        if Double(changed) > limit { return remember() }
        past = .part
        plan.computeChanges(settings.limits, forced: forced)
        return .here
    }

    private func computeAll() -> Choice {
        past = .whole
        plan.computeAll()
        return .here
    }

    private func remember() -> Choice {
        past = .crowded
        return .elsewhereRemembered
    }

    private func pause() -> Choice {
        past = .crowded
        pauseLeft = settings.pauseFrames
        return .elsewhere
    }

    /// The noise is what a quarter of the cells do not exceed; it may fall at once and rises slowly,
    /// or a moving camera would pass for a noisy one.
    private func followNoise() {
        let cells = memory.cellColumns * memory.cellRows
        for index in 0..<cells {
            histogram[Int(min(memory.changes[index].bitPattern >> Self.bucketShift, 2047))] += 1
        }
        var bucket = 0
        var seen = Int32(0)
        while seen + histogram[bucket] <= Int32(cells / 4) && bucket < Self.buckets - 1 {
            seen += histogram[bucket]
            bucket += 1
        }
        histogram.update(repeating: 0, count: Self.buckets)
        let found = Float(bitPattern: UInt32(bucket) << Self.bucketShift)
        if noise < 0 {
            noise = found
        } else if found < noise {
            noise += 0.5 * (found - noise)
        } else {
            noise = min(found, max(noise, 0.01) * (1 + 1.0 / 32))
        }
    }

    private func markChanges(forced: CellRectangle) -> Int {
        let factor = settings.noiseFactor
        let threshold = min(
            max(factor * factor * noise, settings.frameMinimum * settings.frameMinimum),
            settings.frameMaximum * settings.frameMaximum)
        plan.input.willChange()
        var count = 0
        for row in 0..<memory.cellRows {
            let marks = plan.input.cell(row: row, column: 0)
            let changes = memory.changes + row * memory.cellColumns
            for column in 0..<memory.cellColumns {
                let isChanged = !(changes[column] <= threshold)
                marks[column] = isChanged ? changes[column] : 0
                count += isChanged ? 1 : 0
            }
        }
        for row in forced.rows {
            let marks = plan.input.cell(row: row, column: 0)
            for column in forced.columns {
                marks[column] = max(
                    memory.changes[row * memory.cellColumns + column], .leastNormalMagnitude)
            }
        }
        return count
    }

    /// A few squares of cells in a row, so that all have had their turn after `refreshFrames`.
    private func nextRefresh() -> CellRectangle {
        let edge = Self.refreshEdge
        let columns = (memory.cellColumns + edge - 1) / edge
        let rows = (memory.cellRows + edge - 1) / edge
        refreshed += Double(columns * rows) / Double(settings.refreshFrames)
        let (row, column) = nextBlock.quotientAndRemainder(dividingBy: columns)
        let count = min(Int(refreshed), columns - column)
        guard count > 0 else { return .none }
        refreshed -= Double(count)
        nextBlock = (nextBlock + count) % (columns * rows)
        return CellRectangle(
            rows: row * edge..<min((row + 1) * edge, memory.cellRows),
            columns: column * edge..<min((column + count) * edge, memory.cellColumns))
    }
}
