// The network as the pipeline's transform.

internal import FoundationEssentials
internal import LibAV
internal import Logging
internal import Models
internal import NeuralEngine
internal import Pipeline
internal import Video

/// A model of a style, prepared for the pipeline's frame size.
final class NeuralTransform: FrameTransform, @unchecked Sendable {
    /// One step, no look-ahead: an output frame depends on its own input frame alone.
    let delayFrames = 0

    private let model: DistilledUNet
    private let settings: Configuration.Transform
    private let threadCount: Int
    private let reuses: Bool
    /// How much of the network's work was done; nil without temporal reuse. Any thread.
    let workShare: WorkShare?
    private let wantedPrecision: Precision?
    // Control thread while the pipeline stands, transform thread while it runs.
    private var session: ModelSession?
    private var precisionReason = "unknown"
    private var picture: BeforeAfterPicture?
    private let takesPicture: Bool
    private let log: Logger

    /// Loads and checks the weights.
    ///
    /// - Parameters:
    ///   - performance: threads (0: one a core), precision, and whether work is reused.
    ///   - takesPicture: keeps one frame before and after, for `writePicture`.
    init(
        modelPath: String, settings: Configuration.Transform,
        performance: Configuration.Performance, takesPicture: Bool, log: Logger
    ) throws {
        self.log = log
        model = try DistilledUNet(file: modelPath)
        try model.file.requireStyle(settings.style)
        self.settings = settings
        self.takesPicture = takesPicture
        let threads = performance.threads
        reuses = performance.temporalReuse
        workShare = reuses ? WorkShare() : nil
        threadCount = threads > 0 ? threads : Processor.shared.threadCount
        wantedPrecision = performance.precision.precision
    }

    func prepare(format: VideoFormat) throws {
        let width = settings.modelWidth > 0 ? settings.modelWidth : format.width
        let height = settings.modelHeight > 0 ? settings.modelHeight : format.height
        let cache = TuningCache(environment: ProcessInfo.processInfo.environment)
        let tuning = cache.load(log: log)
        let choice = PrecisionChoice(
            wanted: wantedPrecision, file: model.file, supported: try Backend.shared().precisions)
        let session = try model.prepare(
            frameWidth: format.width, frameHeight: format.height, modelWidth: width,
            modelHeight: height, threads: threadCount, tuning: tuning,
            precisions: choice.allowed, reuses: reuses)
        self.session = session
        precisionReason = choice.reason
        cache.save(tuning, log: log)
        log.info("precision: \(session.precision); \(choice.reason)")
        if takesPicture { picture = BeforeAfterPicture(format: format) }
    }

    func process(_ input: FrameBuffer, into output: FrameBuffer, elapsedNanoseconds: Int64) -> Bool
    {
        guard let session else { return false }
        let isGood = session.process(
            rgb: input.plane(0), strideBytes: input.strides[0], into: output.plane(0),
            strideBytes: output.strides[0], strength: Float(settings.strength))
        workShare?.record(session.workShare)
        if isGood { picture?.offer(before: input, after: output) }
        return isGood
    }

    func reset() { session?.reset() }

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
            model:
                "\(settings.style) v\(model.file.architectureVersion) (\(model.file.architecture))",
            size: "\(geometry?.frameWidth ?? 0)×\(geometry?.frameHeight ?? 0)",
            modelSize: "\(geometry?.modelWidth ?? 0)×\(geometry?.modelHeight ?? 0)",
            threads: session?.threads ?? threadCount,
            processor: Processor.shared.name,
            instructionSet: backend?.instructionSet.rawValue ?? "unknown",
            blasCore: backend?.blasCore ?? "unknown",
            precision: session?.precision ?? "unknown", precisionReason: precisionReason)
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
    private var seen = 0

    /// 2.5 s in: cameras have found their exposure by then, and the drawn person waves. An earlier
    /// frame stands in until then.
    private static let wantedFrame = 75

    init(format: VideoFormat) {
        var wide = format
        wide.width *= 2
        frame = FrameBuffer(format: wide)
    }

    mutating func offer(before: FrameBuffer, after: FrameBuffer) {
        seen += 1
        guard !isTaken || seen == Self.wantedFrame else { return }
        isTaken = true
        let rowBytes = before.strides[0]
        for y in 0..<before.format.height {
            let row = frame.plane(0).advanced(by: y * frame.strides[0])
            row.update(from: before.plane(0).advanced(by: y * rowBytes), count: rowBytes)
            row.advanced(by: rowBytes)
                .update(from: after.plane(0).advanced(by: y * rowBytes), count: rowBytes)
        }
    }
}
