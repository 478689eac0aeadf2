// Turns frames into what a virtual camera takes: a conversion or a JPEG. Used by one thread at a time.

internal import LibAV
internal import V4L2
internal import Video

/// Pictures of one virtual camera, each in the same memory.
final class LoopbackPicture {
    private enum Encoder {
        case raw(Scaler)
        case jpeg(MJPEGEncoder)
    }

    private let encoder: Encoder
    private let picture: FrameBuffer

    /// - Parameters:
    ///   - input: of the frames that will come, RGB24.
    ///   - output: what the device takes.
    /// - Throws: `LibAVError` if there is no such conversion.
    init(from input: VideoFormat, to output: VideoFormat) throws(LibAVError) {
        picture = FrameBuffer(format: output)
        encoder =
            output.pixelFormat == .mjpeg
            ? .jpeg(try MJPEGEncoder(input: input)) : .raw(try Scaler(from: input, to: output))
    }

    /// The bytes to write; they last until the next call. `nil`: a JPEG that is too large.
    ///
    /// - Realtime: allocates nothing of our own
    func encode(_ frame: FrameBuffer) -> UnsafeRawBufferPointer? {
        let isEncoded =
            switch encoder {
            case .raw(let scaler): scaler.convert(frame, to: picture)
            case .jpeg(let jpeg): jpeg.encode(frame, into: picture)
            }
        return isEncoded
            ? UnsafeRawBufferPointer(rebasing: picture.bytes[0..<picture.usedBytes]) : nil
    }
}

extension VideoFormat {
    /// This size and rate as a virtual camera has it: conferencing apps take YCbCr for BT.601 limited
    /// range, and a JPEG for full range.
    func onLoopback(_ pixelFormat: PixelFormat) -> VideoFormat {
        VideoFormat(
            pixelFormat: pixelFormat, width: width, height: height, frameRate: frameRate,
            colorRange: pixelFormat == .mjpeg ? .full : .limited)
    }
}
