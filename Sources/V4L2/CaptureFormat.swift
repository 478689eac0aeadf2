// What a camera was set to, in every detail that reading its buffers takes.

internal import CLinux
public import Video

/// The format a camera delivers after it was set.
public struct CaptureFormat: Sendable, Equatable {
    /// The driver's code.
    public let fourCC: FourCC
    /// The layout, or nil if it takes an `ExoticConverter`.
    public let pixelFormat: PixelFormat?
    /// Pixels in a row.
    public let width: Int
    /// Rows.
    public let height: Int
    /// Rate the driver promises; the requested one if it promises none.
    public let frameRate: FrameRate
    /// Bytes from one row of the first plane to the next, which fixes the others; 0 for MJPEG and
    /// exotic formats.
    public let bytesPerLine: Int
    /// Code values of luma and chroma, as the driver reports or V4L2 defines for its colour space.
    public let colorRange: ColorRange
    /// Which matrix turns luma and chroma into RGB.
    public let matrix: ColorMatrix
    /// A complete picture has at least this many bytes; fewer are a short frame.
    public let imageBytesMin: Int
    /// A picture has at most this many bytes.
    public let imageBytesMax: Int

    /// What libav and a `FrameBuffer` need to know; nil if it takes an `ExoticConverter`.
    public var videoFormat: VideoFormat? {
        pixelFormat.map {
            VideoFormat(
                pixelFormat: $0, width: width, height: height, frameRate: frameRate,
                colorRange: colorRange, matrix: matrix)
        }
    }

    init(_ answer: v4l2_pix_format, frameRate: FrameRate) {
        fourCC = FourCC(rawValue: answer.pixelformat)
        pixelFormat = fourCC.pixelFormat
        width = Int(answer.width)
        height = Int(answer.height)
        self.frameRate = frameRate
        imageBytesMax = Int(answer.sizeimage)
        colorRange = Self.range(of: answer, pixelFormat: pixelFormat)
        matrix = Self.matrix(of: answer)
        guard let pixelFormat, pixelFormat != .mjpeg else {
            bytesPerLine = 0
            // The shortest baseline JPEG: start and end of image, tables, one block.
            imageBytesMin = pixelFormat == .mjpeg ? 125 : 1
            return
        }
        bytesPerLine = pixelFormat.stride(
            plane: 0, width: width, bytesPerLine: Int(answer.bytesperline))
        imageBytesMin = pixelFormat.spannedBytes(
            width: width, height: height, bytesPerLine: bytesPerLine)
    }

    /// `V4L2_MAP_QUANTIZATION_DEFAULT`: RGB and JPEG use all codes, the rest the limited range.
    private static func range(
        of answer: v4l2_pix_format, pixelFormat: PixelFormat?
    ) -> ColorRange {
        switch answer.quantization {
        case CLINUX_V4L2_QUANTIZATION_FULL_RANGE: return .full
        case CLINUX_V4L2_QUANTIZATION_LIM_RANGE: return .limited
        default: break
        }
        if pixelFormat == .mjpeg || answer.colorspace == CLINUX_V4L2_COLORSPACE_JPEG {
            return .full
        }
        if let pixelFormat { return pixelFormat.isYCbCr ? .limited : .full }
        return ExoticConverter.isYCbCr(FourCC(rawValue: answer.pixelformat)) ? .limited : .full
    }

    private static func matrix(of answer: v4l2_pix_format) -> ColorMatrix {
        if answer.ycbcr_enc == CLINUX_V4L2_YCBCR_ENC_709 { return .bt709 }
        let isDefault = answer.ycbcr_enc == 0
        return isDefault && answer.colorspace == CLINUX_V4L2_COLORSPACE_REC709 ? .bt709 : .bt601
    }
}
