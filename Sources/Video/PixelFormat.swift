// The pixel layouts that travel through Lucida, named as V4L2 names them.

/// The layout of one picture in memory.
public enum PixelFormat: String, Sendable, CaseIterable, Codable {
    /// Packed 8-bit red, green, blue. The layout between the stages of the pipeline.
    case rgb24
    /// Packed 8-bit blue, green, red.
    case bgr24
    /// Packed 4:2:2, Y0 Cb Y1 Cr. The common denominator of webcams and conferencing apps.
    case yuyv
    /// Packed 4:2:2, Cb Y0 Cr Y1.
    case uyvy
    /// Planar luma, interleaved chroma 4:2:0.
    case nv12
    /// Three planes 4:2:0, Y Cb Cr (I420).
    case yu12
    /// One JPEG picture a frame: variable length, one plane.
    case mjpeg

    /// Planes of an uncompressed picture; 1 for MJPEG.
    public var planeCount: Int {
        switch self {
        case .rgb24, .bgr24, .yuyv, .uyvy, .mjpeg: 1
        case .nv12: 2
        case .yu12: 3
        }
    }

    /// Whether luma and chroma are stored rather than RGB.
    public var isYCbCr: Bool { self != .rgb24 && self != .bgr24 }

    /// Bytes in a row of `plane` without padding. Meaningless for MJPEG, which has no rows: 0.
    public func rowBytes(plane: Int, width: Int) -> Int {
        switch self {
        case .rgb24, .bgr24: width * 3
        case .yuyv, .uyvy: (width + 1) / 2 * 4
        case .nv12: plane == 0 ? width : (width + 1) / 2 * 2
        case .yu12: plane == 0 ? width : (width + 1) / 2
        case .mjpeg: 0
        }
    }

    /// Rows of `plane`.
    public func rows(plane: Int, height: Int) -> Int {
        switch self {
        case .rgb24, .bgr24, .yuyv, .uyvy: height
        case .nv12, .yu12: plane == 0 ? height : (height + 1) / 2
        case .mjpeg: 0
        }
    }

    /// Bytes of one unpadded picture, the `sizeimage` a V4L2 driver should compute. For MJPEG an
    /// upper bound that any sane camera keeps: two bytes a pixel and room for headers.
    public func imageBytes(width: Int, height: Int) -> Int {
        guard self != .mjpeg else { return width * height * 2 + 4096 }
        return (0..<planeCount).reduce(0) {
            $0 + rowBytes(plane: $1, width: width) * rows(plane: $1, height: height)
        }
    }
}

/// A driver's buffer, where rows may be padded. The stride of the first plane, `bytesPerLine`, fixes
/// the others (V4L2 specification, "Planar YUV formats"). Nothing here is meant for MJPEG.
extension PixelFormat {
    /// Bytes from one row of `plane` to the next; rows are never shorter than their pixels.
    ///
    /// - Realtime: safe
    public func stride(plane: Int, width: Int, bytesPerLine: Int) -> Int {
        let first = max(bytesPerLine, rowBytes(plane: 0, width: width))
        guard plane > 0 else { return first }
        return max(rowBytes(plane: plane, width: width), self == .yu12 ? first / 2 : first)
    }

    /// Bytes from the first byte of the picture to that of `plane`.
    ///
    /// - Realtime: safe
    public func offset(plane: Int, width: Int, height: Int, bytesPerLine: Int) -> Int {
        var offset = 0
        for earlier in 0..<plane {
            offset +=
                stride(plane: earlier, width: width, bytesPerLine: bytesPerLine)
                * rows(plane: earlier, height: height)
        }
        return offset
    }

    /// Bytes from the first to the last pixel: the padding of the very last row need not be there.
    ///
    /// - Realtime: safe
    public func spannedBytes(width: Int, height: Int, bytesPerLine: Int) -> Int {
        let last = planeCount - 1
        return offset(plane: last, width: width, height: height, bytesPerLine: bytesPerLine)
            + stride(plane: last, width: width, bytesPerLine: bytesPerLine)
            * (rows(plane: last, height: height) - 1) + rowBytes(plane: last, width: width)
    }
}

/// Which matrix turns luma and chroma into RGB.
public enum ColorMatrix: String, Sendable, Codable {
    /// ITU-R BT.601: webcams, JPEG, and what conferencing apps assume.
    case bt601
    /// ITU-R BT.709: some capture cards.
    case bt709
}

/// Which code values luma and chroma use.
public enum ColorRange: String, Sendable, Codable {
    /// 16–235 for luma, 16–240 for chroma: what conferencing apps assume of YUYV (BT.601).
    case limited
    /// 0–255: what JPEG and RGB use.
    case full
}
