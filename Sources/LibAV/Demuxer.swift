// Reads frames from video files, pictures and network streams, on the capture thread.

internal import CLibAV
public import Video

/// The best video stream of anything that libavformat opens. Pictures are videos of one frame.
///
/// Opened and prepared by the control thread; then `next` belongs to one thread.
public final class Demuxer: @unchecked Sendable {
    /// What came of asking for a frame.
    public enum Status: Sendable, Equatable {
        /// The output holds the next frame.
        case frame
        /// Nothing yet: ask again.
        case again
        /// A frame was damaged or could not be converted: count it and go on.
        case badFrame
        /// There are no more frames, or `stop` was called.
        case endOfStream
        /// Reading failed for good: see `lastError`.
        case failed
    }

    /// What the user named.
    public let file: String
    /// Pixels in a row as shown: rotated and with square pixels.
    public let width: Int
    /// Rows as shown.
    public let height: Int
    /// Nominal rate; 30 where the file does not tell.
    public let frameRate: FrameRate
    /// Why `next` failed. Capture thread only.
    public private(set) var lastError: LibAVError?

    private let interruption: Interruption
    private let timeoutNanoseconds: Int64
    private let container: UnsafeMutablePointer<AVFormatContext>
    private let stream: UnsafeMutablePointer<AVStream>
    private let codec: UnsafeMutablePointer<AVCodecContext>
    private let packet: UnsafeMutablePointer<AVPacket>
    private let frame: UnsafeMutablePointer<AVFrame>
    private let turns: Int
    private var scaler: FrameScaler?
    // The picture as stored, if it has to be turned.
    private var upright: FrameBuffer?
    private var isMirrored = false
    private var isDraining = false
    private var clock: StreamClock

    /// Opens a file or URL and learns what is in it.
    ///
    /// - Parameters:
    ///   - file: a path, a URL, or a pattern such as `frame%06d.png`.
    ///   - timeoutNanoseconds: for opening, and for each frame, of network streams above all.
    /// - Throws: `LibAVError` naming the file: not there, empty, a folder, no video in it, damaged,
    ///   larger than 8192 × 8192 pixels, no answer in time.
    public init(file: String, timeoutNanoseconds: Int64 = 10_000_000_000) throws(LibAVError) {
        LibAVLog.takeOver()
        let path = MediaPath(file)
        let interruption = Interruption(opening: path)
        interruption.allow(nanoseconds: timeoutNanoseconds)
        let opened = try openInput(path, interruption)
        var container: UnsafeMutablePointer<AVFormatContext>? = opened
        let found: VideoStream
        do { found = try VideoStream(of: opened, file: file, interruption) } catch {
            // libav asks it until the container is closed.
            withExtendedLifetime(interruption) { avformat_close_input(&container) }
            throw error
        }
        interruption.hasOpened()
        self.file = file
        self.interruption = interruption
        self.timeoutNanoseconds = timeoutNanoseconds
        self.container = opened
        stream = found.stream
        codec = found.codec
        packet = av_packet_alloc()
        frame = av_frame_alloc()
        (width, height, turns) = (found.width, found.height, found.turns)
        frameRate = found.frameRate
        clock = StreamClock(intervalNanoseconds: found.frameRate.intervalNanoseconds)
    }

    deinit {
        var container: UnsafeMutablePointer<AVFormatContext>? = container
        var codec: UnsafeMutablePointer<AVCodecContext>? = codec
        var packet: UnsafeMutablePointer<AVPacket>? = packet
        var frame: UnsafeMutablePointer<AVFrame>? = frame
        av_packet_free(&packet)
        av_frame_free(&frame)
        avcodec_free_context(&codec)
        interruption.allow(nanoseconds: 1_000_000_000)
        avformat_close_input(&container)
    }

    /// Fixes what `next` will deliver. Control thread, before the first `next`.
    ///
    /// - Parameters:
    ///   - output: format and size wanted, `rgb24`.
    ///   - fit: what to do about another shape.
    ///   - isMirrored: swap left and right.
    /// - Throws: `LibAVError` if `output` is no format that frames can be converted to.
    public func prepare(
        output: VideoFormat, fit: Fit = .crop, isMirrored: Bool = false
    ) throws(LibAVError) {
        guard output.pixelFormat == .rgb24 else {
            throw LibAVError(
                operation: "decode to \(output)", code: clibav_error_invalid_argument, file: file,
                detail: "frames come out as rgb24")
        }
        var stored = output
        if turns % 2 == 1 { swap(&stored.width, &stored.height) }
        upright = turns == 0 ? nil : FrameBuffer(format: stored)
        self.isMirrored = isMirrored
        scaler = try FrameScaler(output: stored, fit: fit, isMirrored: isMirrored && turns == 0)
    }

    /// Reads, decodes and converts the next frame. Its timestamp is counted from the first frame,
    /// always grows, and jumps by a minute at most; its sequence number counts from 0.
    ///
    /// - Parameter output: of the format given to `prepare`.
    /// - Realtime: waits for the file; allocates nothing of our own in steady state
    public func next(into output: FrameBuffer) -> Status {
        precondition(scaler != nil, "prepare comes before next")
        guard lastError == nil else { return .failed }
        interruption.allow(nanoseconds: timeoutNanoseconds)
        while true {
            let code = avcodec_receive_frame(codec, frame)
            if code >= 0 { return deliver(to: output) }
            if code == clibav_error_end_of_file { return .endOfStream }
            guard code == clibav_error_again else { return .badFrame }
            guard !isDraining else { return .endOfStream }
            if let status = feed() { return status }
        }
    }

    /// Makes a waiting `next` return, and every later one. Any thread.
    public func stop() { interruption.stop() }

    /// Reads one packet into the decoder.
    ///
    /// - Returns: nil to go on.
    private func feed() -> Status? {
        let code = av_read_frame(container, packet)
        guard code >= 0 else {
            if interruption.isStopped { return .endOfStream }
            if code == clibav_error_again { return .again }
            if code == clibav_error_end_of_file {
                isDraining = true
                avcodec_send_packet(codec, nil)
                return nil
            }
            lastError = LibAVError(
                operation: "read", code: interruption.explain(code), file: file,
                detail: LibAVLog.takeLastError())
            return .failed
        }
        defer { av_packet_unref(packet) }
        guard packet.pointee.stream_index == stream.pointee.index else {
            // A live stream that only ever sends sound would keep us here.
            return interruption.isStopped ? .endOfStream : interruption.isOverdue ? .again : nil
        }
        let sent = avcodec_send_packet(codec, packet)
        return sent >= 0 || sent == clibav_error_again ? nil : .badFrame
    }

    /// Converts what the decoder gave.
    private func deliver(to output: FrameBuffer) -> Status {
        defer { av_frame_unref(frame) }
        let time = clock.advance(to: frame.pointee.best_effort_timestamp, stream.pointee.time_base)
        guard !UnsafePointer(frame).isDamaged, let scaler,
            scaler.convert(frame, to: upright ?? output)
        else { return .badFrame }
        if let upright {
            turn(upright, by: turns, into: output)
            if isMirrored {
                mirrorRows(
                    output.plane(0), stride: output.strides[0], width: output.format.width,
                    height: output.format.height)
            }
        }
        output.metadata = time
        return .frame
    }
}
