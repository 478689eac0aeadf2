// From motion to the start of the flow, and from the network's result to the picture.

internal import CKernels

/// How far the past can be trusted, and where textures have moved. One row of squares a piece.
///
/// That of a square is 0.3 + (m − 0.3) · clamp(1 − (e / 2.5 n − 1) / 2, 0, 1), m being 0.98 where it
/// stands and 0.75 where it moves: what is trusted wholly is never painted again, and what was moved
/// is a little wrong. e is what luma and colour differ by after the motion from the frame before and
/// from the basis, n its median over the picture and at least one level: what noise and changes of
/// exposure do everywhere. There are two e (`Motion.errors`, `Motion.errorsAround`), each with its n;
/// the greater e / n counts.
final class StreamTrustStep: ParallelWork {
    private static let noiseMin: Float = 1
    /// Where half of the picture differs by more, it is another scene.
    private static let cutLevels: Float = 32

    private let state: StreamState
    private let errors: SquareErrorStep
    private var hasPast: Float = 0
    private var errorScale: Float = 1
    private var aroundScale: Float = 1
    private var frames: UInt8 = 0

    init(_ state: StreamState, errors: SquareErrorStep) {
        self.state = state
        self.errors = errors
        super.init(name: "trust", pieces: state.motion.rows)
        // Two vectors, the anchor before and two errors; trust and the anchor now.
        cost.bytesRead = state.squares * (3 * Motion.vectorBytes + 2 * 4)
        cost.bytesWritten = state.squares * (Motion.vectorBytes + 4)
    }

    override func willRun() {
        hasPast = 0
        frames &+= 1
        guard state.motion.isBeforeKnown else { return }
        errorScale = 1 / (2.5 * max(errors.median(), Self.noiseMin))
        aroundScale = 1 / (2.5 * max(errors.medianAround(), Self.noiseMin))
        let lumaMedian = errors.lumaMedian()
        state.motion.learn(median: lumaMedian)
        if lumaMedian <= Self.cutLevels {
            hasPast = 1
        } else {
            // The light of another scene says nothing of this one.
            state.light.reset()
            state.exposure.forgetGain()
        }
    }

    override func perform(piece: Int, worker: Int) {
        let motion = state.motion
        let at = piece * motion.columns
        var past = state.pastOfFrame()
        state.kernels.pointee.trust_squares(
            &past, piece, motion.flow + 2 * at, motion.drift + 2 * at, motion.errors + at,
            errorScale, motion.errorsAround + at, aroundScale, hasPast, phase,
            state.slot.trust + at, state.moved + 2 * at)
    }

    /// Bits of the frame's number in reverse: van der Corput's sequence, 0, 1/2, 1/4, 3/4, …
    private var phase: Float {
        var (bits, reversed) = (frames, UInt8(0))
        for _ in 0..<8 {
            reversed = reversed << 1 | bits & 1
            bits >>= 1
        }
        return Float(reversed) / 256
    }
}

/// Texture that motion has torn is mended. One row of squares a piece.
final class StreamAnchorStep: ParallelWork {
    private let state: StreamState

    init(_ state: StreamState) {
        self.state = state
        super.init(name: "anchors", pieces: state.motion.rows)
        cost.bytesRead = state.squares * Motion.vectorBytes
        cost.bytesWritten = cost.bytesRead
    }

    override func perform(piece: Int, worker: Int) {
        let motion = state.motion
        state.kernels.pointee.mend_anchors(
            state.moved, motion.columns, motion.rows, piece,
            state.anchors[motion.present] + 2 * piece * motion.columns)
    }
}

/// The start of the flow between the source at its anchor and the aligned past, and the state. One
/// row of squares a piece.
final class StreamStartStep: ParallelWork {
    private let state: StreamState
    private let input: TensorView

    init(_ state: StreamState, input: TensorView) {
        self.state = state
        self.input = input
        super.init(name: "start", pieces: state.motion.rows)
        cost.bytesRead = state.squares * 48 * 3
        cost.bytesWritten = state.squares * (64 * 4 + 48 * 2)
    }

    override func willRun() {
        let motion = state.motion
        state.light.follow(state.slot.frame, half: motion.levels[0].planes[motion.present])
    }

    override func perform(piece: Int, worker: Int) {
        let motion = state.motion
        let at = piece * motion.columns
        var past = state.pastOfFrame()
        state.kernels.pointee.start_squares(
            &past, piece, motion.flow + 2 * at, state.slot.trust + at, state.slot.temporal,
            state.trustMax, state.light.block, state.anchors[motion.present] + 2 * at,
            state.slot.aligned + 48 * at,
            input.pixel(block: 0, y: piece, x: 0), input.shape.blockStride)
    }
}

/// A step of the flow that is not the last. One row of squares a piece.
final class StreamAdvanceStep: ParallelWork {
    /// Which of a frame's steps. From the first the network's state goes on, and the start is kept.
    var index = 0
    /// Steps of a frame, 2 or more.
    var count = 2
    /// The network's, of this step.
    var input: TensorView

    private let state: StreamState
    private let result: TensorView
    private let check: FiniteCheck

    init(_ state: StreamState, input: TensorView, result: TensorView, check: FiniteCheck) {
        self.state = state
        self.input = input
        self.result = result
        self.check = check
        super.init(name: "advance", pieces: state.motion.rows)
        // The network's result, the frame, the aligned past and its trust, the start and z; z and the state.
        cost.bytesRead = state.squares * (80 * 4 + 48 + 48 * 2 + 4 + 48 * 2 + 48 * 4)
        cost.bytesWritten = state.squares * (48 * 4 + 16 * 4)
    }

    override func perform(piece: Int, worker: Int) {
        let columns = state.motion.columns
        let at = piece * columns
        let (rgb, stride) = state.slot.frame.read(y: 4 * piece, count: 4)
        check.report(
            state.kernels.pointee.advance_squares(
                result.pixel(block: 0, y: piece, x: 0), result.shape.blockStride, rgb, stride,
                state.slot.aligned + 48 * at, state.slot.trust + at, state.slot.temporal, columns,
                1 / Float(count - index), 1 / Float(count),
                index == 0 ? state.state + 16 * at : nil,
                input.pixel(block: 0, y: piece, x: 0), input.shape.blockStride,
                state.slot.start + 48 * at, state.slot.kept + at, index == 0 ? 1 : 0))
    }
}

/// A step of a stream batch that is not the last: what it leaves is the next step's input, for the
/// next frame's time. The first one's estimate of its end is the next frame's past. One row of
/// squares a piece.
final class StreamOnwardStep: ParallelWork {
    /// Input of the next step.
    var next: TensorView

    private let advance: StreamAdvanceStep
    private let end: StreamEndStep
    private let columns: Int

    init(advance: StreamAdvanceStep, end: StreamEndStep, columns: Int) {
        self.advance = advance
        self.end = end
        self.columns = columns
        next = advance.input
        super.init(name: "onward", pieces: advance.pieces)
        cost.bytesRead = next.shape.count * 4 + advance.cost.bytesRead
        cost.bytesWritten = next.shape.count * 4 + advance.cost.bytesWritten
    }

    override func perform(piece: Int, worker: Int) {
        advance.perform(piece: piece, worker: worker)
        let input = advance.input
        for block in 0..<input.shape.blocks {
            next.pixel(block: block, y: piece, x: 0).update(
                from: input.pixel(block: block, y: piece, x: 0), count: 16 * columns)
        }
        // Nobody needs the network's result any more: it is overwritten.
        if advance.index == 0 { end.remember(piece, way: nil) }
    }
}

/// The last step: the next frame's past and, if frame and model have the same size, the picture.
/// One row of squares a piece.
final class StreamEndStep: ParallelWork {
    /// Set before each run by the thread that runs.
    var pointers: FramePointers?
    /// Steps of a frame. With one, the network's state goes on from it.
    var count = 1
    /// The network's, of this step.
    var input: TensorView

    private let state: StreamState
    private let result: TensorView
    private let geometry: FrameGeometry
    private let frameKernels: UnsafePointer<ck_kernels>
    private let check: FiniteCheck

    init(
        _ state: StreamState, input: TensorView, result: TensorView, geometry: FrameGeometry,
        frameKernels: UnsafePointer<ck_kernels>, check: FiniteCheck
    ) {
        self.state = state
        self.input = input
        self.result = result
        self.geometry = geometry
        self.frameKernels = frameKernels
        self.check = check
        super.init(name: "end", pieces: state.motion.rows)
        // With one step; several read their start and z as well.
        cost.bytesRead = state.squares * (80 * 4 + 48 * 3 + 2 * 8 * 4)
        cost.bytesWritten = state.squares * (64 * 4 + 48 * 3 + 8 * 4)
    }

    override func perform(piece: Int, worker: Int) {
        if count == 1 {
            remember(piece, way: nil)
        } else {
            let at = piece * state.motion.columns
            var way = ck_stream_way(
                start: state.slot.start + 48 * at, kept: state.slot.kept + at,
                z: input.pixel(block: 0, y: piece, x: 0), block_stride: input.shape.blockStride,
                part: 1 / Float(count))
            remember(piece, way: &way)
        }
        if geometry.isSameSize { write(piece) }
    }

    /// The end of a row of squares as the next frame's past, and its change in the result; with a
    /// `way`, the mean of all its steps' ends.
    func remember(_ piece: Int, way: UnsafePointer<ck_stream_way>?) {
        let columns = state.motion.columns
        let at = piece * columns
        let (rgb, stride) = state.slot.frame.read(y: 4 * piece, count: 4)
        let past = state.past[0]
        check.report(
            state.kernels.pointee.end_squares(
                result.pixel(block: 0, y: piece, x: 0), result.shape.blockStride, rgb, stride,
                state.slot.aligned + 48 * at, state.slot.trust + at, state.slot.temporal, columns,
                count == 1 ? state.state + 16 * at : nil, past.row(4 * piece), past.stride,
                state.past[1].first - past.first, state.motion.means + Int(CK_MEANS) * at,
                state.motion.alignedBasis + Int(CK_MEANS) * at,
                state.motion.basis + Int(CK_MEANS) * at, way))
        for plane in state.past { plane.repeatEdges(rows: 4 * piece..<4 * piece + 4) }
    }

    // While the row's change is in the cache.
    private func write(_ row: Int) {
        guard let pointers, 4 * row < geometry.modelHeight else { return }
        check.report(
            frameKernels.pointee.shuffle_add_rgb(
                result.pixel(block: 0, y: row, x: 0), result.shape.blockStride,
                min(4, geometry.modelHeight - 4 * row), geometry.modelWidth,
                pointers.frame + 4 * row * pointers.frameStride, pointers.frameStride,
                pointers.strength, pointers.output + 4 * row * pointers.outputStride,
                pointers.outputStride))
    }
}
