// Pixel formats that only exotic cameras send, converted by libv4lconvert. Capture thread.

internal import CLibV4L
internal import CLinux
public import Video

/// Converts a format Lucida does not know itself (Bayer patterns, YVYU, 16-bit RGB, …).
///
/// Made by whoever opens the stream, used by the capture thread. The stream's device must
/// outlive it. Not for the common formats: those are read directly.
public final class ExoticConverter: @unchecked Sendable {
    /// What `convert` writes: YU12 for YCbCr sources, whose range is kept; RGB24 for the others.
    public let outputFormat: VideoFormat

    // v4lconvert_data; freed in deinit.
    private let library: OpaquePointer
    private let device: VideoDevice
    private var source: v4l2_format
    private var destination: v4l2_format

    /// A converter for what `stream` delivers.
    ///
    /// - Throws: `V4L2Error` if libv4lconvert does not know the format.
    public init(stream: CaptureStream) throws(V4L2Error) {
        device = stream.device
        let format = stream.format
        guard FourCC.convertible.contains(format.fourCC),
            let library = v4lconvert_create(device.descriptor)
        else {
            throw V4L2Error(
                operation: "convert its pixel format \(format.fourCC)", errno: 0,
                device: device.path, advice: "libv4lconvert does not know it; choose another format"
            )
        }
        self.library = library
        let pixelFormat: PixelFormat = Self.isYCbCr(format.fourCC) ? .yu12 : .rgb24
        outputFormat = VideoFormat(
            pixelFormat: pixelFormat, width: format.width, height: format.height,
            frameRate: format.frameRate, colorRange: format.colorRange, matrix: format.matrix)
        source = stream.driverFormat
        destination = v4l2_format()
        destination.type = CLINUX_V4L2_BUF_TYPE_VIDEO_CAPTURE
        destination.fmt.pix = source.fmt.pix
        destination.fmt.pix.pixelformat = FourCC(pixelFormat).rawValue
        destination.fmt.pix.bytesperline = UInt32(
            pixelFormat.rowBytes(plane: 0, width: format.width))
        destination.fmt.pix.sizeimage = UInt32(
            pixelFormat.imageBytes(width: format.width, height: format.height))
    }

    deinit { v4lconvert_destroy(library) }

    /// Converts one picture.
    ///
    /// - Parameters:
    ///   - bytes: as dequeued.
    ///   - output: a buffer of `outputFormat`; its metadata is left alone.
    /// - Returns: whether `output` holds a picture now.
    /// - Realtime: allocates nothing of our own; the library keeps its scratch memory
    public func convert(_ bytes: UnsafeRawBufferPointer, into output: FrameBuffer) -> Bool {
        precondition(
            output.bytes.count >= Int(destination.fmt.pix.sizeimage), "the picture fits")
        // The library takes its source as mutable but does not write to it.
        let start = UnsafeMutableRawPointer(mutating: bytes.baseAddress)?
            .assumingMemoryBound(to: UInt8.self)
        let count = v4lconvert_convert(
            library, &source, &destination, start, Int32(clamping: bytes.count),
            output.bytes.baseAddress?.assumingMemoryBound(to: UInt8.self),
            Int32(clamping: output.bytes.count))
        guard count == Int32(destination.fmt.pix.sizeimage) else { return false }
        output.usedBytes = Int(count)
        return true
    }

    /// Whether a convertible format stores luma and chroma.
    static func isYCbCr(_ fourCC: FourCC) -> Bool {
        let formats: Set<FourCC> = [
            "YV12", "YVYU", "NV16", "NV61", "HM12", "S501", "S505", "S508",
        ]
        return formats.contains(fourCC)
    }
}
