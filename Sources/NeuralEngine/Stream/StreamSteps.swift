// Everything of a stream but its network: from a frame to the start of the flow, and from the
// network's result to the picture.

internal import CKernels

/// The frame at the model's padded size: its own rows where they can be read in place.
final class StreamFrame {
    private let rows: FrameRows
    private let scaled: UnsafeMutablePointer<UInt8>
    private let stride: Int

    init(backend: Backend, geometry: FrameGeometry, threads: Int, in allocator: StreamAllocator) {
        rows = FrameRows(backend: backend, geometry: geometry, threads: threads)
        stride = 3 * geometry.paddedWidth
        scaled = allocator.make(stride * geometry.paddedHeight, of: UInt8.self)
    }

    func set(_ frame: UnsafePointer<UInt8>, stride: Int) {
        rows.frame = frame
        rows.frameStride = stride
    }

    /// Some rows, scaled if they have to be; before any of them are read.
    func fill(y: Int, count: Int, worker: Int) -> (UnsafePointer<UInt8>, stride: Int) {
        if let inPlace = rows.inPlace(y: y, count: count) { return (inPlace, rows.frameStride) }
        rows.copy(y: y, count: count, to: scaled + y * stride, worker: worker)
        return (UnsafePointer(scaled + y * stride), stride)
    }

    /// Rows that have been filled.
    func read(y: Int, count: Int) -> (UnsafePointer<UInt8>, stride: Int) {
        if let inPlace = rows.inPlace(y: y, count: count) { return (inPlace, rows.frameStride) }
        return (UnsafePointer(scaled + y * stride), stride)
    }
}

/// The frame steps of a streaming network, and what they remember: the last output, the network's
/// state, where textures are.
///
/// For each frame: `begin`; run all of `beginning`; then for each of K steps run the network's plan
/// and what `step` returns; `finish`. All by one thread, worker 0 of the pool that runs the steps.
/// With a `batch` the last step comes first, and those that are not due are left out.
///
///     stream.begin(pointers)
///     for work in stream.beginning { pool.run(work) }
///     for index in 0..<count {
///         plan.run()
///         pool.run(stream.step(index, of: count))
///     }
///     let isGood = stream.finish()
///
/// The network's input has 112 channels: the start z of the flow (16 · colour + 4 · row + column of
/// a square of 4 × 4 pixels), the frame in the same order, 11 channels of state, 4 of the
/// light of the whole frame, tau. Its result
/// has 75: residual (48), gate (16) and state (11), before their activations. With more than one
/// step the input must survive a run: name it among the plan's outputs.
public final class StreamSteps {
    /// Channels of the network's input.
    public static let inputChannels = 112
    /// Channels of its result.
    public static let resultChannels = 75
    /// Pixels on a side of a source texture.
    public static let sourceSize = Int(CK_SOURCE)
    /// What the padded size is a multiple of.
    public static let sizeMultiple = Motion.bandRows

    /// How much of the past is used, 0 (nothing: every frame by itself) to 1; others are clamped.
    /// Takes effect with the next `begin`.
    public var temporal: Float = 1
    /// Where in the source texture the picture lies; any number. Takes effect with the next
    /// `begin`.
    public var seed = 0

    /// Frames that are under way together; nil: every frame takes all of its steps at once. A new
    /// one starts empty. Not set while a frame is under way.
    public var batch: StreamBatch? {
        didSet {
            guard batch !== oldValue else { return }
            batch?.drop()
            // Nothing of the old one may be kept alive here, and so freed here later.
            state.slot = state.own
        }
    }

    /// Which frame the last step makes a picture of, and where that goes; nil while a batch fills.
    /// From `begin` to `finish`.
    public var picture: FramePointers? { end.pointers }

    /// To be run after `begin`, in this order.
    public let beginning: [ParallelWork]

    /// A vector for each square of 4 × 4 pixels, row by row, x then y, in pixels: what is there now
    /// was there plus the vector in the frame before.
    var flow: UnsafeBufferPointer<Float> {
        UnsafeBufferPointer(start: state.motion.flow, count: 2 * state.squares)
    }
    /// Trust in the past of each square, 0…1, before `temporal`.
    var trust: UnsafeBufferPointer<Float> {
        UnsafeBufferPointer(start: state.slot.trust, count: state.squares)
    }
    /// By how far each square's texture is off the grid: x then y, in pixels.
    var anchor: UnsafeBufferPointer<Float> {
        UnsafeBufferPointer(start: state.anchors[state.motion.present], count: 2 * state.squares)
    }
    /// The last output, planes of 16 bits.
    var past: [MarginPlane<UInt16>] { state.past }

    private let state: StreamState
    private let advance: StreamAdvanceStep
    private let end: StreamEndStep
    private let onward: StreamOnwardStep
    private let input: TensorView
    private let check: FiniteCheck

    /// - Parameters:
    ///   - geometry: its padded size is a multiple of `sizeMultiple`.
    ///   - input: `geometry.blocks(channels: inputChannels)`.
    ///   - result: `geometry.blocks(channels: resultChannels)`. After the last step its first 48
    ///     channels hold the change of the picture, [-1, 1]: what `ResidualRowsStep` takes.
    ///   - threads: of the pool that runs the steps.
    ///   - trustMax: tau of a square at a trust of 1: what the network was trained with, 0…1.
    ///   - check: gets to know of NaN and infinity; `finish` reads it.
    public init(
        backend: Backend, geometry: FrameGeometry, input: TensorView, result: TensorView,
        threads: Int, trustMax: Float = 0.95, check: FiniteCheck
    ) throws(EngineError) {
        precondition(
            input.shape == geometry.blocks(channels: Self.inputChannels)
                && geometry.fits(result.shape) && result.shape.blocks == 5,
            "input and result have the network's shapes")
        guard geometry.paddedWidth % Self.sizeMultiple == 0,
            geometry.paddedHeight % Self.sizeMultiple == 0
        else {
            throw .invalid(
                "a padded size of \(geometry.paddedWidth) × \(geometry.paddedHeight): "
                    + "a streaming network needs multiples of \(Self.sizeMultiple)")
        }
        guard let kernels = ck_stream_kernels_for(backend.instructionSet.code) else {
            throw .unsupportedInstructionSet(backend.instructionSet)
        }
        self.check = check
        self.input = input
        state = StreamState(
            backend: backend, kernels: kernels, geometry: geometry, threads: threads,
            trustMax: trustMax)
        let motion = state.motion
        let errors = SquareErrorStep(state, threads: threads)
        beginning =
            [
                StreamFrameStep(state, input: input),
                PatchChangeStep(motion: motion),
            ]
            + motion.levels.indices.reversed().map { PatchSearchStep(motion: motion, level: $0) }
            + [
                errors, StreamTrustStep(state, errors: errors),
                StreamAnchorStep(state), StreamStartStep(state, input: input),
            ]
        advance = StreamAdvanceStep(state, input: input, result: result, check: check)
        end = StreamEndStep(
            state, input: input, result: result, geometry: geometry, frameKernels: backend.kernels,
            check: check)
        onward = StreamOnwardStep(advance: advance, end: end, columns: motion.columns)
    }

    /// Bytes that the steps allocate at most.
    public static func byteCount(_ geometry: FrameGeometry, threads: Int) -> Int {
        let margin = 2 * Int(CK_MARGIN)
        let pixels = (geometry.paddedWidth + margin + 16) * (geometry.paddedHeight + margin)
        let source = Int(CK_SOURCE_STRIDE) * Int(CK_SOURCE_STRIDE) * MemoryLayout<UInt32>.stride
        let histograms = (2 * threads + 3) * Histogram.bins * MemoryLayout<UInt32>.stride
        // Two lumas, past, its aligned copy, the start, the frame; the pyramids; what squares and
        // patches have; means.
        let perPixel = 4 + 6 + 6 + 6 + 3 + 3 + 7 + 2 + 3
        let rows = threads * 12 * (geometry.frameWidth + geometry.modelWidth + 64)
        // The steadied frame, and eight bytes for each 8 × 8 pixels of it.
        let exposure = 4 * geometry.frameWidth * geometry.frameHeight
        return perPixel * pixels + source + histograms + rows + exposure + 16384
    }

    /// Bytes that they have allocated, but for rows that are scaled.
    var byteCount: Int { state.allocator.byteCount }

    /// Sets the style's source texture, three planes of `sourceSize`² bytes, 255 is 1: a copy of it.
    /// Until then it is 0.5 everywhere.
    ///
    /// Not while a frame is under way.
    public func setSource(_ planes: UnsafeBufferPointer<UInt8>) {
        precondition(planes.count == 3 * Self.sourceSize * Self.sourceSize, "a source's size")
        state.setSource { planes[$0] }
    }

    /// The next frame; it is steadied first where the camera's exposure has jumped. `pointers` must
    /// stay valid until `finish`; the output is written only if frame and model have the same size,
    /// by the last step.
    ///
    /// - Realtime: safe
    public func begin(_ pointers: FramePointers) {
        // Without a past every frame is by itself.
        let hasPast = temporal > 0  // NaN is no share.
        if !hasPast { state.exposure.reset() }
        let pointers = hasPast ? state.exposure.steady(pointers) : pointers
        if let batch {
            state.slot = batch.begin(pointers)
            end.pointers = batch.oldest(pointers)
        } else {
            state.slot.frame.set(pointers.frame, stride: pointers.frameStride)
            end.pointers = pointers
        }
        state.slot.temporal = hasPast ? min(temporal, 1) : 0
        let size = Self.sourceSize
        // Offsets as in training.
        let turn = ((seed % size) + size) % size
        state.offset = (Int32(turn * 197 % size), Int32(turn * 359 % size))
        state.motion.nextFrame()
    }

    /// Whether there is a frame for step `index` already: always, but in a batch that is filling.
    ///
    /// - Realtime: safe
    public func isDue(_ index: Int) -> Bool { batch.map { $0.slot(of: index) != nil } ?? true }

    /// What to run after the network's run `index` of `count`: the share of the way left that it
    /// goes is 1 / (count − index).
    ///
    /// - Realtime: safe
    public func step(_ index: Int, of count: Int) -> ParallelWork {
        precondition(index >= 0 && index < count, "steps are counted from 0")
        if let slot = batch?.slot(of: index) { state.slot = slot }
        let input = batch?.inputs[index] ?? input
        (end.count, end.input) = (count, input)
        guard index + 1 < count else { return end }
        (advance.index, advance.count, advance.input) = (index, count, input)
        guard let batch else { return advance }
        onward.next = batch.inputs[index + 1]
        return onward
    }

    /// Ends the frame: it is the next one's past.
    ///
    /// - Returns: false if the network's result held NaN or infinity: nothing of the output may be
    ///   shown, and the past is forgotten.
    /// - Realtime: safe
    public func finish() -> Bool {
        let isGood = check.takeResult()
        if isGood { state.motion.isBeforeKnown = true } else { reset() }
        return isGood
    }

    /// Forgets earlier frames, those under way included: a cut, a pause, another camera.
    ///
    /// - Realtime: safe
    public func reset() {
        state.motion.reset()
        state.light.reset()
        state.exposure.reset()
        batch?.drop()
    }
}

/// What lives from frame to frame.
final class StreamState {
    let allocator = StreamAllocator()
    let kernels: UnsafePointer<ck_stream_kernels>
    /// For frames that take all steps at once.
    let own: StreamSlot
    /// Of the frame that is worked on.
    var slot: StreamSlot
    let motion: Motion
    /// Last output: three planes, 65535 is 1.
    let past: [MarginPlane<UInt16>]
    /// 16 numbers a square.
    let state: UnsafeMutablePointer<Float>
    /// Displacement of the texture, a pair a square, of two frames.
    let anchors: [UnsafeMutablePointer<Float>]
    /// The present frame's before torn texture is mended.
    let moved: UnsafeMutablePointer<Float>
    let light: FrameLight
    let exposure: FrameExposure
    /// tau where trust is 1.
    let trustMax: Float
    var offset: (x: Int32, y: Int32) = (0, 0)

    private let source: UnsafeMutablePointer<UInt32>
    var squares: Int { motion.columns * motion.rows }

    init(
        backend: Backend, kernels: UnsafePointer<ck_stream_kernels>, geometry: FrameGeometry,
        threads: Int, trustMax: Float
    ) {
        self.trustMax = trustMax
        self.kernels = kernels
        let allocator = allocator
        let (width, height) = (geometry.paddedWidth, geometry.paddedHeight)
        own = StreamSlot(
            backend: backend, geometry: geometry, threads: threads, in: allocator)
        slot = own
        motion = Motion(kernels: kernels, width: width, height: height, in: allocator)
        past = MarginPlane.planes(3, width: width, height: height, in: allocator)
        let squares = width / 4 * (height / 4)
        state = allocator.make(16 * squares, of: Float.self)
        anchors = (0..<2).map { _ in allocator.make(2 * squares, of: Float.self) }
        moved = allocator.make(2 * squares, of: Float.self)
        light = FrameLight(in: allocator)
        exposure = FrameExposure(kernels: kernels, geometry: geometry, in: allocator)
        source = allocator.make(Self.sourceStride * Self.sourceStride, of: UInt32.self)
        setSource { _ in 128 }
    }

    private static let sourceStride = Int(CK_SOURCE_STRIDE)

    /// Copies a texture and repeats it over the margins.
    func setSource(_ texel: (Int) -> UInt8) {
        let (size, stride) = (Int(CK_SOURCE), Self.sourceStride)
        for y in 0..<stride {
            for x in 0..<stride {
                let at = y % size * size + x % size
                source[y * stride + x] = (0..<3).reduce(0) { texels, plane in
                    texels | UInt32(texel(plane * size * size + at)) << (8 * plane)
                }
            }
        }
    }

    /// The past as the kernels take it.
    func pastOfFrame() -> ck_stream_past {
        ck_stream_past(
            columns: motion.columns, rows: motion.rows, past: past[0].first,
            past_stride: past[0].stride, plane_stride: past[1].first - past[0].first,
            state: state, anchor: anchors[1 - motion.present], source: source,
            offset_x: offset.x, offset_y: offset.y)
    }
}
