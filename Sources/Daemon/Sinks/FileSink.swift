// A video file, a picture or a network target as a sink.

internal import LibAV
internal import Logging
internal import Pipeline
internal import Video

/// `--sink file:PATH-or-URL`, and the output of `lucida transform`.
final class FileSink: FrameSink, @unchecked Sendable {
    let name: String
    let isWatched = false
    private let path: String
    private let options: MuxerOptions
    private let log: Logger
    private let isPicture: Bool
    // Control thread while closed, output thread while open.
    private var muxer: Muxer?
    private var isPictureWritten = false

    /// A file that is not open yet.
    init(path: String, codec: Codec, constantRateFactor: Int, log: Logger) {
        name = path
        self.path = path
        self.log = log
        var options = MuxerOptions()
        options.codec = codec.muxerCodec
        options.constantRateFactor = constantRateFactor
        self.options = options
        isPicture = SinkName.file(path).isPicture
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
    }

    func write(_ frame: FrameBuffer) -> SinkStatus {
        if isPicture { return writePicture(frame) }
        guard let muxer else { return .lost }
        guard muxer.write(frame) == .failed else { return .written }
        if let error = muxer.lastError { log.error("\(error)") }
        self.muxer = nil
        return .lost
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
        guard let muxer else { return true }
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
