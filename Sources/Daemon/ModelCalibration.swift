// What `lucida calibrate` does: measures what each precision costs a model in quality. Control thread.

internal import FoundationEssentials
internal import Glibc
internal import LibAV
public import Logging
internal import Models
internal import NeuralEngine
internal import Pipeline
internal import Video

/// Pictures of a model in every precision, compared with those in f32 and with its teacher's.
public struct ModelCalibration {
    /// Footage to measure on.
    public struct Clip: Sendable {
        /// A video file.
        public let path: String
        /// What the teacher made of the same frames, lossless; nil: not known. `{style}` stands for
        /// each of the model's styles.
        public let teacher: String?

        /// Footage and, if there is one, its teacher's version.
        public init(path: String, teacher: String?) {
            self.path = path
            self.teacher = teacher
        }
    }

    private let file: ModelFile
    private let calibration: Calibration
    private var rows: [String] = []

    private static let precisions: [Precision] = [.int16, .bf16, .int8]
    /// How much of the drawn camera is measured.
    private static let drawnFrames: UInt64 = 240

    /// Measures. Takes seconds on a CPU that has instructions for all precisions, minutes on one
    /// that lacks some.
    ///
    /// - Parameters:
    ///   - path: the model file.
    ///   - clips: besides the drawn camera, which is measured in any case.
    ///   - width: at which the network works; frames are cropped and scaled to it.
    ///   - height: likewise.
    ///   - interval: every which frame is measured.
    /// - Throws: what the model loader, or a file that cannot be read, says.
    public init(
        model path: String, clips: [Clip], width: Int, height: Int, interval: Int, log: Logger
    ) throws {
        let model = try loadModel(file: path)
        file = model.file
        try Self.requireTeacherOfEachStyle(clips, file.styles)
        var clipErrors: [ClipErrors] = []
        for style in file.styles.isEmpty ? [""] : file.styles {
            let measurement = try Measurement(
                model: model, style: style, width: width, height: height,
                precisions: Self.precisions)
            let camera = SyntheticCamera(
                format: measurement.format, isPaced: false, frameLimit: Self.drawnFrames)
            _ = try camera.prepare()
            clipErrors.append(
                try measurement.measure("the drawn camera", interval) { frame, _ in
                    camera.next(into: frame) == .frame
                })
            for clip in clips {
                log.info("\(measurement.label)\(clip.path)")
                clipErrors.append(try measurement.measure(clip, interval))
            }
        }
        var figures: [Precision: Calibration.Figures] = [:]
        for precision in Self.precisions {
            let losses = clipErrors.compactMap { $0.teacherLoss(precision) }
            figures[precision] = Calibration.Figures(
                againstF32: thousandths(clipErrors.map { $0.againstF32(precision) }.min() ?? 0),
                teacherLoss: losses.max().map(thousandths))
            rows += clipErrors.map { $0.text(precision) }
        }
        calibration = Calibration(
            weights: model.file.checksum,
            frames: clipErrors.reduce(0) { $0 + $1.frames }, figures: figures,
            sensitivities: try (model as? DistilledUNet)?.measureSensitivities(
                threads: Processor.shared.threadCount))
    }

    private static func requireTeacherOfEachStyle(_ clips: [Clip], _ styles: [String]) throws {
        for clip in clips where styles.count > 1 {
            guard let teacher = clip.teacher, !teacher.contains(stylePlace) else { continue }
            throw SessionError(
                "the model has \(styles.count) styles, and \(teacher) is of one of them: write "
                    + "\(stylePlace) in --teacher where the style's name stands")
        }
    }

    fileprivate static let stylePlace = "{style}"

    /// The figures of each precision and clip, for a terminal.
    public var text: String {
        let verdicts = Self.precisions.map { precision in
            let isGood = calibration.figures(precision)?.meetsRule ?? false
            return "\(precision.rawValue): \(isGood ? "meets" : "does not meet") the quality rule"
        }
        return (rows + verdicts).joined(separator: "\n") + "\n"
    }

    /// Writes the model file with the figures in it; the weights stay as they are. A link is
    /// followed, and a file that is there keeps its permissions.
    ///
    /// - Throws: `SessionError` if the file cannot be written, or is the model and has changed since
    ///   it was read.
    public func write(to path: String) throws {
        let bytes = try file.encoded(calibration: calibration)
        if isSameFile(path, file.file) {
            let now = try? ModelFile(file: path)
            guard now?.checksum == file.checksum, now?.metadata == file.metadata else {
                throw SessionError(
                    "\(path) has changed since it was read, and stays as it is: calibrate again, "
                        + "or name another --output")
            }
        }
        try replace(withoutLinks(path), with: bytes)
    }

    /// Throws if no model can be written to `path`, or must not be: better known before the
    /// measurement than after.
    ///
    /// - Parameters:
    ///   - model: the file that is going to be measured.
    ///   - hasTeacher: whether it is going to be compared with a teacher.
    public static func requireWritable(_ path: String, model: String, hasTeacher: Bool) throws {
        var status = stat()
        guard lstat(path, &status) != 0 || stat(path, &status) == 0 else {
            throw SessionError("cannot write \(path): it is a link to a file that is not there")
        }
        try requireWritableFolder(of: withoutLinks(path))
        guard !hasTeacher, isSameFile(path, model) else { return }
        let noted = try ModelFile(file: model).calibration?.precisions ?? [:]
        guard noted.values.allSatisfy({ $0.teacherLoss == nil }) else {
            throw SessionError(
                "\(model) holds figures against its teacher, which a measurement without one "
                    + "would drop: give --clip with --teacher, or name another --output")
        }
    }
}

private func withoutLinks(_ path: String) -> String {
    URL(filePath: path).resolvingSymlinksInPath().path
}

/// Whether both are there and one, under whatever names.
private func isSameFile(_ a: String, _ b: String) -> Bool {
    var (first, second) = (stat(), stat())
    return stat(a, &first) == 0 && stat(b, &second) == 0
        && first.st_dev == second.st_dev && first.st_ino == second.st_ino
}

/// A new file takes the old one's name and permissions when it is whole: the model is never half
/// written.
private func replace(_ path: String, with bytes: [UInt8]) throws {
    var old = stat()
    let mode: mode_t? = stat(path, &old) == 0 ? old.st_mode & 0o777 : nil
    let new = "\(path).\(getpid())"
    func failed() -> SessionError {
        SessionError("cannot write the model \(path): \(String(cString: strerror(errno)))")
    }
    let descriptor = open(
        new, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, (mode ?? 0o666) | S_IWUSR)
    guard descriptor >= 0 else { throw failed() }
    defer { close(descriptor) }
    do {
        try Data(bytes).write(to: URL(filePath: new))
        guard mode.map({ fchmod(descriptor, $0) }) ?? 0 == 0, fsync(descriptor) == 0,
            rename(new, path) == 0
        else { throw failed() }
    } catch {
        unlink(new)
        throw (error as? SessionError)
            ?? SessionError("cannot write the model \(path): \(error)")
    }
}

/// Squared errors of one clip.
private struct ClipErrors {
    let name: String
    let bytesPerFrame: Int
    var frames = 0
    var hasTeacher = false
    var toF32: [Precision: Double] = [:]
    var toTeacher: [Precision: Double] = [:]

    /// PSNR of 8-bit pictures in dB, the error pooled over the clip; 100 if there is none.
    private func decibels(_ error: Double) -> Double {
        let mean = error / Double(max(frames, 1) * bytesPerFrame)
        return mean > 0 ? min(100, 10 * log10(255 * 255 / mean)) : 100
    }

    func againstF32(_ precision: Precision) -> Double { decibels(toF32[precision] ?? 0) }

    func teacherLoss(_ precision: Precision) -> Double? {
        guard hasTeacher else { return nil }
        return decibels(toTeacher[.f32] ?? 0) - decibels(toTeacher[precision] ?? 0)
    }

    func text(_ precision: Precision) -> String {
        let loss = teacherLoss(precision).map { ", \(decimalText($0, 3)) dB lost to the teacher" }
        return "\(precision.rawValue), \(name), \(frames) frames: "
            + "\(decimalText(againstF32(precision), 2)) dB of f32\(loss ?? "")"
    }
}

/// The sessions that are compared, and the frames between them.
private final class Measurement {
    let format: VideoFormat
    /// Before the name of a clip: the style, if it has a name.
    let label: String
    private let style: String
    // Whether a picture rests on those before, so that no frame may be left out.
    private let remembers: Bool
    private let reference: any FrameSession
    private let sessions: [(precision: Precision, session: any FrameSession)]
    private let frame: FrameBuffer
    private let teacher: FrameBuffer
    private let expected: FrameBuffer
    private let found: FrameBuffer

    init(
        model: any FrameModel, style: String, width: Int, height: Int, precisions: [Precision]
    ) throws {
        self.style = style
        label = style.isEmpty ? "" : "\(style), "
        remembers = model is StreamingUNet
        func prepare(_ precision: Precision) throws -> any FrameSession {
            var request = SessionRequest(
                width: width, height: height, threads: Processor.shared.threadCount,
                look: Look(style: StyleMix(style: style)))
            // All convolutions that can be in the precision: the worst that may happen.
            request.precisions = [precision]
            return try model.prepare(request)
        }
        reference = try prepare(.f32)
        sessions = try precisions.map { ($0, try prepare($0)) }
        format = VideoFormat(
            pixelFormat: .rgb24, width: width, height: height, frameRate: FrameRate(30))
        (frame, teacher) = (FrameBuffer(format: format), FrameBuffer(format: format))
        (expected, found) = (FrameBuffer(format: format), FrameBuffer(format: format))
    }

    func measure(_ clip: ModelCalibration.Clip, _ interval: Int) throws -> ClipErrors {
        func open(_ path: String) throws -> Demuxer {
            let demuxer = try Demuxer(file: path)
            try demuxer.prepare(output: format)
            return demuxer
        }
        func next(_ demuxer: Demuxer, _ frame: FrameBuffer) throws -> Bool {
            while true {
                switch demuxer.next(into: frame) {
                case .frame: return true
                case .again: continue
                case .endOfStream: return false
                case .badFrame: throw SessionError("\(demuxer.file) holds a damaged frame")
                case .failed:
                    throw SessionError(demuxer.lastError.map { "\($0)" } ?? demuxer.file)
                }
            }
        }
        let video = try open(clip.path)
        let teacherPath = clip.teacher?.replacing(ModelCalibration.stylePlace, with: style)
        let wanted = try teacherPath.map(open)
        return try measure(clip.path, interval, hasTeacher: wanted != nil) { frame, teacher in
            let hasFrame = try next(video, frame)
            let hasTeacher = try wanted.map { try next($0, teacher) }
            guard hasTeacher ?? hasFrame == hasFrame else {
                throw SessionError(
                    "\(teacherPath ?? "") has another number of frames than \(clip.path)")
            }
            return hasFrame
        }
    }

    func measure(
        _ name: String, _ interval: Int, hasTeacher: Bool = false,
        next: (FrameBuffer, FrameBuffer) throws -> Bool
    ) throws -> ClipErrors {
        var errors = ClipErrors(
            name: label + name, bytesPerFrame: 3 * format.width * format.height,
            hasTeacher: hasTeacher)
        var index = 0
        for session in [reference] + sessions.map(\.session) { session.reset() }
        while try next(frame, teacher) {
            defer { index += 1 }
            let isMeasured = index % interval == 0
            if isMeasured || remembers { try compare(&errors, isMeasured: isMeasured) }
        }
        guard errors.frames > 0 else { throw SessionError("\(name) holds no frame") }
        return errors
    }

    private func compare(_ errors: inout ClipErrors, isMeasured: Bool) throws {
        if isMeasured { errors.frames += 1 }
        try process(reference, into: expected)
        if isMeasured && errors.hasTeacher {
            errors.toTeacher[.f32, default: 0] += difference(expected, teacher)
        }
        for (precision, session) in sessions {
            try process(session, into: found)
            guard isMeasured else { continue }
            errors.toF32[precision, default: 0] += difference(found, expected)
            if errors.hasTeacher {
                errors.toTeacher[precision, default: 0] += difference(found, teacher)
            }
        }
    }

    private func process(_ session: any FrameSession, into target: FrameBuffer) throws {
        let pointers = FramePointers(
            frame: frame.plane(0), frameStride: frame.strides[0], output: target.plane(0),
            outputStride: target.strides[0], strength: 1)
        guard session.transform(pointers, stepNanoseconds: nil) == .picture else {
            throw SessionError("the network's result is not finite: the weights are unusable")
        }
    }

    private func difference(_ a: FrameBuffer, _ b: FrameBuffer) -> Double {
        var sum = 0
        for y in 0..<format.height {
            let first = a.plane(0) + y * a.strides[0]
            let second = b.plane(0) + y * b.strides[0]
            for x in 0..<3 * format.width {
                let error = Int(first[x]) - Int(second[x])
                sum += error * error
            }
        }
        return Double(sum)
    }
}
