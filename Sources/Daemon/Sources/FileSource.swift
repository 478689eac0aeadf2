// A video file, picture or network stream as a source, paced like a camera or as fast as it goes.

internal import LibAV
internal import Logging
internal import Pipeline
internal import Realtime
internal import Video

/// `--source file:PATH` or a URL, and the input of `lucida transform`.
final class FileSource: FrameSource, @unchecked Sendable {
    let name: String
    /// So far behind, a paced source has stalled.
    private static let stallNanoseconds: Int64 = 1_000_000_000

    private let path: String
    private let output: FrameSize?
    private let fit: LibAVFit
    private let isMirrored: Bool
    private let isPaced: Bool
    private let log: Logger
    // Control thread while closed, capture thread while open.
    private var demuxer: Demuxer?
    // Capture thread only: when the first frame was due, and what the time until the next is
    // spent on.
    private var startNanoseconds: Int64?
    private let nap = Event()

    /// A file that is not open yet.
    ///
    /// - Parameters:
    ///   - output: size of the frames wanted; `nil`: as the file has.
    ///   - isPaced: deliver each frame when it is due instead of at once.
    init(
        path: String, output: FrameSize?, fit: LibAVFit, isMirrored: Bool, isPaced: Bool,
        log: Logger
    ) {
        name = path
        self.path = path
        self.output = output
        self.fit = fit
        self.isMirrored = isMirrored
        self.isPaced = isPaced
        self.log = log
    }

    func prepare() throws -> VideoFormat {
        let demuxer = try Demuxer(file: path)
        let format = VideoFormat(
            pixelFormat: .rgb24, width: output?.width ?? demuxer.width,
            height: output?.height ?? demuxer.height, frameRate: demuxer.frameRate)
        try demuxer.prepare(output: format, fit: fit, isMirrored: isMirrored)
        self.demuxer = demuxer
        startNanoseconds = nil
        return format
    }

    func next(into frame: FrameBuffer) -> SourceStatus {
        guard let demuxer else { return .endOfStream }
        switch demuxer.next(into: frame) {
        case .again: return .again
        case .badFrame: return .badFrame
        case .endOfStream: return .endOfStream
        case .failed:
            if let error = demuxer.lastError { log.error("\(error)") }
            return .failed
        case .frame:
            waitUntilDue(frame)
            return .frame
        }
    }

    func interrupt() {
        demuxer?.stop()
        nap.set()
    }

    func finish() { demuxer = nil }

    /// Turns the time within the file into the time of a camera that films it now.
    private func waitUntilDue(_ frame: FrameBuffer) {
        let offset = frame.metadata.timestampNanoseconds
        let now = MonotonicClock.nowNanoseconds
        var start = startNanoseconds ?? (now - offset)
        // After a stall of disk or network a camera would go on from now, not catch up for ever.
        if isPaced && now - (start + offset) > Self.stallNanoseconds { start = now - offset }
        startNanoseconds = start
        let due = start + offset
        frame.metadata.timestampNanoseconds = due
        if isPaced && due > now { nap.wait(timeoutNanoseconds: due - now) }
    }
}
