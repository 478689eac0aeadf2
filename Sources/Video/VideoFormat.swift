// What a stream of pictures looks like: layout, size, rate, range, matrix.

/// The format of a stream of frames.
public struct VideoFormat: Sendable, Equatable, CustomStringConvertible {
    /// Layout of each picture.
    public var pixelFormat: PixelFormat
    /// Pixels in a row, 1 or more.
    public var width: Int
    /// Rows, 1 or more.
    public var height: Int
    /// Nominal rate.
    public var frameRate: FrameRate
    /// Code values of luma and chroma; `.full` for RGB.
    public var colorRange: ColorRange
    /// How luma and chroma become RGB; without meaning for RGB.
    public var matrix: ColorMatrix

    /// A format; `colorRange` is `.full` and `matrix` BT.601 unless told.
    public init(
        pixelFormat: PixelFormat, width: Int, height: Int, frameRate: FrameRate,
        colorRange: ColorRange = .full, matrix: ColorMatrix = .bt601
    ) {
        self.pixelFormat = pixelFormat
        self.width = width
        self.height = height
        self.frameRate = frameRate
        self.colorRange = colorRange
        self.matrix = matrix
    }

    /// For example `yuyv 640×360 @ 30 fps`.
    public var description: String {
        "\(pixelFormat.rawValue) \(width)×\(height) @ \(frameRate) fps"
    }
}

/// Frames a second as a fraction, as V4L2 and libav give it.
public struct FrameRate: Sendable, Equatable, CustomStringConvertible {
    /// Frames …
    public var numerator: Int
    /// … in so many seconds.
    public var denominator: Int

    /// `FrameRate(30)`, `FrameRate(30000, 1001)`.
    public init(_ numerator: Int, _ denominator: Int = 1) {
        precondition(numerator > 0 && denominator > 0, "a frame rate is positive")
        self.numerator = numerator
        self.denominator = denominator
    }

    /// As a decimal number.
    public var framesPerSecond: Double { Double(numerator) / Double(denominator) }
    /// From one frame to the next.
    public var intervalNanoseconds: Int64 {
        Int64(1_000_000_000) * Int64(denominator) / Int64(numerator)
    }

    /// `30` or `29.97`.
    public var description: String {
        if numerator % denominator == 0 { return "\(numerator / denominator)" }
        return "\((framesPerSecond * 100).rounded() / 100)"
    }
}
