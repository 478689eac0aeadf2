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
    /// Bytes from one row to the next, of each plane; empty for MJPEG and exotic formats.
    public let strides: [Int]
    /// Byte offset of each plane; empty for MJPEG and exotic formats.
    public let planeOffsets: [Int]
    /// Code values of luma and chroma, as the driver reports or V4L2 defines for its colour space.
    public let colorRange: ColorRange
    /// Which matrix turns luma and chroma into RGB.
    public let matrix: Matrix
    /// A complete picture has at least this many bytes; fewer are a short frame.
    public let imageBytesMin: Int
    /// A picture has at most this many bytes.
    public let imageBytesMax: Int

    /// A YCbCr matrix.
    public enum Matrix: String, Sendable, Codable {
        /// ITU-R BT.601: webcams.
        case bt601
        /// ITU-R BT.709: some capture cards.
        case bt709
    }

    /// What libav and a `FrameBuffer` need to know; nil if it takes an `ExoticConverter`.
    public var videoFormat: VideoFormat? {
        pixelFormat.map {
            VideoFormat(
                pixelFormat: $0, width: width, height: height, frameRate: frameRate,
                colorRange: colorRange)
        }
    }

    /// Whether the rows lie in memory as in a `FrameBuffer`, so that one copy takes the picture.
    public var isUnpadded: Bool {
        guard let pixelFormat, pixelFormat != .mjpeg else { return true }
        return strides.indices.allSatisfy {
            strides[$0] == pixelFormat.rowBytes(plane: $0, width: width)
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
            strides = []
            planeOffsets = []
            // The shortest baseline JPEG: start and end of image, tables, one block.
            imageBytesMin = pixelFormat == .mjpeg ? 125 : 1
            return
        }
        (strides, planeOffsets, imageBytesMin) = Self.layout(
            pixelFormat, width: width, height: height, bytesPerLine: Int(answer.bytesperline))
    }

    /// Strides, offsets and size for the stride of the first plane. Chroma strides follow from it
    /// (V4L2 specification, "Planar YUV formats").
    static func layout(
        _ pixelFormat: PixelFormat, width: Int, height: Int, bytesPerLine: Int
    ) -> (strides: [Int], offsets: [Int], imageBytes: Int) {
        let first = max(bytesPerLine, pixelFormat.rowBytes(plane: 0, width: width))
        var strides = [Int]()
        var offsets = [Int]()
        var offset = 0
        var end = 0
        for plane in 0..<pixelFormat.planeCount {
            let row = pixelFormat.rowBytes(plane: plane, width: width)
            let half = pixelFormat == .yu12 ? first / 2 : first
            let stride = plane == 0 ? first : max(row, half)
            let rows = pixelFormat.rows(plane: plane, height: height)
            strides.append(stride)
            offsets.append(offset)
            // The padding of the very last row need not be there.
            end = offset + stride * (rows - 1) + row
            offset += stride * rows
        }
        return (strides, offsets, end)
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

    private static func matrix(of answer: v4l2_pix_format) -> Matrix {
        if answer.ycbcr_enc == CLINUX_V4L2_YCBCR_ENC_709 { return .bt709 }
        let isDefault = answer.ycbcr_enc == 0
        return isDefault && answer.colorspace == CLINUX_V4L2_COLORSPACE_REC709 ? .bt709 : .bt601
    }
}
