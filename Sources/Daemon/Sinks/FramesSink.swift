// A directory of numbered pictures as a sink.

internal import LibAV
internal import Logging
internal import Pipeline
internal import Video

/// `--sink frames:DIR`: `DIR/000001.png` and so on, lossless.
final class FramesSink: FrameSink, @unchecked Sendable {
    let name: String
    let isWatched = false
    private let directory: String
    private let log: Logger
    // Control thread while closed, output thread while open.
    private var writer: ImageWriter?

    /// A directory that is made when the sink is prepared.
    init(directory: String, log: Logger) {
        name = directory
        self.directory = directory
        self.log = log
    }

    func prepare(format: VideoFormat) throws {
        writer = try ImageWriter(directory: directory, input: format)
    }

    func write(_ frame: FrameBuffer) -> SinkStatus {
        guard let writer else { return .lost }
        guard writer.writeNext(frame) == .failed else { return .written }
        if let error = writer.lastError { log.error("\(error)") }
        return .lost
    }

    func finish() -> Bool {
        writer = nil
        return true
    }
}
