// The network as the pipeline's transform.

internal import FoundationEssentials
internal import LibAV
internal import Logging
internal import Models
internal import NeuralEngine
internal import Pipeline
internal import Video

/// A model of a style, prepared for the pipeline's frame size.
final class NeuralTransform: FrameTransform, LiveTransform, @unchecked Sendable {
    let lookAheadFrames = 0
    /// A stream batch comes later than its frames.
    var delayFrames: Int { settings.streamBatch && settings.strength > 0 ? settings.steps - 1 : 0 }

    private let model: any FrameModel
    // Control thread.
    private var settings: Configuration.Transform
    private let threadCount: Int
    private let reuses: Bool
    /// How much of the network's work was done; nil without temporal reuse. Any thread.
    let workShare: WorkShare?
    private let wantedPrecision: Precision?
    // Control thread while the pipeline stands, transform thread while it runs.
    private var session: (any FrameSession)?
    private var precisionReason = "unknown"
    private var picture: BeforeAfterPicture?
    private let takesPicture: Bool
    private let isLive: Bool
    // Of the last frames, the newest at `newest`: a stream batch gives pictures of earlier ones.
    private var recent = [FrameMetadata](repeating: FrameMetadata(), count: delayMax + 1)
    private var newest = 0
    /// Four steps are the most.
    private static let delayMax = 3
    private let log: Logger

    /// Loads and checks the weights.
    ///
    /// - Parameters:
    ///   - performance: threads (0: one a core), precision, and whether work is reused.
    ///   - isLive: otherwise frames may take as long as they need, and the network is as large as they.
    ///   - takesPicture: keeps one frame before and after, for `writePicture`.
    init(
        modelPath: String, settings: Configuration.Transform,
        performance: Configuration.Performance, isLive: Bool, takesPicture: Bool, log: Logger
    ) throws {
        self.log = log
        model = try loadModel(file: modelPath)
        try model.check(settings.look)
        self.settings = settings
        self.isLive = isLive
        self.takesPicture = takesPicture
        let threads = performance.threads
        reuses = performance.temporalReuse && model is DistilledUNet
        workShare = reuses ? WorkShare() : nil
        threadCount = threads > 0 ? threads : Processor.shared.threadCount
        wantedPrecision = performance.precision.precision
    }

    func prepare(format: VideoFormat) throws {
        let frame = FrameSize(width: format.width, height: format.height)
        let size = settings.networkSize(for: frame, isLive: isLive)
        let cache = TuningCache(environment: ProcessInfo.processInfo.environment)
        let tuning = cache.load(log: log)
        let choice = PrecisionChoice(
            wanted: wantedPrecision, file: model.file, supported: try Backend.shared().precisions)
        var request = SessionRequest(
            width: size.width, height: size.height, threads: threadCount, look: settings.look)
        request.frameWidth = format.width
        request.frameHeight = format.height
        request.tuning = tuning
        request.precisions = choice.allowed
        request.reuses = reuses
        let session = try model.prepare(request)
        self.session = session
        precisionReason = choice.reason
        cache.save(tuning, log: log)
        log.info("precision: \(session.precision); \(choice.reason)")
        if takesPicture { picture = BeforeAfterPicture(format: format, delayMax: Self.delayMax) }
    }

    func process(
        _ input: FrameBuffer, into output: FrameBuffer, elapsedNanoseconds: Int64
    ) -> TransformResult {
        guard let session else { return .failed }
        newest = (newest + 1) % recent.count
        recent[newest] = input.metadata
        picture?.see(input)
        let result = session.transform(
            FramePointers(
                frame: input.plane(0), frameStride: input.strides[0], output: output.plane(0),
                outputStride: output.strides[0], strength: 1),
            stepNanoseconds: nil)
        workShare?.record(session.workShare)
        switch result {
        case .picture:
            output.metadata = recent[(newest + recent.count - session.delayFrames) % recent.count]
            picture?.offer(output, delayFrames: session.delayFrames)
            return .picture
        case .early: return .early
        case .bad: return .failed
        }
    }

    func reset() { session?.reset() }

    /// Strength, seed and `temporal` count from one frame on, a style and steps as soon as their
    /// weights are folded, and styles fade. Control thread.
    func change(to settings: Configuration.Transform) throws {
        try model.check(settings.look)
        try session?.change(to: settings.look, fadeSeconds: settings.fade)
        self.settings = settings
    }

    /// Writes the picture taken, if any. Control thread, after the run.
    func writePicture(to path: String) throws {
        guard let picture, picture.isTaken else {
            throw SessionError("no frame came for the picture \(path)")
        }
        try ImageWriter.write(picture.frame, to: path)
    }

    /// What did the work, for the report.
    var setup: LivenessReport.Setup {
        let geometry = session?.geometry
        let backend = try? Backend.shared()
        return LivenessReport.Setup(
            version: lucidaVersion,
            model: model.file.name,
            architecture: "\(model.file.architecture) v\(model.file.architectureVersion)",
            style: settings.style.description,
            size: "\(geometry?.frameWidth ?? 0)×\(geometry?.frameHeight ?? 0)",
            modelSize: "\(geometry?.modelWidth ?? 0)×\(geometry?.modelHeight ?? 0)",
            threads: session?.threads ?? threadCount,
            processor: Processor.shared.name,
            instructionSet: backend?.instructionSet.rawValue ?? "unknown",
            blasCore: backend?.blasCore ?? "unknown",
            precision: session?.precision ?? "unknown", precisionReason: precisionReason)
    }
}

extension Configuration.Transform {
    /// Size at which the network works on frames of a size, unless that is set: theirs, or for live
    /// work what two ordinary cores keep up with.
    func networkSize(for frame: FrameSize, isLive: Bool) -> FrameSize {
        if modelWidth > 0 && modelHeight > 0 {
            return FrameSize(width: modelWidth, height: modelHeight)
        }
        let pixels = Double(frame.width * frame.height)
        guard isLive, pixels > 640 * 480 else { return frame }
        let scale = (640 * 360 / pixels).squareRoot()
        // To the nearest eight: 1280×720 becomes 640×360.
        func scaled(_ length: Int) -> Int {
            max(16, Int((Double(length) * scale / 8).rounded()) * 8)
        }
        return FrameSize(width: scaled(frame.width), height: scaled(frame.height))
    }

    /// What pictures shall look like.
    var look: Look {
        var look = Look(style: style)
        look.steps = steps
        look.streamBatch = streamBatch
        look.temporal = Float(temporal)
        look.seed = seed
        look.strength = Float(strength)
        return look
    }
}

extension PrecisionName {
    /// nil: whatever the model's calibration allows.
    var precision: Precision? { Precision(rawValue: rawValue) }
}

/// One frame before and after the network, side by side. Its memory exists before the run.
struct BeforeAfterPicture {
    /// Twice as wide as the frames. Transform thread until the run is over.
    let frame: FrameBuffer
    /// Whether a frame has been taken.
    private(set) var isTaken = false
    // Frames seen and pictures offered.
    private var seen = 0
    private var offered = 0
    // The last frames seen; frame n at n modulo their number.
    private let befores: [FrameBuffer]

    /// 2.5 s in: cameras have found their exposure by then, and the drawn person waves. An earlier
    /// frame stands in until then.
    private static let wantedFrame = 75

    /// - Parameter delayMax: by how many frames a picture can be later than its own.
    init(format: VideoFormat, delayMax: Int) {
        var wide = format
        wide.width *= 2
        frame = FrameBuffer(format: wide)
        befores = (0...delayMax).map { _ in FrameBuffer(format: format) }
    }

    /// A frame came, and perhaps its picture later.
    mutating func see(_ frame: FrameBuffer) {
        seen += 1
        if offered < Self.wantedFrame { befores[seen % befores.count].copy(from: frame) }
    }

    /// The picture of the frame that came `delayFrames` before the last one.
    mutating func offer(_ after: FrameBuffer, delayFrames: Int) {
        offered += 1
        guard !isTaken || offered == Self.wantedFrame else { return }
        isTaken = true
        let before = befores[(seen - delayFrames) % befores.count]
        let rowBytes = before.strides[0]
        for y in 0..<before.format.height {
            let row = frame.plane(0).advanced(by: y * frame.strides[0])
            row.update(from: before.plane(0).advanced(by: y * rowBytes), count: rowBytes)
            row.advanced(by: rowBytes)
                .update(from: after.plane(0).advanced(by: y * rowBytes), count: rowBytes)
        }
    }
}
