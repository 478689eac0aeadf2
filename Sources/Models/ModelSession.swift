// A network prepared for one frame size: what the transform thread calls for every frame.

public import NeuralEngine
internal import Realtime
internal import Synchronization

/// Frames in, frames out: output = clamp(frame + strength · residual), the residual computed at the
/// model's size and scaled to the frame's, so that detail the network did not mean to change stays
/// sharp.
///
/// Made by a model's `prepare`. One thread at a time may call `process`: it becomes worker 0 of the
/// engine's threads. That is why the session may cross threads although it is not protected.
public final class ModelSession: @unchecked Sendable {
    /// Sizes of frame and model.
    public let geometry: FrameGeometry
    /// Threads of the engine, the caller of `process` included.
    public var threads: Int { pool.threads }
    /// Bytes of activations, packed weights and scratch memory.
    public var byteCount: Int { whole.plan.byteCount + (partial?.plan.byteCount ?? 0) }
    /// Names of the steps of a frame, in order.
    public var stepNames: [String] { steps.map(\.name) }
    /// In what the convolutions are multiplied, and how many in each, for people:
    /// `int8 (12), f32 (6)`; with reuse, also in frames of which a part is computed.
    public let precision: String
    /// What each of them has to do.
    public var stepCosts: [StepCost] { steps.map(\.cost) }
    /// What share of each of them the last frame took.
    var stepShares: [Double] { isPartial ? steps.map(\.share) : steps.map { _ in 1 } }
    /// Share of the work that the last frame took: 1 without reuse, 0 where nothing was to do.
    public private(set) var workShare = 1.0
    private var steps: [ParallelWork] { (partial ?? whole).steps }
    /// Whether the last frame went through the plan that can compute what changed.
    private(set) var isPartial = false

    private let pool: WorkerPool
    // Computes a frame as a whole, as fast as that can be.
    private let whole: FrameNetwork
    // Can compute what changed; nil if nothing is to be reused.
    let partial: FrameNetwork?
    let reuse: TemporalReuse?
    private let check: FiniteCheck
    // Atomic, as bits: written by the control thread, read before each frame; nothing goes with it.
    private let strengthBits = Atomic<UInt32>(Float(1).bitPattern)

    /// The look's.
    var strength: Float {
        get { Float(bitPattern: strengthBits.load(ordering: .relaxed)) }
        set { strengthBits.store(newValue.bitPattern, ordering: .relaxed) }
    }

    /// - Parameters:
    ///   - tuning: chooses how convolutions are computed.
    ///   - sensitivities: what changes do, where that is known.
    init(
        _ factory: NetworkFactory, geometry: FrameGeometry, tuning: ConvolutionTuning,
        precisions: Set<Precision>, reuses: Bool, sensitivities: ReuseSensitivities?
    ) throws(EngineError) {
        let check = FiniteCheck()
        let parts = try factory.plan(geometry, tuning, precisions, reuses: false)
        whole = FrameNetwork(
            backend: factory.backend, geometry: geometry, plan: parts.plan, image: parts.image,
            residual: parts.residual, check: check, sensitivities: nil)
        partial =
            reuses
            ? try factory.partial(geometry, precisions, known: sensitivities, check: check) : nil
        reuse = partial?.reuse
        if parts.plan.precisions.contains(.int8) { reuse?.limitCrowdedShare(to: Self.int8Share) }
        precision =
            Self.text(parts.plan.precisions)
            + (partial.map { "; changes: \(Self.text($0.plan.precisions))" } ?? "")
        self.geometry = geometry
        pool = factory.pool
        self.check = check
        warmUp()
    }

    /// From which share of the work on a whole network in int8 is faster than one for changes in
    /// bf16: 2.9 ms, against 4.1 ms times 1.4, what a tile computed alone costs more. Not measured
    /// at each start: pictures should not depend on that.
    private static let int8Share = 0.45

    private static func text(_ precisions: [Precision]) -> String {
        Precision.allCases.reversed().compactMap { precision in
            let count = precisions.count { $0 == precision }
            return count > 0 ? "\(precision.rawValue) (\(count))" : nil
        }.joined(separator: ", ")
    }

    /// Transforms one frame.
    ///
    /// - Parameters:
    ///   - rgb: RGB24, full range, `geometry.frameHeight` rows. Not changed.
    ///   - strideBytes: from row to row of `rgb`.
    ///   - output: rows for the result; `rgb` itself, or no part of it.
    ///   - outputStrideBytes: from row to row of `output`.
    ///   - strength: 0 (the input, bit by bit) to 1 (the full effect); others are clamped.
    /// - Returns: false if the network's result held NaN or infinity: nothing of `output` may then
    ///   be shown.
    /// - Realtime: allocates nothing; the engine's other threads share the work
    public func process(
        rgb: UnsafePointer<UInt8>, strideBytes: Int, into output: UnsafeMutablePointer<UInt8>,
        strideBytes outputStrideBytes: Int, strength: Float
    ) -> Bool {
        process(
            FramePointers(
                frame: rgb, frameStride: strideBytes, output: output,
                outputStride: outputStrideBytes, strength: strength),
            stepNanoseconds: nil)
    }

    /// As `process`, and writes the time of each step to `stepNanoseconds` (as many as `stepNames`).
    func process(
        _ pointers: FramePointers, stepNanoseconds: UnsafeMutablePointer<Int64>?
    ) -> Bool {
        // NaN is no strength either.
        guard pointers.strength > 0 else {
            copy(pointers)
            workShare = 0
            return true
        }
        var pointers = pointers
        pointers.strength = min(pointers.strength, 1)
        // The whole network lacks the step that compares frames.
        let compared = compare(pointers, stepNanoseconds)
        let network = isPartial ? partial ?? whole : whole
        network.set(pointers)
        for index in (isPartial ? 1 : 0)..<network.steps.count {
            let start = stepNanoseconds == nil ? 0 : MonotonicClock.nowNanoseconds
            pool.run(network.steps[index])
            stepNanoseconds?[compared + index - (isPartial ? 1 : 0)] =
                MonotonicClock.nowNanoseconds - start
        }
        workShare = isPartial ? reuse?.workShare ?? 1 : 1
        let isGood = check.takeResult()
        // What is not finite must not be reused.
        if !isGood { reuse?.reset() }
        return isGood
    }

    /// Decides which network computes the frame.
    ///
    /// - Returns: how many steps there are for that: 1, or 0 without reuse.
    private func compare(
        _ pointers: FramePointers, _ stepNanoseconds: UnsafeMutablePointer<Int64>?
    ) -> Int {
        guard let partial, let reuse else { return 0 }
        let start = stepNanoseconds == nil ? 0 : MonotonicClock.nowNanoseconds
        var choice = reuse.beginFrame()
        if choice != .elsewhere {
            partial.set(pointers)
            pool.run(partial.steps[0])
        }
        if choice == .afterComparison { choice = reuse.decide() }
        if choice == .elsewhereRemembered { pool.run(partial.steps[1]) }
        isPartial = choice == .here
        stepNanoseconds?[0] = MonotonicClock.nowNanoseconds - start
        return 1
    }

    /// Forgets earlier frames: a cut, a pause, another camera. The next frame is computed as a whole.
    ///
    /// - Realtime: safe
    public func reset() { reuse?.reset() }

    /// Shape of the network's image and of its residual.
    var networkShape: TensorShape { whole.image.shape }

    /// Runs the network alone.
    ///
    /// - Parameter planes: channels × height × width of `networkShape`, row by row.
    /// - Returns: the residual, in the same order.
    func residual(of planes: [Float]) -> [Float] {
        planes.withUnsafeBufferPointer { whole.image.load(planar: $0) }
        whole.plan.run()
        return whole.residual.planar()
    }

    private func copy(_ pointers: FramePointers) {
        guard UnsafePointer(pointers.output) != pointers.frame else { return }
        for y in 0..<geometry.frameHeight {
            (pointers.output + y * pointers.outputStride).update(
                from: pointers.frame + y * pointers.frameStride, count: 3 * geometry.frameWidth)
        }
    }

    /// Touches all memory and lets BLAS make its buffers, so that the first frame is no slower.
    private func warmUp() {
        let stride = 3 * geometry.frameWidth
        let frame = UnsafeMutablePointer<UInt8>.allocate(capacity: stride * geometry.frameHeight)
        defer { frame.deallocate() }
        frame.initialize(repeating: 0, count: stride * geometry.frameHeight)
        let pointers = FramePointers(
            frame: frame, frameStride: stride, output: frame, outputStride: stride, strength: 1)
        // The second of these computes what changed.
        for _ in 0..<(reuse == nil ? 0 : 2) { _ = process(pointers, stepNanoseconds: nil) }
        whole.set(pointers)
        for step in whole.steps { pool.run(step) }
        _ = check.takeResult()
        reset()
    }
}
