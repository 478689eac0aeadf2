// Encodes the JPEG pictures of a loopback that was asked for MJPEG, on the sink's thread.

internal import CLibAV
internal import Glibc
public import Video

/// RGB24 (or any other layout) to JPEG, one picture at a time. Used by one thread at a time.
public final class MJPEGEncoder: @unchecked Sendable {
    private let encoder: Encoder
    private let input: VideoFormat
    private var count: Int64 = 0

    /// Opens the encoder.
    ///
    /// - Parameters:
    ///   - input: format of the frames that will come.
    ///   - quantizer: 2 (best) to 31 (smallest).
    /// - Throws: `LibAVError` if libavcodec was built without MJPEG.
    public init(input: VideoFormat, quantizer: Int = 4) throws(LibAVError) {
        self.input = input
        encoder = try Encoder(
            try findEncoder(AV_CODEC_ID_MJPEG, file: "MJPEG"), input: input, file: "MJPEG"
        ) { configureJPEG($0, quantizer: quantizer) }
    }

    /// Encodes a frame; `output` takes over its metadata and `usedBytes` is the length of the JPEG.
    ///
    /// - Parameters:
    ///   - frame: of the input format.
    ///   - output: of the format `mjpeg`.
    /// - Returns: whether there is a JPEG in `output`: not if it does not fit.
    /// - Realtime: allocates nothing of our own
    public func encode(_ frame: FrameBuffer, into output: FrameBuffer) -> Bool {
        precondition(output.format.pixelFormat == .mjpeg, "a frame for a JPEG")
        precondition(
            frame.format.pixelFormat == input.pixelFormat && frame.format.width == input.width
                && frame.format.height == input.height, "a frame of the input format")
        guard encoder.send(frame, time: count) >= 0, encoder.receive() >= 0 else { return false }
        defer { av_packet_unref(encoder.packet) }
        count += 1
        let length = Int(encoder.packet.pointee.size)
        guard length <= output.bytes.count, let data = encoder.packet.pointee.data else {
            return false
        }
        memcpy(output.plane(0), data, length)
        output.usedBytes = length
        output.metadata = frame.metadata
        return true
    }
}

/// Constant quality, and the standard Huffman tables: one pass, and every reader knows them.
func configureJPEG(_ context: UnsafeMutablePointer<AVCodecContext>, quantizer: Int) {
    let quality = Int32(min(max(quantizer, 2), 31)) * FF_QP2LAMBDA
    context.pointee.flags |= AV_CODEC_FLAG_QSCALE
    context.pointee.global_quality = quality
    context.pointee.qmin = 2
    context.pointee.qmax = 31
    av_opt_set(context.pointee.priv_data, "huffman", "default", 0)
}

/// The default encoder of `id`.
func findEncoder(_ id: AVCodecID, file: String) throws(LibAVError) -> UnsafePointer<AVCodec> {
    guard let codec = avcodec_find_encoder(id) else {
        throw LibAVError(
            operation: "encode", code: clibav_error_encoder_not_found, file: file,
            detail: String(cString: avcodec_get_name(id)))
    }
    return codec
}
