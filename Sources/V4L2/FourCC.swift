// The four-character codes by which V4L2 names pixel formats.

public import Video

/// A V4L2 pixel format code.
public struct FourCC: Hashable, Sendable, Codable, CustomStringConvertible,
    ExpressibleByStringLiteral
{
    /// The code as V4L2 stores it, first character in the lowest byte.
    public let rawValue: UInt32

    /// A code read from the driver.
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// A code of four ASCII characters; shorter ones are padded with spaces, longer ones cut.
    public init(_ text: String) {
        var value: UInt32 = 0
        var bytes = text.utf8.makeIterator()
        for index in 0..<4 { value |= UInt32(bytes.next() ?? 0x20) << (8 * index) }
        rawValue = value
    }

    /// `let code: FourCC = "YUYV"`.
    public init(stringLiteral text: String) { self.init(text) }

    /// Four characters; what is not printable ASCII is shown as `?`, the big-endian flag as `-BE`.
    public var description: String {
        let isBigEndian = rawValue >> 31 == 1
        let characters = (0..<4).map { index -> Character in
            let byte = UInt8(truncatingIfNeeded: rawValue >> (8 * index)) & 0x7F
            return (0x20..<0x7F).contains(byte) ? Character(Unicode.Scalar(byte)) : "?"
        }
        return String(characters) + (isBigEndian ? "-BE" : "")
    }

    /// Read from its characters.
    public init(from decoder: any Decoder) throws {
        self.init(try decoder.singleValueContainer().decode(String.self))
    }

    /// Written as its characters.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}

extension FourCC {
    /// The layout Lucida works with, or nil for formats that only libv4lconvert knows.
    public var pixelFormat: PixelFormat? {
        switch self {
        case "YUYV": .yuyv
        case "UYVY": .uyvy
        case "NV12": .nv12
        case "YU12": .yu12
        case "RGB3": .rgb24
        case "BGR3": .bgr24
        case "MJPG", "JPEG": .mjpeg
        default: nil
        }
    }

    /// The code by which V4L2 names `pixelFormat`.
    public init(_ pixelFormat: PixelFormat) {
        switch pixelFormat {
        case .yuyv: self = "YUYV"
        case .uyvy: self = "UYVY"
        case .nv12: self = "NV12"
        case .yu12: self = "YU12"
        case .rgb24: self = "RGB3"
        case .bgr24: self = "BGR3"
        case .mjpeg: self = "MJPG"
        }
    }

    /// Formats that libv4lconvert turns into RGB and that show a scene in colour.
    ///
    /// Greyscale is left out on purpose: a node that offers nothing else is an infrared camera.
    static let convertible: Set<FourCC> = [
        "YV12", "YVYU", "NV16", "NV61", "RGBP", "RGB4", "BGR4", "AR24", "XR24", "BA24",
        "BX24", "BA81", "GBRG", "GRBG", "RGGB", "PJPG", "S501", "S505", "S508", "S561", "P207",
        "M310", "HM12",
    ]

    /// Whether Lucida can turn it into a colour picture.
    public var isUsableColour: Bool { pixelFormat != nil || Self.convertible.contains(self) }
}
