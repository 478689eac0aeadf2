// From whatever a decoder gives to the frames that were asked for, on the decoding thread.

internal import CLibAV
internal import Video

/// A scaler that follows its source: made anew when size, layout or shape of the pixels change.
final class FrameScaler {
    private let output: VideoFormat
    private let fit: Fit
    private let isMirrored: Bool
    private let destination: PictureLayout
    private var scaler: Scaler?
    private var source: PictureLayout?
    private var pixelAspect = 1.0

    init(output: VideoFormat, fit: Fit, isMirrored: Bool) throws(LibAVError) {
        guard let destination = PictureLayout(output) else {
            throw LibAVError(
                operation: "decode to \(output)", code: clibav_error_invalid_argument,
                detail: "choose an uncompressed layout")
        }
        self.output = output
        self.fit = fit
        self.isMirrored = isMirrored
        self.destination = destination
    }

    /// Converts a decoded frame.
    ///
    /// - Returns: whether there is a picture in `output`.
    /// - Realtime: safe while the source keeps its format
    func convert(_ frame: UnsafePointer<AVFrame>, to output: FrameBuffer) -> Bool {
        let layout = PictureLayout(frame)
        let aspect = frame.pixelAspect
        if layout != source || aspect != pixelAspect {
            scaler = nil
            source = layout
            pixelAspect = aspect
            guard layout.isConvertible else { return false }
            scaler = try? Scaler(
                source: layout, destination: destination, output: self.output,
                placement: Placement(
                    from: layout, to: destination, fit: fit, pixelAspect: aspect),
                isMirrored: isMirrored)
        }
        // A layout that cannot be converted leaves no scaler, until the next change.
        return scaler?.convert(clibav_planes(frame), to: output) ?? false
    }
}

extension UnsafePointer<AVFrame> {
    /// Width over height of a pixel; 1 where it is unknown or absurd.
    var pixelAspect: Double { pointee.sample_aspect_ratio.pixelAspect }

    /// Whether the decoder itself calls the picture damaged.
    var isDamaged: Bool {
        pointee.flags & AV_FRAME_FLAG_CORRUPT != 0 || pointee.decode_error_flags != 0
    }
}

extension AVRational {
    /// Read as a pixel's shape.
    var pixelAspect: Double {
        guard num > 0, den > 0 else { return 1 }
        let aspect = Double(num) / Double(den)
        return aspect > 0.2 && aspect < 5 ? aspect : 1
    }
}

/// Pictures beyond this are refused: a header of a few bytes could otherwise ask for gigabytes.
let pixelCountMax: Int64 = 8192 * 8192
