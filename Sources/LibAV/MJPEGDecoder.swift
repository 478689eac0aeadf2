// Decodes the JPEG pictures of a camera, on the capture thread.

internal import CLibAV
internal import Glibc
public import Video

/// MJPEG to pictures of one format and size. Used by one thread at a time.
///
/// For one whole picture at a time, as UVC cameras send them; for files and network streams see
/// `Demuxer`.
public final class MJPEGDecoder: @unchecked Sendable {
    /// What became of a JPEG.
    public enum Status: Sendable, Equatable {
        /// The output holds the picture.
        case frame
        /// Truncated, damaged, or no JPEG at all: count it and go on. The output is undefined.
        case badFrame
    }

    /// A JPEG longer than this is refused; cameras send up to a few megabytes.
    public static let byteCountMax = 64 << 20

    private let codec: UnsafeMutablePointer<AVCodecContext>
    private let packet: UnsafeMutablePointer<AVPacket>
    private let frame: UnsafeMutablePointer<AVFrame>
    private let scaler: FrameScaler
    // The JPEG and the padding that libavcodec reads into; grows to the longest seen.
    private var data: UnsafeMutablePointer<AVBufferRef>?

    /// Opens the decoder.
    ///
    /// - Parameters:
    ///   - output: format and size of the pictures wanted. Cameras may send another size, and
    ///     change it: each picture is scaled.
    ///   - fit: what to do about another shape.
    ///   - isMirrored: swap left and right.
    /// - Throws: `LibAVError` if libavcodec was built without MJPEG or `output` is a coded format.
    public init(output: VideoFormat, fit: Fit = .crop, isMirrored: Bool = false) throws(LibAVError)
    {
        LibAVLog.takeOver()
        scaler = try FrameScaler(output: output, fit: fit, isMirrored: isMirrored)
        codec = try openDecoder(AV_CODEC_ID_MJPEG, parameters: nil, file: "MJPEG") {
            // Stop at the first error rather than show half a picture.
            $0.pointee.err_recognition = AV_EF_EXPLODE | AV_EF_BITSTREAM | AV_EF_BUFFER
        }
        packet = av_packet_alloc()
        frame = av_frame_alloc()
    }

    deinit {
        var codec: UnsafeMutablePointer<AVCodecContext>? = codec
        var packet: UnsafeMutablePointer<AVPacket>? = packet
        var frame: UnsafeMutablePointer<AVFrame>? = frame
        av_packet_free(&packet)
        av_frame_free(&frame)
        avcodec_free_context(&codec)
        av_buffer_unref(&data)
    }

    /// Decodes the JPEG in a frame; `output` takes over its metadata.
    ///
    /// - Realtime: allocates nothing of our own in steady state
    public func decode(_ jpeg: FrameBuffer, into output: FrameBuffer) -> Status {
        output.metadata = jpeg.metadata
        return decode(
            UnsafeRawBufferPointer(rebasing: jpeg.bytes[..<jpeg.usedBytes]), into: output)
    }

    /// Decodes one JPEG.
    ///
    /// - Parameters:
    ///   - jpeg: one whole picture, zeros behind it allowed. Copied: may be a driver's buffer.
    ///   - output: of the format given at first; its metadata are left alone.
    /// - Realtime: allocates nothing of our own in steady state
    public func decode(_ jpeg: UnsafeRawBufferPointer, into output: FrameBuffer) -> Status {
        let count = Self.length(ofJPEG: jpeg)
        guard count > 0, load(UnsafeRawBufferPointer(rebasing: jpeg[..<count])) else {
            return .badFrame
        }
        defer {
            av_packet_unref(packet)
            av_frame_unref(frame)
        }
        guard avcodec_send_packet(codec, packet) >= 0 else {
            // A picture that an earlier failure left behind must not come out later.
            while avcodec_receive_frame(codec, frame) >= 0 {}
            return .badFrame
        }
        guard avcodec_receive_frame(codec, frame) >= 0, !UnsafePointer(frame).isDamaged else {
            return .badFrame
        }
        return scaler.convert(frame, to: output) ? .frame : .badFrame
    }

    /// Bytes from the start of the picture to its end marker; 0 if it has not both. A picture that
    /// lost its end would be decoded to grey where data are missing; browsers refuse it as well.
    private static func length(ofJPEG jpeg: UnsafeRawBufferPointer) -> Int {
        guard jpeg.count > 4, jpeg.count <= byteCountMax, jpeg[0] == 0xff, jpeg[1] == 0xd8 else {
            return 0
        }
        var end = jpeg.count
        while end > 4 {
            if jpeg[end - 1] == 0xd9, jpeg[end - 2] == 0xff { return end }
            end -= 1
        }
        return 0
    }

    /// Copies a JPEG into the packet.
    private func load(_ jpeg: UnsafeRawBufferPointer) -> Bool {
        let padding = Int(AV_INPUT_BUFFER_PADDING_SIZE)
        let needed = jpeg.count + padding
        if let buffer = data, buffer.pointee.size < needed || av_buffer_is_writable(buffer) == 0 {
            av_buffer_unref(&data)
        }
        // Twice what is needed now: the next pictures may be a little longer.
        if data == nil { data = av_buffer_alloc(2 * needed) }
        guard let bytes = data?.pointee.data, let source = jpeg.baseAddress else { return false }
        memcpy(bytes, source, jpeg.count)
        memset(bytes + jpeg.count, 0, padding)
        packet.pointee.buf = av_buffer_ref(data)
        packet.pointee.data = bytes
        packet.pointee.size = Int32(jpeg.count)
        return packet.pointee.buf != nil
    }
}

/// A decoder of `id`, ready for packets.
///
/// - Throws: `LibAVError` naming `file`.
func openDecoder(
    _ id: AVCodecID, parameters: UnsafePointer<AVCodecParameters>?, file: String,
    _ configure: (UnsafeMutablePointer<AVCodecContext>) -> Void
) throws(LibAVError) -> UnsafeMutablePointer<AVCodecContext> {
    guard let codec = avcodec_find_decoder(id) else {
        throw LibAVError(
            operation: "decode", code: clibav_error_decoder_not_found, file: file,
            detail: String(cString: avcodec_get_name(id)))
    }
    var context = avcodec_alloc_context3(codec)
    guard let opened = context else {
        throw LibAVError(operation: "decode", code: clibav_error_no_memory, file: file)
    }
    LibAVLog.takeLastError()
    var code: Int32 = 0
    if let parameters { code = avcodec_parameters_to_context(opened, parameters) }
    // One thread: frame threads would add a delay, and the cores belong to the network.
    opened.pointee.thread_count = 1
    opened.pointee.max_pixels = pixelCountMax
    configure(opened)
    if code >= 0 { code = avcodec_open2(opened, codec, nil) }
    guard code >= 0 else {
        avcodec_free_context(&context)
        throw LibAVError(
            operation: "decode", code: code, file: file, detail: LibAVLog.takeLastError())
    }
    return opened
}
