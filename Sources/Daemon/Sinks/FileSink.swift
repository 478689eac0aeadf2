// A video file, a picture or a network target as a sink.

internal import Glibc
internal import LibAV
internal import Logging
internal import Pipeline
internal import Realtime
internal import Video

/// `--sink file:PATH-or-URL`, and the output of `lucida transform`.
///
/// In a live run a full disk or a target that has gone is no end: it is opened again and again, a file
/// under another name, so that what it has is kept.
final class FileSink: FrameSink, @unchecked Sendable {
    let name: String
    let isWatched = false
    private let path: String
    private let options: MuxerOptions
    private let log: Logger
    private let isPicture: Bool
    private let triesAgain: Bool
    // Control thread while closed, output thread while open.
    private var muxer: Muxer?
    private var format: VideoFormat?
    private var isPictureWritten = false
    private var part: String
    private var framesInPart = 0
    private var isAway = false
    private var nextAttemptTime: Int64 = 0

    private static let attemptSeconds: Int64 = 2
    /// A further part is meant when it has so many frames; before, it is removed when it fails, or a disk
    /// that stays full would get one after another.
    private static let partFramesMin = 30

    /// A file that is not open yet.
    ///
    /// - Parameter isLive: whether to wait for a target that fails in mid-run. A pipe has nobody to wait
    ///   for.
    init(path: String, codec: Codec, constantRateFactor: Int, isLive: Bool, log: Logger) {
        name = path
        self.path = path
        part = path
        self.log = log
        var options = MuxerOptions()
        options.codec = codec.muxerCodec
        options.constantRateFactor = constantRateFactor
        self.options = options
        isPicture = SinkName.file(path).isPicture
        triesAgain = isLive && !path.hasPrefix("pipe:")
    }

    func prepare(format: VideoFormat) throws {
        guard !isPicture else { return }
        let muxer = try Muxer(file: path, input: format, options: options)
        if muxer.width != format.width || muxer.height != format.height {
            log.warning(
                """
                \(path) is \(muxer.width)×\(muxer.height), not \(format.width)×\(format.height): \
                \(muxer.summary) takes even sizes only, and the last column or row is left out. \
                Name an even --size, or keep all with output.codec = "ffv1" in .mkv
                """)
        }
        self.muxer = muxer
        self.format = format
    }

    func write(_ frame: FrameBuffer) -> SinkStatus {
        if isPicture { return writePicture(frame) }
        if muxer == nil { reopen() }
        guard let muxer else { return triesAgain ? .away : .lost }
        guard muxer.write(frame) == .failed else {
            framesInPart += 1
            if isAway, framesInPart == Self.partFramesMin {
                isAway = false
                log.notice("written again: \(part)")
            }
            return .written
        }
        if let error = muxer.lastError { fail(error) }
        return triesAgain ? .away : .lost
    }

    private func reopen() {
        guard triesAgain, let format, MonotonicClock.nowNanoseconds >= nextAttemptTime else {
            return
        }
        part = nextPart
        framesInPart = 0
        do throws(LibAVError) {
            muxer = try Muxer(file: part, input: format, options: options)
        } catch {
            fail(error)
        }
    }

    private func fail(_ error: LibAVError) {
        muxer = nil
        nextAttemptTime = MonotonicClock.nowNanoseconds + Self.attemptSeconds * 1_000_000_000
        if part != path, framesInPart < Self.partFramesMin { unlink(part) }
        // Once, not with every attempt.
        guard !isAway else { return }
        isAway = triesAgain
        log.error(
            "\(error)\(triesAgain ? "; it is tried again every \(Self.attemptSeconds) s" : "")")
    }

    /// Where to go on: a URL or device as before, a file where none is yet: `a.mkv`, `a-2.mkv`, …
    private var nextPart: String {
        guard !path.contains("://") else { return path }
        var status = stat()
        guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return path }
        let dot = path.lastIndex(of: ".") ?? path.endIndex
        var number = 2
        while true {
            let name = "\(path[..<dot])-\(number)\(path[dot...])"
            if access(name, F_OK) != 0 { return name }
            number += 1
        }
    }

    /// A picture file holds one frame: more than one is a mistake that the user should hear of.
    private func writePicture(_ frame: FrameBuffer) -> SinkStatus {
        guard !isPictureWritten else {
            log.error(
                "\(path) is a picture, but there are more frames: name a video or a directory/")
            return .lost
        }
        isPictureWritten = true
        do throws(LibAVError) {
            try ImageWriter.write(frame, to: path)
            return .written
        } catch {
            log.error("\(error)")
            return .lost
        }
    }

    func finish() -> Bool {
        guard let muxer else { return !isAway }
        self.muxer = nil
        do throws(LibAVError) {
            try muxer.finish()
            return true
        } catch {
            log.error("\(error)")
            return false
        }
    }
}

extension Codec {
    fileprivate var muxerCodec: MuxerOptions.Codec? {
        switch self {
        case .auto: nil
        case .h264: .h264
        case .ffv1: .ffv1
        }
    }
}
