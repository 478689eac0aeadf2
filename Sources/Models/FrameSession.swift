// What the transform thread calls for every frame, whatever the architecture.

public import NeuralEngine

/// A model of any architecture. Immutable: sessions may share it.
public protocol FrameModel: Sendable {
    /// The file the weights came from, with title, styles and licence.
    var file: ModelFile { get }

    /// Throws unless the weights can draw this.
    func check(_ look: Look) throws(ModelError)

    /// Plans memory, packs weights and starts threads for one size; runs to warm up. Control thread.
    func prepare(_ request: SessionRequest) throws(ModelError) -> any FrameSession
}

/// A model prepared for one size. Made by `FrameModel.prepare`; one thread at a time may call `process`
/// and `reset`: it becomes worker 0 of the engine's threads.
public protocol FrameSession: AnyObject, Sendable {
    /// Sizes of frame and model.
    var geometry: FrameGeometry { get }
    /// Threads of the engine, the caller of `process` included.
    var threads: Int { get }
    /// Bytes of activations, packed weights and scratch memory. Not while frames run.
    var byteCount: Int { get }
    /// In what the convolutions are multiplied, and how many in each, for people.
    var precision: String { get }
    /// Share of the work that the last frame took: 1 where nothing was reused.
    var workShare: Double { get }
    /// By how many frames the last picture was later than its own, 0…3.
    var delayFrames: Int { get }
    /// Names of the steps of a frame, in order. Not while frames run.
    var stepNames: [String] { get }
    /// What each of them has to do. Not while frames run.
    var stepCosts: [StepCost] { get }

    /// Transforms one frame.
    ///
    /// - Parameters:
    ///   - pointers: the frame as RGB24, full range, `geometry.frameHeight` rows; where the result
    ///     goes, which may be the frame itself; and the strength, 0 (the input, bit by bit) to 1.
    ///   - stepNanoseconds: is given the time of each step, as many as `stepNames`.
    /// - Returns: what became of it.
    /// - Realtime: allocates nothing; the engine's other threads share the work
    func transform(
        _ pointers: FramePointers, stepNanoseconds: UnsafeMutablePointer<Int64>?
    ) -> FrameResult

    /// Lets later frames look otherwise. What takes time is done on another thread; styles fade.
    /// Control thread.
    ///
    /// - Parameter fadeSeconds: in which one style turns into the other.
    func change(to look: Look, fadeSeconds: Double) throws(ModelError)

    /// Forgets earlier frames: a cut, a pause, another camera.
    ///
    /// - Realtime: safe
    func reset()
}

/// Loads a model of whatever architecture the file names.
public func loadModel(file: String) throws(ModelError) -> any FrameModel {
    let model = try ModelFile(file: file)
    switch model.architecture {
    case StreamingUNet.architecture: return try StreamingUNet(model)
    case DistilledUNet.architecture, "": return try DistilledUNet(model)
    default:
        throw model.failure(
            "its architecture is \(model.architecture.quotedForMessages), this program knows "
                + "\"\(StreamingUNet.architecture)\" and \"\(DistilledUNet.architecture)\"")
    }
}

/// What became of a frame.
public enum FrameResult: Sendable {
    /// The result is a picture.
    case picture
    /// It is too early for one: a stream batch is filling. Nothing may be shown.
    case early
    /// The network's result held NaN or infinity. Nothing may be shown.
    case bad
}

/// What a picture shall look like; changes live.
public struct Look: Sendable, Equatable {
    /// Styles and their shares.
    public var style: StyleMix
    /// Steps of the flow, 1…4.
    public var steps = 1
    /// Whether each frame takes one step in each frame's time.
    public var streamBatch = false
    /// How far a picture rests on the one before, 0…1.
    public var temporal: Float = 1
    /// Which sheet of paper, which strokes.
    public var seed = 0
    /// How much of it all, 0 (the frame, bit by bit) to 1; a factor on `FramePointers.strength`.
    public var strength: Float = 1

    /// One step, as steady as can be.
    public init(style: StyleMix) { self.style = style }

    /// Throws if a number is outside of its range, or none.
    func check(for file: ModelFile) throws(ModelError) {
        guard Self.stepRange.contains(steps) else {
            throw .look(
                file: file.file, key: "transform.steps",
                reason: "transform.steps is \(steps): 1 to 4 are possible")
        }
        for (name, value) in [("temporal", temporal), ("strength", strength)] {
            guard value >= 0, value <= 1 else {
                throw .look(
                    file: file.file, key: "transform.\(name)",
                    reason: "transform.\(name) is \(value): 0 to 1 are possible")
            }
        }
    }

    private static let stepRange = 1...4
}

/// What a session is prepared for.
public struct SessionRequest {
    /// Pixels in a row of the RGB24 frames that come and go.
    public var frameWidth: Int
    /// Their rows.
    public var frameHeight: Int
    /// Pixels in a row as the network works; any size, padded inside.
    public var modelWidth: Int
    /// Likewise rows.
    public var modelHeight: Int
    /// Threads of the engine, the calling one included.
    public var threads: Int
    /// Chooses how convolutions are computed; may measure first.
    public var tuning = ConvolutionTuning()
    /// In which convolutions may be multiplied. Without f32 all that can be are in one of the others;
    /// none is f32.
    public var precisions: Set<Precision> = []
    /// Whether to compute only what changed since the frame before, if the model can. Takes more
    /// memory.
    public var reuses = false
    /// What the first frames look like.
    public var look: Look

    /// For frames of the network's own size.
    public init(width: Int, height: Int, threads: Int, look: Look) {
        frameWidth = width
        frameHeight = height
        modelWidth = width
        modelHeight = height
        self.threads = threads
        self.look = look
    }
}

extension DistilledUNet: FrameModel {
    /// One style, one step, no memory: nothing else can be asked of these weights.
    public func check(_ look: Look) throws(ModelError) {
        try look.check(for: file)
        for part in look.style.parts { try file.requireStyle(part.name) }
        guard look.style.parts.count == 1 else {
            throw .look(
                file: file.file, key: "transform.style",
                reason: "it draws one style, not the mix \"\(look.style)\"")
        }
        guard look.steps == 1 else {
            throw .look(
                file: file.file, key: "transform.steps",
                reason: "it takes one step, not transform.steps = \(look.steps)")
        }
    }

    /// As `prepare` with every parameter.
    public func prepare(_ request: SessionRequest) throws(ModelError) -> any FrameSession {
        try check(request.look)
        let session = try prepare(
            frameWidth: request.frameWidth, frameHeight: request.frameHeight,
            modelWidth: request.modelWidth, modelHeight: request.modelHeight,
            threads: request.threads, tuning: request.tuning, precisions: request.precisions,
            reuses: request.reuses)
        session.strength = request.look.strength
        return session
    }
}

extension ModelSession: FrameSession {
    /// One step: a result belongs to its own frame.
    public var delayFrames: Int { 0 }

    /// As `process`.
    public func transform(
        _ pointers: FramePointers, stepNanoseconds: UnsafeMutablePointer<Int64>?
    ) -> FrameResult {
        var pointers = pointers
        pointers.strength *= strength
        return process(pointers, stepNanoseconds: stepNanoseconds) ? .picture : .bad
    }

    /// These weights draw one style: nothing but the strength can change.
    public func change(to look: Look, fadeSeconds: Double) throws(ModelError) {
        strength = look.strength
    }
}
