// How libav names a picture: pixel format, size, range and matrix.

internal import CLibAV
internal import Video

extension PixelFormat {
    /// libav's name; nil for MJPEG, which is a codec and no layout.
    var libav: AVPixelFormat? {
        switch self {
        case .rgb24: AV_PIX_FMT_RGB24
        case .bgr24: AV_PIX_FMT_BGR24
        case .yuyv: AV_PIX_FMT_YUYV422
        case .uyvy: AV_PIX_FMT_UYVY422
        case .nv12: AV_PIX_FMT_NV12
        case .yu12: AV_PIX_FMT_YUV420P
        case .mjpeg: nil
        }
    }
}

/// An uncompressed picture as libswscale has to know it.
struct PictureLayout: Equatable {
    var pixels: AVPixelFormat
    var width: Int
    var height: Int
    var range: ColorRange
    /// One of `SWS_CS_*`.
    var matrix: Int32 = SWS_CS_ITU601

    init(
        pixels: AVPixelFormat, width: Int, height: Int, range: ColorRange,
        matrix: Int32 = SWS_CS_ITU601
    ) {
        self.pixels = pixels
        self.width = width
        self.height = height
        self.range = range
        self.matrix = matrix
    }

    /// The layout of frames of `format`; nil for MJPEG.
    init?(_ format: VideoFormat) {
        guard let pixels = format.pixelFormat.libav else { return nil }
        self.init(
            pixels: pixels, width: format.width, height: format.height, range: format.colorRange,
            matrix: format.matrix == .bt709 ? SWS_CS_ITU709 : SWS_CS_ITU601)
        if isRGB { range = .full }
    }

    /// The layout of a decoded frame.
    init(_ frame: UnsafePointer<AVFrame>) {
        let declared = AVPixelFormat(rawValue: frame.pointee.format)
        let isJPEG = declared != declared.withoutRange
        let isFull = isJPEG || frame.pointee.color_range == AVCOL_RANGE_JPEG
        let width = Int(frame.pointee.width)
        let height = Int(frame.pointee.height)
        let matrix: Int32 =
            switch frame.pointee.colorspace {
            case AVCOL_SPC_BT709: SWS_CS_ITU709
            case AVCOL_SPC_BT2020_NCL, AVCOL_SPC_BT2020_CL: SWS_CS_BT2020
            case AVCOL_SPC_SMPTE240M: SWS_CS_SMPTE240M
            // Untagged: JPEG is BT.601 by definition (JFIF), video of high definition BT.709.
            case AVCOL_SPC_UNSPECIFIED where !isFull && height >= 720: SWS_CS_ITU709
            default: SWS_CS_ITU601
            }
        self.init(
            pixels: declared.withoutRange, width: width, height: height,
            range: isFull ? .full : .limited, matrix: matrix)
        if isRGB { range = .full }
    }

    var isRGB: Bool {
        guard let description = av_pix_fmt_desc_get(pixels) else { return false }
        let flags = UInt64(AV_PIX_FMT_FLAG_RGB | AV_PIX_FMT_FLAG_PAL)
        return description.pointee.flags & flags != 0
    }

    /// Whether libswscale reads this layout.
    var isConvertible: Bool {
        width > 0 && height > 0 && sws_isSupportedInput(pixels) != 0
            && av_pix_fmt_desc_get(pixels) != nil
    }

    /// What the left and top edge of a part of the picture must be multiples of.
    var grid: (x: Int, y: Int) {
        guard let description = av_pix_fmt_desc_get(pixels)?.pointee else { return (1, 1) }
        let isBitstream = description.flags & UInt64(AV_PIX_FMT_FLAG_BITSTREAM) != 0
        return (
            isBitstream ? 8 : 1 << Int(description.log2_chroma_w),
            1 << Int(description.log2_chroma_h)
        )
    }

    func withSize(_ width: Int, _ height: Int) -> PictureLayout {
        PictureLayout(pixels: pixels, width: width, height: height, range: range, matrix: matrix)
    }
}

extension AVPixelFormat {
    /// The deprecated formats that name the full range replaced by those that do not.
    var withoutRange: AVPixelFormat {
        switch self {
        case AV_PIX_FMT_YUVJ420P: AV_PIX_FMT_YUV420P
        case AV_PIX_FMT_YUVJ422P: AV_PIX_FMT_YUV422P
        case AV_PIX_FMT_YUVJ444P: AV_PIX_FMT_YUV444P
        case AV_PIX_FMT_YUVJ440P: AV_PIX_FMT_YUV440P
        case AV_PIX_FMT_YUVJ411P: AV_PIX_FMT_YUV411P
        default: self
        }
    }
}
