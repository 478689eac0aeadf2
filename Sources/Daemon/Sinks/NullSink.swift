// A sink that only counts: for measuring everything before it.

internal import Pipeline
internal import Video

/// `--sink null`.
final class NullSink: FrameSink {
    let name = "null"
    let isWatched = false
    func prepare(format: VideoFormat) throws {}
    func write(_ frame: FrameBuffer) -> SinkStatus { .written }
    func finish() -> Bool { true }
}
