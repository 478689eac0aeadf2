// Writes frames as a video to a file or a network target, on the sink's thread.

internal import CLibAV
public import Video

/// How `Muxer` codes.
public struct MuxerOptions: Sendable {
    /// Codecs by choice.
    public enum Codec: String, Sendable, CaseIterable, Codable {
        /// Lossy, small, read by everything.
        case h264
        /// Lossless RGB, for measuring. Matroska or AVI.
        case ffv1
    }

    /// nil: H.264 where encoder and container allow, else MPEG-4, else what the container prefers.
    public var codec: Codec?
    /// libav's name of the container; nil: by the file's extension or the URL's protocol.
    public var container: String?
    /// Constant rate factor of H.264: 0 is lossless, 18 looks it, 23 is small.
    public var constantRateFactor = 20
    /// Encoder threads. More than one compete with the network.
    public var threadCount = 1
    /// How long opening or writing one frame may block before the target counts as lost.
    public var timeoutNanoseconds: Int64 = 5_000_000_000

    /// The defaults.
    public init() {}
}

/// A video file or stream being written.
///
/// Made by the control thread; then one thread writes, and finishes. A file whose writer is killed
/// can be played up to its last seconds: Matroska by nature, MP4 because it is written in fragments.
public final class Muxer: @unchecked Sendable {
    /// What became of a frame.
    public enum Status: Sendable, Equatable {
        /// Encoded; in the file at the latest after `finish`.
        case written
        /// The target is lost for good: see `lastError`.
        case failed
    }

    /// What the user named.
    public let file: String
    /// For people, for example `libx264 in mp4`.
    public let summary: String
    /// Pixels in a row of the video. One less than the input's where the codec takes even sizes
    /// only, which H.264 with 4:2:0 does: the last column is left out.
    public var width: Int { Int(encoder.context.pointee.width) }
    /// Rows of the video; likewise.
    public var height: Int { Int(encoder.context.pointee.height) }
    /// Why `write` failed. Sink thread only.
    public private(set) var lastError: LibAVError?

    private let interruption: Interruption
    private let options: MuxerOptions
    private let container: UnsafeMutablePointer<AVFormatContext>
    private let stream: UnsafeMutablePointer<AVStream>
    private let encoder: Encoder
    private let input: VideoFormat
    private let packetDuration: Int64
    private var clock: OutputClock
    private var isFinished = false

    /// Opens the target, creating or overwriting a file, and writes the header.
    ///
    /// - Parameters:
    ///   - file: a path with an extension (`.mp4`, `.mkv`, …) or a URL (`rtmp://`, `udp://`, …).
    ///   - input: of the frames that will come, uncompressed. The rate is nominal: each frame is
    ///     shown as long as timestamps say.
    ///   - options: codec and quality.
    /// - Throws: `LibAVError` naming the file.
    public init(
        file: String, input: VideoFormat, options: MuxerOptions = MuxerOptions()
    ) throws(LibAVError) {
        LibAVLog.takeOver()
        let path = MediaPath(file)
        try path.checkWritable()
        interruption = Interruption(opening: path)
        interruption.allow(nanoseconds: options.timeoutNanoseconds)
        var container: UnsafeMutablePointer<AVFormatContext>? = try allocateOutput(path, options)
        guard let opened = container else {
            throw LibAVError(operation: "open", code: clibav_error_no_memory, file: file)
        }
        opened.pointee.interrupt_callback = interruption.callback
        do {
            encoder = try videoEncoder(for: opened, path, input: input, options)
            stream = try addStream(to: opened, of: encoder, rate: input.frameRate, file: file)
            try open(opened, path, interruption)
            interruption.hasOpened()
        } catch {
            // libav asks it until the container is closed.
            withExtendedLifetime(interruption) { close(&container) }
            throw error
        }
        self.container = opened
        self.file = file
        self.input = input
        self.options = options
        let codec = String(cString: encoder.context.pointee.codec.pointee.name)
        summary = "\(codec) in \(String(cString: opened.pointee.oformat.pointee.name))"
        clock = OutputClock(rate: input.frameRate)
        packetDuration = OutputClock(rate: input.frameRate).interval
    }

    deinit {
        try? finish()
        var container: UnsafeMutablePointer<AVFormatContext>? = container
        close(&container)
    }

    /// Encodes and writes one frame, shown from its timestamp on. The first is at 0; timestamps that
    /// do not grow, or jump by more than an hour, count as one frame interval.
    ///
    /// - Parameter frame: of the input format.
    /// - Realtime: waits for disk or network; allocates nothing of our own
    public func write(_ frame: FrameBuffer) -> Status {
        precondition(
            frame.format.pixelFormat == input.pixelFormat && frame.format.width == input.width
                && frame.format.height == input.height, "a frame of the input format")
        guard lastError == nil, !isFinished else { return .failed }
        interruption.allow(nanoseconds: options.timeoutNanoseconds)
        let time = clock.advance(to: frame.metadata.timestampNanoseconds)
        var code = encoder.send(frame, time: time)
        if code >= 0 { code = writePackets() }
        guard code < 0 else { return .written }
        fail(code)
        return .failed
    }

    /// Writes what the encoder still holds and the end of the file. Idempotent.
    ///
    /// - Throws: `LibAVError` if this or an earlier write failed.
    public func finish() throws(LibAVError) {
        guard !isFinished else { return }
        isFinished = true
        interruption.allow(nanoseconds: options.timeoutNanoseconds)
        if lastError == nil {
            _ = encoder.sendEnd()
            let code = writePackets()
            if code < 0 { fail(code) }
        }
        // Also after a failure: it frees what the header allocated.
        let code = av_write_trailer(container)
        if code < 0 && lastError == nil { fail(code) }
        let closed = closeFile(of: container)
        if closed < 0 && lastError == nil { fail(closed) }
        if let lastError { throw lastError }
    }

    /// Moves packets from the encoder to the file; negative on failure.
    private func writePackets() -> Int32 {
        while true {
            let code = encoder.receive()
            if code == clibav_error_again || code == clibav_error_end_of_file { return 0 }
            guard code >= 0 else { return code }
            let packet = encoder.packet
            packet.pointee.stream_index = stream.pointee.index
            if packet.pointee.duration == 0 { packet.pointee.duration = packetDuration }
            av_packet_rescale_ts(
                packet, encoder.context.pointee.time_base, stream.pointee.time_base)
            let written = av_write_frame(container, packet)
            av_packet_unref(packet)
            guard written >= 0 else { return written }
            if let output = container.pointee.pb, output.pointee.error < 0 {
                return output.pointee.error
            }
        }
    }

    private func fail(_ code: Int32) {
        lastError = LibAVError(
            operation: "write", code: interruption.explain(code), file: file,
            detail: LibAVLog.takeLastError())
    }
}
