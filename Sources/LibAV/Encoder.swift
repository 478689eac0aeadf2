// From frames to packets: the part that files, network targets, pictures and loopbacks share.

internal import CLibAV
internal import Video

/// A video encoder and the conversion before it. Used by one thread at a time.
final class Encoder {
    let context: UnsafeMutablePointer<AVCodecContext>
    /// The packet that `receive` fills.
    let packet: UnsafeMutablePointer<AVPacket>
    private let frame: UnsafeMutablePointer<AVFrame>
    private let scaler: Scaler

    /// - Parameters:
    ///   - codec: for example what `avcodec_find_encoder_by_name` found.
    ///   - input: the frames that will come, uncompressed.
    ///   - file: for the error.
    ///   - configure: sets what is special, before the encoder is opened.
    init(
        _ codec: UnsafePointer<AVCodec>, input: VideoFormat, file: String,
        _ configure: (UnsafeMutablePointer<AVCodecContext>) -> Void
    ) throws(LibAVError) {
        LibAVLog.takeOver()
        LibAVLog.takeLastError()
        let pixels = Self.pixelFormat(for: codec)
        let coded = Self.layout(of: input, pixels: pixels)
        guard let source = PictureLayout(input), coded.width > 0, coded.height > 0 else {
            throw LibAVError(
                operation: "encode \(input) for", code: clibav_error_invalid_argument, file: file,
                detail: "the picture is too small or coded already")
        }
        var context = avcodec_alloc_context3(codec)
        guard let opened = context else {
            throw LibAVError(operation: "encode", code: clibav_error_no_memory, file: file)
        }
        Self.describe(coded, pixels: pixels, rate: input.frameRate, to: opened)
        configure(opened)
        let code = avcodec_open2(opened, codec, nil)
        guard code >= 0 else {
            avcodec_free_context(&context)
            throw LibAVError(
                operation: "start the encoder \(String(cString: codec.pointee.name)) for",
                code: code, file: file, detail: LibAVLog.takeLastError())
        }
        do {
            scaler = try Scaler(
                source: source, destination: coded, output: input,
                placement: Placement(topLeftWidth: coded.width, height: coded.height),
                isMirrored: false)
            frame = try Self.picture(of: opened)
        } catch {
            avcodec_free_context(&context)
            throw error
        }
        self.context = opened
        packet = av_packet_alloc()
    }

    deinit {
        var context: UnsafeMutablePointer<AVCodecContext>? = context
        var packet: UnsafeMutablePointer<AVPacket>? = packet
        var frame: UnsafeMutablePointer<AVFrame>? = frame
        av_packet_free(&packet)
        av_frame_free(&frame)
        avcodec_free_context(&context)
    }

    /// Converts and encodes one frame.
    ///
    /// - Parameter time: in units of the encoder's time base.
    /// - Returns: a libav code, negative on failure.
    /// - Realtime: allocates nothing of our own
    func send(_ picture: FrameBuffer, time: Int64, isKeyFrame: Bool = false) -> Int32 {
        // The encoder may still hold the last picture: then libav takes another from its pool.
        let code = av_frame_make_writable(frame)
        guard code >= 0 else { return code }
        guard scaler.convert(CLibAVPlanes(picture), to: clibav_planes(frame)) else {
            return clibav_error_invalid_argument
        }
        frame.pointee.pts = time
        frame.pointee.pict_type = isKeyFrame ? AV_PICTURE_TYPE_I : AV_PICTURE_TYPE_NONE
        return avcodec_send_frame(context, frame)
    }

    /// No more frames will come.
    func sendEnd() -> Int32 { avcodec_send_frame(context, nil) }

    /// Fills `packet`; negative if there is none (yet).
    func receive() -> Int32 { avcodec_receive_packet(context, packet) }

    /// The first of the layouts that we like among those that the encoder takes.
    private static func pixelFormat(for codec: UnsafePointer<AVCodec>) -> AVPixelFormat {
        let preferred: [AVPixelFormat] =
            switch codec.pointee.id {
            // Here to be lossless; its RGB is called bgr0.
            case AV_CODEC_ID_FFV1: [AV_PIX_FMT_BGR0]
            case AV_CODEC_ID_MJPEG: [AV_PIX_FMT_YUVJ422P]
            default: [AV_PIX_FMT_RGB24, AV_PIX_FMT_YUV420P, AV_PIX_FMT_RGB8]
            }
        guard let offered = codec.pointee.pix_fmts else { return AV_PIX_FMT_YUV420P }
        func isOffered(_ pixels: AVPixelFormat) -> Bool {
            var i = 0
            while offered[i] != AV_PIX_FMT_NONE {
                if offered[i] == pixels { return true }
                i += 1
            }
            return false
        }
        return preferred.first(where: isOffered) ?? offered[0]
    }

    /// What the encoder is given for frames of `input`.
    private static func layout(of input: VideoFormat, pixels: AVPixelFormat) -> PictureLayout {
        let isJPEG = pixels.withoutRange != pixels
        // H.264 and its like take 4:2:0 of even size only: the odd row or column is left out.
        let isHalved = pixels == AV_PIX_FMT_YUV420P
        return PictureLayout(
            pixels: pixels.withoutRange, width: isHalved ? input.width & ~1 : input.width,
            height: isHalved ? input.height & ~1 : input.height,
            range: isJPEG || !pixels.isYCbCr ? .full : .limited,
            // What players assume of each size even when they ignore the tags.
            matrix: !isJPEG && input.height >= 720 ? SWS_CS_ITU709 : SWS_CS_ITU601)
    }

    /// Size, layout and colour tags.
    private static func describe(
        _ layout: PictureLayout, pixels: AVPixelFormat, rate: FrameRate,
        to context: UnsafeMutablePointer<AVCodecContext>
    ) {
        context.pointee.width = Int32(layout.width)
        context.pointee.height = Int32(layout.height)
        context.pointee.pix_fmt = pixels
        context.pointee.time_base = AVRational(num: 1, den: ticksPerSecond)
        context.pointee.framerate = AVRational(
            num: Int32(clamping: rate.numerator), den: Int32(clamping: rate.denominator))
        context.pointee.thread_count = 1
        context.pointee.max_pixels = pixelCountMax
        context.pointee.color_range = layout.range == .full ? AVCOL_RANGE_JPEG : AVCOL_RANGE_MPEG
        guard pixels.isYCbCr else {
            context.pointee.colorspace = AVCOL_SPC_RGB
            return
        }
        let is709 = layout.matrix == SWS_CS_ITU709
        context.pointee.colorspace = is709 ? AVCOL_SPC_BT709 : AVCOL_SPC_SMPTE170M
        context.pointee.color_primaries = is709 ? AVCOL_PRI_BT709 : AVCOL_PRI_SMPTE170M
        context.pointee.color_trc = is709 ? AVCOL_TRC_BT709 : AVCOL_TRC_SMPTE170M
    }

    private static func picture(
        of context: UnsafeMutablePointer<AVCodecContext>
    ) throws(LibAVError) -> UnsafeMutablePointer<AVFrame> {
        var frame = av_frame_alloc()
        guard let picture = frame else {
            throw LibAVError(operation: "allocate a picture", code: clibav_error_no_memory)
        }
        picture.pointee.format = context.pointee.pix_fmt.rawValue
        picture.pointee.width = context.pointee.width
        picture.pointee.height = context.pointee.height
        picture.pointee.color_range = context.pointee.color_range
        picture.pointee.colorspace = context.pointee.colorspace
        picture.pointee.quality = context.pointee.global_quality
        let code = av_frame_get_buffer(picture, 0)
        guard code >= 0 else {
            av_frame_free(&frame)
            throw LibAVError(operation: "allocate a picture", code: code)
        }
        return picture
    }
}

/// Units of time of every encoder: a multiple of the usual frame rates, and small enough for MPEG-4.
let ticksPerSecond: Int32 = 60000

extension AVPixelFormat {
    fileprivate var isYCbCr: Bool {
        guard let description = av_pix_fmt_desc_get(self) else { return false }
        return description.pointee.flags & UInt64(AV_PIX_FMT_FLAG_RGB) == 0
            && description.pointee.nb_components >= 3
    }
}
