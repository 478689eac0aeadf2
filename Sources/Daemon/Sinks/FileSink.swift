// A video file, a picture or a network target as a sink.

internal import Glibc
internal import LibAV
internal import Logging
internal import Pipeline
internal import Realtime
internal import Video

/// `--sink file:PATH` or a URL, and the output of `lucida transform`.
///
/// In a live run a full disk or a target that has gone, or has not come yet, is no end: it is opened again
/// and again, a file under another name, so that what it has is kept.
final class FileSink: FrameSink, @unchecked Sendable {
    let name: String
    let isWatched = false
    private let path: String
    private let options: MuxerOptions
    private let log: Logger
    private let isPicture: Bool
    private let keepsEarlier: Bool
    private let waitsForFrames: Bool
    // Control thread while closed, output thread while open.
    private var triesAgain: Bool
    private var muxer: Muxer?
    private var format: VideoFormat?
    private var isPictureWritten = false
    private var isOpenedOnce = false
    /// Where the frames of a second and later opening go, and whether that is a file which was made for
    /// them.
    private var part = ""
    private var isPartOurs = false
    private var hasFrames = false
    private var isAway = false
    private var isFailureTold = false
    private var nextAttemptTime: Int64 = 0
    private var trialEndTime: Int64 = 0

    private static let attemptSeconds: Int64 = 2
    /// Frames wait in encoder and container, two seconds at most: only what has lasted longer is on the
    /// disk. A part that fails earlier is removed, or a disk that stays full would get one after another.
    private static let trialSeconds: Int64 = 4
    /// Nobody waits longer for an attempt when the run ends.
    private static let attemptTimeout: Int64 = 2_000_000_000

    /// A file that is not open yet.
    ///
    /// - Parameters:
    ///   - isLive: whether to wait for a target that fails in mid-run. Not for a pipe, which has nobody to
    ///     wait for, nor for a playlist, whose segments would be overwritten.
    ///   - keepsEarlier: whether a file that is there already stays, and this run records beside it: what
    ///     was filmed cannot be filmed again. Not for a playlist, whose name is what people follow.
    ///   - waitsForFrames: whether the file beside an earlier one is opened with the first frame only: what a
    ///     service manager starts again and again would leave one for each start.
    init(
        path: String, codec: Codec, constantRateFactor: Int, isLive: Bool, keepsEarlier: Bool,
        waitsForFrames: Bool, log: Logger
    ) {
        name = path
        self.path = path
        self.waitsForFrames = waitsForFrames
        self.log = log
        var options = MuxerOptions()
        options.codec = codec.muxerCodec
        options.constantRateFactor = constantRateFactor
        self.options = options
        isPicture = SinkName.file(path).isPicture
        let isPlaylist = [".m3u8", ".mpd"].contains(where: path.lowercased().hasSuffix)
        let isSpecial = ["pipe:", "file:"].contains(where: path.hasPrefix)
        self.keepsEarlier = keepsEarlier && !isPlaylist && !isSpecial && !isPicture
        triesAgain = isLive && !isPlaylist && !isSpecial
    }

    private var isURL: Bool { path.contains("://") }

    func prepare(format: VideoFormat) throws {
        guard !isPicture else { return }
        self.format = format
        let muxer: Muxer
        let canWait = isURL && triesAgain
        let isBeside = keepsEarlier && Self.isFile(path)
        if isBeside && waitsForFrames && triesAgain {
            log.notice("\(path) is from an earlier run and stays: this run is written beside it")
            isAway = true
            return
        }
        part = path
        if isBeside {
            guard choosePart() else {
                throw LibAVError(operation: "make", code: -errno, file: part)
            }
            log.notice("\(path) is from an earlier run and stays: this run is in \(part)")
        }
        do throws(LibAVError) {
            muxer = try Muxer(
                file: part, input: format, options: canWait ? attemptOptions : options)
            isPartOurs = false
        } catch {
            if isPartOurs { unlink(part) }
            guard canWait, error.isUnanswered else { throw error }
            return fail(error)
        }
        warnOfSize(muxer, format)
        triesAgain = triesAgain && (isURL || Self.isFile(path))
        (self.muxer, isOpenedOnce) = (muxer, true)
    }

    /// Whether there is a file under that name, and no pipe or device.
    private static func isFile(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
    }

    private func warnOfSize(_ muxer: Muxer, _ format: VideoFormat) {
        if muxer.width != format.width || muxer.height != format.height {
            log.warning(
                """
                \(path) is \(muxer.width)×\(muxer.height), not \(format.width)×\(format.height): \
                \(muxer.summary) takes even sizes only, and the last column or row is left out. \
                Name an even --size, or keep all with output.codec = "ffv1" in .mkv
                """)
        }
    }

    private var attemptOptions: MuxerOptions {
        var options = options
        options.timeoutNanoseconds = Self.attemptTimeout
        return options
    }

    /// While a further part is on trial, `.away`: its frames count once they are sure to stay.
    func write(_ frame: FrameBuffer) -> SinkStatus {
        if isPicture { return writePicture(frame) }
        guard let muxer else {
            // The frame waited for the opening, and may be from before a pause: the next one begins.
            if triesAgain { reopen() }
            return triesAgain ? .away : .lost
        }
        guard muxer.write(frame) == .failed else {
            hasFrames = true
            if isAway, MonotonicClock.nowNanoseconds >= trialEndTime {
                (isAway, isFailureTold) = (false, false)
                log.notice("written now: \(part)")
            }
            return isAway ? .away : .written
        }
        if let error = muxer.lastError { fail(error) }
        return triesAgain ? .away : .lost
    }

    private func reopen() {
        guard let format, MonotonicClock.nowNanoseconds >= nextAttemptTime else { return }
        do throws(LibAVError) {
            guard choosePart() else {
                throw LibAVError(operation: "make", code: -errno, file: part)
            }
            let muxer = try Muxer(file: part, input: format, options: attemptOptions)
            // That of the first opening has been told.
            if !isOpenedOnce { warnOfSize(muxer, format) }
            (self.muxer, isOpenedOnce, hasFrames) = (muxer, true, false)
            trialEndTime = MonotonicClock.nowNanoseconds + Self.trialSeconds * 1_000_000_000
        } catch {
            fail(error)
        }
    }

    private func fail(_ error: LibAVError) {
        muxer = nil
        removePartOnTrial()
        nextAttemptTime = MonotonicClock.nowNanoseconds + Self.attemptSeconds * 1_000_000_000
        isAway = triesAgain
        // Once, not with every attempt.
        guard !isFailureTold else { return }
        isFailureTold = true
        log.error(
            "\(error)\(triesAgain ? "; it is tried again every \(Self.attemptSeconds) s" : "")")
    }

    private func removePartOnTrial() {
        if isAway, isPartOurs { unlink(part) }
        isPartOurs = false
    }

    /// Where to go on: a URL as before, a file under a name that nobody has, which is taken by making it:
    /// `a.mkv`, `a-2.mkv`, … False if none can be made.
    private func choosePart() -> Bool {
        part = path
        guard !isURL else { return true }
        let dot = path.lastIndex(of: ".") ?? path.endIndex
        var number = 1
        while true {
            let file = open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
            if file >= 0 {
                close(file)
                isPartOurs = true
                return true
            }
            guard errno == EEXIST else { return false }
            number += 1
            part = "\(path[..<dot])-\(number)\(path[dot...])"
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
        // Without a frame it would only stand in the way of the next run's.
        defer { if !hasFrames, Self.isFile(part) { unlink(part) } }
        do throws(LibAVError) {
            try muxer.finish()
            isAway = false
            return true
        } catch {
            removePartOnTrial()
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
