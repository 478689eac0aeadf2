// Converts pictures between layouts, sizes and ranges, on the thread of the stage that owns it.

internal import CLibAV
public import Video

/// Conversion of every frame of one stream: pixel format, size, range, crop or letterbox, mirror.
///
/// Luma and chroma follow the matrix of each format. Prepared once for one pair of formats; then used by one thread at
/// a time.
public final class Scaler: @unchecked Sendable {
    /// The format of the frames that `convert` writes.
    public let output: VideoFormat

    private let input: VideoFormat?
    private let source: PictureLayout
    let placement: Placement
    private let destination: PictureLayout
    private let first: Conversion
    private let second: Conversion?
    // Between the two conversions.
    private let middle: PaddedPicture?
    // Where the last conversion writes if libswscale could overrun the rows of the output.
    private let padded: PaddedPicture?
    // For a copy of input that ends where a page does; nil if all input is padded.
    private let overrunGuard: PaddedPicture?
    private let isMirrored: Bool

    /// Plans the conversion and allocates all that it needs.
    ///
    /// - Parameters:
    ///   - input: any format but MJPEG (for that see `MJPEGDecoder`). RGB is taken as full range.
    ///   - output: any format but MJPEG (for that see `MJPEGEncoder`).
    ///   - fit: what to do about another shape.
    ///   - isMirrored: swap left and right.
    /// - Throws: `LibAVError` if there is no such conversion.
    public convenience init(
        from input: VideoFormat, to output: VideoFormat, fit: Fit = .crop, isMirrored: Bool = false
    ) throws(LibAVError) {
        guard let source = PictureLayout(input), let destination = PictureLayout(output) else {
            throw LibAVError(
                operation: "convert \(input) to \(output)", code: clibav_error_invalid_argument,
                detail: "MJPEG is coded, not converted")
        }
        try self.init(
            source: source, input: input, destination: destination, output: output,
            placement: Placement(from: source, to: destination, fit: fit), isMirrored: isMirrored)
    }

    /// As the public initializer, for any layout that libswscale reads or writes.
    ///
    /// - Parameter input: nil if only padded planes of libav's own will come.
    init(
        source: PictureLayout, input: VideoFormat? = nil, destination: PictureLayout,
        output: VideoFormat, placement: Placement, isMirrored: Bool
    ) throws(LibAVError) {
        let from = source.withSize(placement.source.width, placement.source.height)
        let to = destination.withSize(placement.destination.width, placement.destination.height)
        self.input = input
        self.output = output
        self.source = source
        self.destination = destination
        self.placement = placement
        self.isMirrored = isMirrored
        if let between = Self.middle(from: from, to: to, isMirrored: isMirrored) {
            middle = try PaddedPicture(between)
            first = try Conversion(from: from, to: between)
            second = try Conversion(from: between, to: to)
        } else {
            middle = nil
            first = try Conversion(from: from, to: to)
            second = nil
        }
        overrunGuard = input == nil ? nil : try PaddedPicture(source)
        padded = to.width % 32 != 0 || to != destination ? try PaddedPicture(to) : nil
    }

    /// The layout between two conversions, if two are better than one.
    private static func middle(
        from source: PictureLayout, to destination: PictureLayout, isMirrored: Bool
    ) -> PictureLayout? {
        // Mirroring is done on 3-byte pixels, where no chroma is shared.
        if isMirrored && !destination.isPacked24 {
            return PictureLayout(
                pixels: AV_PIX_FMT_RGB24, width: destination.width, height: destination.height,
                range: .full)
        }
        // Between RGB and packed 4:2:2 by way of planes: both steps have vector code, the direct way
        // has less (640×360, there: 0.10 ms against 0.60 ms, back: 0.27 ms against 0.44 ms).
        let isSameSize = source.width == destination.width && source.height == destination.height
        let isVectorSize = destination.width % 8 == 0 && destination.height % 2 == 0
        guard isVectorSize else { return nil }
        if source.isPacked422 && destination.isPacked24 && isSameSize {
            return source.withPixels(AV_PIX_FMT_YUV422P)
        }
        if source.isRGB && destination.isPacked422 {
            return destination.withPixels(AV_PIX_FMT_YUV422P)
        }
        return nil
    }

    /// Converts a frame; `output` takes over its metadata.
    ///
    /// - Parameters:
    ///   - frame: of the input format.
    ///   - output: of the output format.
    /// - Returns: whether the picture was converted.
    /// - Realtime: safe
    @discardableResult
    public func convert(_ frame: FrameBuffer, to output: FrameBuffer) -> Bool {
        precondition(
            frame.format.pixelFormat == input?.pixelFormat && frame.format.width == source.width
                && frame.format.height == source.height, "a frame of the input format")
        output.metadata = frame.metadata
        // A FrameBuffer has spare bytes for overruns.
        return convert(CLibAVPlanes(frame), to: output)
    }

    /// Converts a picture in somebody else's memory, such as a driver's buffer.
    ///
    /// - Parameters:
    ///   - picture: of the input format, with strides of its own.
    ///   - output: of the output format; its metadata are left alone.
    /// - Returns: whether the picture was converted.
    /// - Realtime: safe
    @discardableResult
    public func convert(_ picture: ImagePlanes, to output: FrameBuffer) -> Bool {
        precondition(
            picture.format.pixelFormat == input?.pixelFormat
                && picture.format.width == source.width && picture.format.height == source.height,
            "a picture of the input format")
        if picture.mayBeOverrun { return convert(picture.planes, to: output) }
        guard let overrunGuard else { return false }
        overrunGuard.copy(from: picture.planes)
        return convert(overrunGuard.planes, to: output)
    }

    /// Converts planes that may be overrun, into a frame of the output format.
    func convert(_ planes: CLibAVPlanes, to output: FrameBuffer) -> Bool {
        precondition(
            output.format.pixelFormat == self.output.pixelFormat
                && output.format.width == self.output.width
                && output.format.height == self.output.height, "a frame of the output format")
        output.usedBytes = output.bytes.count
        let target = CLibAVPlanes(output)
        guard convert(planes, to: target) else { return false }
        fillBars(of: target)
        return true
    }

    /// Converts planes that may be overrun, into planes of the output layout, bars left as they are.
    func convert(_ planes: CLibAVPlanes, to target: CLibAVPlanes) -> Bool {
        let part = clibav_offset(
            planes, source.pixels, Int32(placement.source.x), Int32(placement.source.y))
        let place = clibav_offset(
            target, destination.pixels, Int32(placement.destination.x),
            Int32(placement.destination.y))
        let end = padded?.planes ?? place
        if let middle, let second {
            guard first.run(part, to: middle.planes) else { return false }
            if middle.layout.isPacked24 && isMirrored { mirror(middle.planes) }
            guard second.run(middle.planes, to: end) else { return false }
        } else {
            guard first.run(part, to: end) else { return false }
        }
        if isMirrored && destination.isPacked24 { mirror(end) }
        padded?.copy(to: place)
        return true
    }

    private func mirror(_ planes: CLibAVPlanes) {
        guard let pixels = planes.data.0 else { return }
        mirrorRows(
            pixels, stride: Int(planes.linesize.0), width: placement.destination.width,
            height: placement.destination.height)
    }
}

extension PictureLayout {
    var isPacked24: Bool { pixels == AV_PIX_FMT_RGB24 || pixels == AV_PIX_FMT_BGR24 }

    fileprivate var isPacked422: Bool {
        pixels == AV_PIX_FMT_YUYV422 || pixels == AV_PIX_FMT_UYVY422
    }

    fileprivate func withPixels(_ pixels: AVPixelFormat) -> PictureLayout {
        PictureLayout(pixels: pixels, width: width, height: height, range: range, matrix: matrix)
    }
}
