// A directory of numbered pictures as a sink.

internal import LibAV
internal import Logging
internal import Pipeline
internal import Realtime
internal import Video

/// `--sink frames:DIR`: `DIR/000001.png` and so on, lossless. In a live run a full disk is no end: the series goes
/// on when there is room again.
final class FramesSink: FrameSink, @unchecked Sendable {
    let name: String
    let isWatched = false
    private let directory: String
    private let isLive: Bool
    private let keepsEarlier: Bool
    private let log: Logger
    // Control thread while closed, output thread while open.
    private var writer: ImageWriter?
    private var isAway = false
    private var nextAttemptTime: Int64 = 0

    private static let attemptSeconds: Int64 = 2

    /// A directory that is made when the sink is prepared.
    ///
    /// - Parameters:
    ///   - isLive: whether to wait for a disk that fails in mid-run.
    ///   - keepsEarlier: whether the series goes on after the pictures that are there already.
    init(directory: String, isLive: Bool, keepsEarlier: Bool, log: Logger) {
        name = directory
        self.directory = directory
        self.isLive = isLive
        self.keepsEarlier = keepsEarlier
        self.log = log
    }

    func prepare(format: VideoFormat) throws {
        writer = try ImageWriter(
            directory: directory, input: format, continuesSeries: keepsEarlier)
    }

    func write(_ frame: FrameBuffer) -> SinkStatus {
        guard let writer else { return .lost }
        if isAway, MonotonicClock.nowNanoseconds < nextAttemptTime { return .away }
        guard writer.writeNext(frame) == .failed else {
            if isAway { log.notice("written again: \(directory)") }
            isAway = false
            return .written
        }
        guard isLive else {
            if let error = writer.lastError { log.error("\(error)") }
            return .lost
        }
        if !isAway, let error = writer.lastError {
            log.error("\(error); it is tried again every \(Self.attemptSeconds) s")
        }
        isAway = true
        nextAttemptTime = MonotonicClock.nowNanoseconds + Self.attemptSeconds * 1_000_000_000
        return .away
    }

    func finish() -> Bool {
        writer = nil
        return !isAway
    }
}
