// Pictures in memory that this module does not own, and padded ones that it does.

internal import CLibAV
internal import Glibc
public import Video

/// A picture in somebody else's memory, for example a driver's mapped buffer. Valid as long as that
/// memory is.
public struct ImagePlanes {
    let planes: CLibAVPlanes
    let format: VideoFormat
    /// Bytes from the first to the last pixel: a buffer with fewer holds no whole picture.
    public let byteCount: Int
    let base: UnsafeRawPointer

    /// Planes one after another, laid out as V4L2's single-planar interface does.
    ///
    /// - Parameters:
    ///   - base: the first pixel.
    ///   - format: layout and size; not MJPEG.
    ///   - bytesPerLine: from one row of the first plane to the next; 0 if the rows are unpadded.
    /// - Realtime: safe
    public init(base: UnsafeRawPointer, format: VideoFormat, bytesPerLine: Int = 0) {
        let pixels = format.pixelFormat
        precondition(pixels != .mjpeg, "a JPEG has no planes")
        let start = UnsafeMutablePointer(mutating: base.assumingMemoryBound(to: UInt8.self))
        func stride(_ plane: Int) -> Int32 {
            Int32(pixels.stride(plane: plane, width: format.width, bytesPerLine: bytesPerLine))
        }
        func data(_ plane: Int) -> UnsafeMutablePointer<UInt8> {
            start
                + pixels.offset(
                    plane: plane, width: format.width, height: format.height,
                    bytesPerLine: bytesPerLine)
        }
        var planes = CLibAVPlanes()
        (planes.data.0, planes.linesize.0) = (start, stride(0))
        if pixels.planeCount > 1 { (planes.data.1, planes.linesize.1) = (data(1), stride(1)) }
        if pixels.planeCount > 2 { (planes.data.2, planes.linesize.2) = (data(2), stride(2)) }
        byteCount = pixels.spannedBytes(
            width: format.width, height: format.height, bytesPerLine: bytesPerLine)
        self.planes = planes
        self.format = format
        self.base = base
    }

    /// Whether 64 bytes past the last pixel may be read, as SIMD code does: memory is mapped in
    /// pages, so they can unless the picture ends right before a page does.
    var mayBeOverrun: Bool {
        let end = UInt(bitPattern: base) + UInt(byteCount)
        return end % 4096 != 0 && 4096 - end % 4096 >= 64
    }
}

extension CLibAVPlanes {
    init(_ frame: FrameBuffer) {
        self.init()
        data.0 = frame.plane(0)
        linesize.0 = Int32(frame.strides[0])
        if frame.format.pixelFormat.planeCount > 1 {
            data.1 = frame.plane(1)
            linesize.1 = Int32(frame.strides[1])
        }
        if frame.format.pixelFormat.planeCount > 2 {
            data.2 = frame.plane(2)
            linesize.2 = Int32(frame.strides[2])
        }
    }
}

/// A picture whose rows may be overrun by SIMD code.
final class PaddedPicture {
    let layout: PictureLayout
    let planes: CLibAVPlanes

    init(_ layout: PictureLayout) throws(LibAVError) {
        self.layout = layout
        var planes = CLibAVPlanes()
        // Some of libswscale's loops write whole vectors: 32 pixels more a row, one row more.
        let code = clibav_allocate(
            &planes, Int32(layout.width + 32), Int32(layout.height + 1), layout.pixels)
        guard code >= 0, let start = planes.data.0 else {
            throw LibAVError(operation: "allocate a picture", code: code)
        }
        memset(start, 0, Int(code))
        self.planes = planes
    }

    deinit { av_free(planes.data.0) }

    /// Copies the picture to `destination`, which has the same layout and room for no more.
    ///
    /// - Realtime: safe
    func copy(to destination: CLibAVPlanes) { copy(planes, to: destination) }

    /// Copies a picture of the same layout into this one.
    ///
    /// - Realtime: safe
    func copy(from source: CLibAVPlanes) { copy(source, to: planes) }

    private func copy(_ from: CLibAVPlanes, to: CLibAVPlanes) {
        var source = from
        var target = to
        for plane in 0..<3 {
            guard let from = source.data.0, let to = target.data.0 else { return }
            let rows = plane == 0 ? layout.height : -(-layout.height >> layout.chromaShiftY)
            let bytes = av_image_get_linesize(layout.pixels, Int32(layout.width), Int32(plane))
            av_image_copy_plane(
                to, target.linesize.0, from, source.linesize.0, bytes, Int32(rows))
            source.dropFirst()
            target.dropFirst()
        }
    }
}

extension CLibAVPlanes {
    /// Makes the next plane the first.
    fileprivate mutating func dropFirst() {
        data = (data.1, data.2, data.3, nil)
        linesize = (linesize.1, linesize.2, linesize.3, 0)
    }
}

extension PictureLayout {
    fileprivate var chromaShiftY: Int {
        Int(av_pix_fmt_desc_get(pixels)?.pointee.log2_chroma_h ?? 0)
    }
}

/// Mirrors the rows of 3-byte pixels, from the left edge to the right.
///
/// - Realtime: safe
func mirrorRows(
    _ pixels: UnsafeMutablePointer<UInt8>, stride: Int, width: Int, height: Int
) {
    for y in 0..<height {
        var left = pixels + y * stride
        var right = left + (width - 1) * 3
        while left < right {
            (left[0], right[0]) = (right[0], left[0])
            (left[1], right[1]) = (right[1], left[1])
            (left[2], right[2]) = (right[2], left[2])
            left += 3
            right -= 3
        }
    }
}
