// Pictures drawn for the tests, and measures of them.

import Foundation
import Video

struct RGB: Equatable, CustomStringConvertible {
    var red: UInt8
    var green: UInt8
    var blue: UInt8

    init(_ red: UInt8, _ green: UInt8, _ blue: UInt8) {
        (self.red, self.green, self.blue) = (red, green, blue)
    }

    var description: String { "(\(red), \(green), \(blue))" }

    /// The largest difference of a channel.
    func distance(to other: RGB) -> Int {
        max(
            abs(Int(red) - Int(other.red)), abs(Int(green) - Int(other.green)),
            abs(Int(blue) - Int(other.blue)))
    }
}

func format(
    _ pixels: PixelFormat, _ width: Int, _ height: Int, range: ColorRange? = nil,
    rate: FrameRate = FrameRate(30)
) -> VideoFormat {
    VideoFormat(
        pixelFormat: pixels, width: width, height: height, frameRate: rate,
        colorRange: range ?? (pixels.isYCbCr && pixels != .mjpeg ? .limited : .full))
}

extension FrameBuffer {
    /// An RGB24 pixel.
    subscript(x: Int, y: Int) -> RGB {
        get {
            let pixel = plane(0) + y * strides[0] + x * 3
            return RGB(pixel[0], pixel[1], pixel[2])
        }
        set {
            let pixel = plane(0) + y * strides[0] + x * 3
            (pixel[0], pixel[1], pixel[2]) = (newValue.red, newValue.green, newValue.blue)
        }
    }

    /// An RGB24 frame with a colour for each pixel.
    static func drawn(_ width: Int, _ height: Int, _ color: (Int, Int) -> RGB) -> FrameBuffer {
        let frame = FrameBuffer(format: LibAVTests.format(.rgb24, width, height))
        for y in 0..<height { for x in 0..<width { frame[x, y] = color(x, y) } }
        return frame
    }

    /// Soft gradients that differ along x, y and `time`, so that no two frames are alike.
    static func gradient(_ width: Int, _ height: Int, time: Int = 0) -> FrameBuffer {
        drawn(width, height) { x, y in
            let u = Double(x) / Double(width)
            let v = Double(y) / Double(height)
            let phase = Double(time) * 0.37
            return RGB(
                UInt8(127.5 + 90 * sin(3 * u + phase)), UInt8(127.5 + 90 * cos(2 * v + phase)),
                UInt8(127.5 + 90 * sin(2 * u + 2 * v)))
        }
    }

    /// Noise that nothing compresses.
    static func noise(_ width: Int, _ height: Int, seed: UInt64) -> FrameBuffer {
        var generator = SeededGenerator(seed: seed)
        let frame = FrameBuffer(format: LibAVTests.format(.rgb24, width, height))
        for i in frame.bytes.indices {
            frame.bytes[i] = UInt8(truncatingIfNeeded: generator.next())
        }
        return frame
    }

    /// The bytes in use, copied: the memory itself goes with the last use of the frame.
    var contents: [UInt8] { withExtendedLifetime(self) { [UInt8](bytes[..<usedBytes]) } }

    func hasSamePicture(as other: FrameBuffer) -> Bool {
        format.width == other.format.width && format.height == other.format.height
            && contents == other.contents
    }

    /// Peak signal-to-noise ratio in dB; infinite for equal pictures.
    func psnr(against other: FrameBuffer) -> Double {
        var sum = 0.0
        for i in 0..<bytes.count {
            let difference = Double(bytes[i]) - Double(other.bytes[i])
            sum += difference * difference
        }
        return 10 * log10(255 * 255 * Double(bytes.count) / sum)
    }
}

/// White, the 75 % colour bars, two primaries, grey and black, with the values of a YCbCr
/// matrix computed in floating point: Y, Cb, Cr.
struct ColorBar: CustomStringConvertible {
    let rgb: RGB
    let description: String

    static let all: [ColorBar] = [
        ColorBar(rgb: RGB(255, 255, 255), description: "white"),
        ColorBar(rgb: RGB(191, 191, 0), description: "yellow"),
        ColorBar(rgb: RGB(0, 191, 191), description: "cyan"),
        ColorBar(rgb: RGB(0, 191, 0), description: "green"),
        ColorBar(rgb: RGB(191, 0, 191), description: "magenta"),
        ColorBar(rgb: RGB(191, 0, 0), description: "red"),
        ColorBar(rgb: RGB(0, 0, 191), description: "blue"),
        ColorBar(rgb: RGB(128, 128, 128), description: "grey"),
        ColorBar(rgb: RGB(0, 0, 0), description: "black"),
    ]

    func yCbCr(_ range: ColorRange, _ matrix: ColorMatrix = .bt601) -> [Double] {
        let (r, g, b) = (Double(rgb.red), Double(rgb.green), Double(rgb.blue))
        // Weights of red and blue: ITU-R BT.601-7, 2.5.1; BT.709-6, 3.2.
        let (kr, kb) = matrix == .bt601 ? (0.299, 0.114) : (0.2126, 0.0722)
        let y = kr * r + (1 - kr - kb) * g + kb * b
        let cb = (b - y) / (2 - 2 * kb)
        let cr = (r - y) / (2 - 2 * kr)
        switch range {
        case .full: return [y, 128 + cb, 128 + cr]
        case .limited: return [16 + y * 219 / 255, 128 + cb * 224 / 255, 128 + cr * 224 / 255]
        }
    }
}
