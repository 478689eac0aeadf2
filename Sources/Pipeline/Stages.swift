// What the pipeline asks of a camera, a network and an output. It knows no device and no network.

public import Video

/// What a source has to say when it is asked for a frame. Errors of the steady state are values.
public enum SourceStatus: Sendable, Equatable {
    /// The buffer holds a new frame.
    case frame
    /// Nothing within the timeout; ask again.
    case again
    /// A frame came, but flagged as faulty, short or undecodable: count it and ask again.
    case badFrame
    /// The file or the requested duration is over.
    case endOfStream
    /// Reading failed for good, before the end; the source has said why.
    case failed
    /// The device went away (unplugged, or the driver failed).
    case deviceLost
    /// The device changed its picture format by itself: prepare again.
    case formatChanged
}

/// Where frames come from. The control thread calls `plan`, `takeOver`, `prepare`, `start` and `finish`
/// while no other thread uses the source; `next` belongs to the capture thread, which also closes, prepares and
/// starts a camera while the pipeline runs.
public protocol FrameSource: AnyObject, Sendable {
    /// For people: `test`, `/dev/video0 (HD Webcam)`, `talk.mp4`.
    var name: String { get }
    /// Opens the device or file and fixes its format; may allocate, throw and block.
    ///
    /// - Returns: the format of the frames that `next` will fill: always `rgb24`.
    func prepare() throws -> VideoFormat
    /// Guesses without starting the device, and without fail, what `prepare` will return: for a
    /// camera that is opened only when somebody looks, or is not there yet. From then on `prepare` returns that size.
    /// Control thread.
    func plan() -> VideoFormat?
    /// Whether it is a camera: delivers steadily while it is open, and may be closed and opened again
    /// at any time. Others are never closed before their end, and may pause as long as they like.
    var isCamera: Bool { get }
    /// Takes over what `before`, in whose place it is put and which is closed, knows of the device: a
    /// camera that is at another number meanwhile goes on being the one that is meant. Control thread.
    func takeOver(from before: any FrameSource)
    /// Stops the stream and starts it again, because no frames come. Capture thread.
    ///
    /// - Returns: whether that is done; otherwise the device is lost.
    func restart() -> Bool
    /// Lets the frames come. After everything else is prepared, so that the first one is not old
    /// before it is looked at.
    func start() throws
    /// Waits for the next frame and writes picture and metadata into `frame`, which has the format
    /// that `prepare` returned. Returns `.again` after some 100 ms without a frame, so that
    /// the caller can stop.
    ///
    /// - Realtime: allocates nothing in steady state
    func next(into frame: FrameBuffer) -> SourceStatus
    /// Makes a waiting `next` return soon, because the run is to end. Any thread.
    func interrupt()
    /// Closes the device. Idempotent.
    func finish()
}

extension FrameSource {
    /// Only a camera can be planned for.
    public func plan() -> VideoFormat? { nil }
    /// Most are not.
    public var isCamera: Bool { false }
    /// Most know nothing that the configuration does not say.
    public func takeOver(from before: any FrameSource) {}
    /// Nothing to do for a source that has no stream.
    public func restart() -> Bool { true }
    /// Nothing to do for a source whose frames wait until they are asked for.
    public func start() throws {}
    /// Nothing to do for a source that never waits longer than 100 ms.
    public func interrupt() {}
}

/// What turns an input frame into an output frame.
public protocol FrameTransform: AnyObject, Sendable {
    /// How many later frames an output depends on: 0 for a causal one.
    var lookAheadFrames: Int { get }
    /// How many frames later than its input an output comes.
    var delayFrames: Int { get }
    /// Allocates and plans everything for one size. Control thread.
    ///
    /// - Parameter format: of input and output, `rgb24`.
    func prepare(format: VideoFormat) throws
    /// Transforms one frame. Transform thread.
    ///
    /// - Parameters:
    ///   - input: RGB24, full range. Not changed.
    ///   - output: same format; the pipeline has copied the metadata already. A transform with a
    ///     delay replaces them by those of the frame whose picture this is.
    ///   - elapsedNanoseconds: capture time since the previous frame; 0 for the first.
    /// - Returns: what `output` holds.
    /// - Realtime: allocates nothing
    func process(
        _ input: FrameBuffer, into output: FrameBuffer, elapsedNanoseconds: Int64
    ) -> TransformResult
    /// Forgets the past: after a cut, a pause or a new camera.
    func reset()
}

/// What a transform made of a frame.
public enum TransformResult: Sendable, Equatable {
    /// A transformed picture.
    case picture
    /// Nothing yet: pictures come later than their frames. Nothing is shown.
    case early
    /// No usable result. Nothing is shown, or the frame itself where the user chose that.
    case failed
}

/// What became of a frame handed to a sink.
public enum SinkStatus: Sendable, Equatable {
    /// Written.
    case written
    /// Not written now, the next one may be (for example a full queue).
    case again
    /// Nothing can be written for now: the sink tries again by itself, when it is handed frames.
    case away
    /// The sink is gone for good; the others go on.
    case lost
}

/// Where frames go. The control thread calls `prepare` and `tend`; `write` and then `finish` belong to the
/// sink's own thread, and `finish` once more to the control thread when that has ended.
public protocol FrameSink: AnyObject, Sendable {
    /// For people: `/dev/video10 (Lucida)`, `out.mp4`, `null`.
    var name: String { get }
    /// Whether somebody may be looking at it right now, as with a virtual camera: then a pause is
    /// bridged by repeating the last picture, and a longer one by placeholder cards.
    var isWatched: Bool { get }
    /// Opens the device or file for frames of `format` (`rgb24`). May allocate, throw and block.
    func prepare(format: VideoFormat) throws
    /// Converts, encodes and writes one frame.
    ///
    /// - Realtime: allocates nothing of our own in steady state
    func write(_ frame: FrameBuffer) -> SinkStatus
    /// Shows `card` in place of all that somebody who looks later could still be handed.
    func overwrite(with card: FrameBuffer) -> SinkStatus
    /// Looks after what is not writing. Control thread, some times a second while the run goes on.
    func tend()
    /// Finishes the file, or overwrites what a device still holds, and closes it. Idempotent.
    ///
    /// - Returns: whether everything that was written is safe.
    @discardableResult func finish() -> Bool
}

extension FrameSink {
    /// Most have nothing to look after.
    public func tend() {}
    /// A sink that keeps nothing takes the card as a frame.
    public func overwrite(with card: FrameBuffer) -> SinkStatus { write(card) }
}
