// One picture in memory, allocated once and reused for every frame that passes its slot.

/// When a frame was captured and which one it is; travels with it to the sink.
public struct FrameMetadata: Sendable, Equatable {
    /// `CLOCK_MONOTONIC` nanoseconds at which the camera captured the frame.
    public var timestampNanoseconds: Int64
    /// The source's own count; a gap means that the source itself lost frames.
    public var sequence: UInt64

    /// Metadata of one frame.
    public init(timestampNanoseconds: Int64 = 0, sequence: UInt64 = 0) {
        self.timestampNanoseconds = timestampNanoseconds
        self.sequence = sequence
    }
}

/// One uncompressed picture (or one JPEG) in 64-byte aligned memory of its own.
///
/// Allocated by the control thread before the stream starts. Afterwards exactly one thread uses it
/// at a time: whoever owns the ring slot that it lies in. That is why it may cross threads although
/// it is not protected itself.
public final class FrameBuffer: @unchecked Sendable {
    /// Layout, width, height, rate and range. Immutable.
    public let format: VideoFormat
    /// Bytes from one row of a plane to the next; the rows of RGB24 and YUYV are unpadded.
    public let strides: [Int]
    /// Byte offset of each plane in `bytes`.
    public let planeOffsets: [Int]
    /// All planes, one after another. Owned by the thread that owns the slot.
    public let bytes: UnsafeMutableRawBufferPointer
    /// Bytes in use: the whole picture, or the length of the JPEG.
    public var usedBytes: Int
    /// Timestamp and sequence number.
    public var metadata = FrameMetadata()
    /// `CLOCK_MONOTONIC` nanoseconds at which a stage handed the frame on; for measuring queues.
    public var readyNanoseconds: Int64 = 0

    /// Memory for one picture of `format`, zeroed.
    public init(format: VideoFormat) {
        precondition(format.width > 0 && format.height > 0, "a picture has at least one pixel")
        self.format = format
        let pixels = format.pixelFormat
        var strides = [Int]()
        var offsets = [Int]()
        var offset = 0
        for plane in 0..<pixels.planeCount {
            let stride = pixels.rowBytes(plane: plane, width: format.width)
            strides.append(stride)
            offsets.append(offset)
            offset += stride * pixels.rows(plane: plane, height: format.height)
        }
        self.strides = strides
        self.planeOffsets = offsets
        let count = pixels.imageBytes(width: format.width, height: format.height)
        usedBytes = count
        // 64 spare bytes: SIMD code and libswscale may read past the last row.
        bytes = UnsafeMutableRawBufferPointer(
            rebasing: UnsafeMutableRawBufferPointer.allocate(
                byteCount: count + 64, alignment: 64)[0..<count])
        bytes.initializeMemory(as: UInt8.self, repeating: 0)
    }

    deinit { bytes.baseAddress?.deallocate() }

    /// First byte of `plane`.
    ///
    /// - Realtime: safe
    public func plane(_ plane: Int) -> UnsafeMutablePointer<UInt8> {
        // Safe: the allocation is never empty, so the base address exists.
        let base = bytes.baseAddress.unsafelyUnwrapped
        return base.advanced(by: planeOffsets[plane]).assumingMemoryBound(to: UInt8.self)
    }

    /// Copies picture and metadata of a buffer of the same format.
    ///
    /// - Realtime: safe
    public func copy(from other: FrameBuffer) {
        precondition(bytes.count >= other.usedBytes, "the picture fits")
        bytes.copyMemory(from: UnsafeRawBufferPointer(rebasing: other.bytes[0..<other.usedBytes]))
        usedBytes = other.usedBytes
        metadata = other.metadata
    }
}
