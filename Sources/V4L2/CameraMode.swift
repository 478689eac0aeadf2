// Which of the modes a camera offers is used. Pure: no device is touched.

public import Video

/// A format, size and rate of a camera.
public struct CameraMode: Sendable, Equatable, CustomStringConvertible {
    /// Pixel format.
    public var fourCC: FourCC
    /// Pixels in a row.
    public var width: Int
    /// Rows.
    public var height: Int
    /// Frames a second; nil if the driver lists no rates, then the requested rate is tried.
    public var rate: FrameRate?

    /// A mode.
    public init(fourCC: FourCC, width: Int, height: Int, rate: FrameRate?) {
        self.fourCC = fourCC
        self.width = width
        self.height = height
        self.rate = rate
    }

    /// For example `MJPG 1280×720 @ 30 fps`.
    public var description: String {
        "\(fourCC) \(width)×\(height)" + (rate.map { " @ \($0) fps" } ?? "")
    }
}

extension CameraMode {
    /// The mode of `formats` that serves the request best, or nil if none can be used.
    ///
    /// Modes are compared by a cost; the cheapest wins, the first listed among equals:
    /// - too small: the missing share of width or height, doubled, because detail cannot be made up;
    /// - too large: a little, for the work of scaling down;
    /// - too slow: the missing share of the rate, doubled, because the output lives on it
    ///   (a 720p mode of 7.5 fps loses to 640×480 at 30 fps);
    /// - another aspect ratio: a little, because the picture is cropped;
    /// - the pixel format: MJPEG above 640×480, where USB 2 has no room for raw video and cameras
    ///   list raw modes that are noisy or late; uncompressed up to there. Chrome does the same.
    public static func best(
        of formats: [CameraFormat], width: Int, height: Int, rate: FrameRate
    ) -> CameraMode? {
        var best: (mode: CameraMode, cost: Double)?
        for format in formats where format.fourCC.isUsableColour {
            for size in format.sizes {
                let mode = CameraMode(
                    fourCC: format.fourCC, width: size.width.nearest(to: width),
                    height: size.height.nearest(to: height),
                    rate: nearestRate(to: rate, in: size.rates))
                let cost = mode.cost(width: width, height: height, rate: rate)
                if cost < best?.cost ?? .infinity { best = (mode, cost) }
            }
        }
        return best?.mode
    }

    /// The slowest rate that reaches `wanted` (29.97 reaches 30), else the fastest.
    private static func nearestRate(to wanted: FrameRate, in ranges: [RateRange]) -> FrameRate? {
        let rates = ranges.map { $0.nearest(to: wanted) }
        let enough = rates.filter { $0.framesPerSecond >= 0.99 * wanted.framesPerSecond }
        return enough.min { $0.framesPerSecond < $1.framesPerSecond }
            ?? rates.max { $0.framesPerSecond < $1.framesPerSecond }
    }

    private func cost(width: Int, height: Int, rate wanted: FrameRate) -> Double {
        let scale = min(
            Double(self.width) / Double(width), Double(self.height) / Double(height))
        var cost = scale < 1 ? 2 * (1 - scale) : 0
        let excess = Double(self.width * self.height) / Double(width * height) - 1
        cost += 0.05 * max(0, excess)
        if let rate {
            let share = rate.framesPerSecond / wanted.framesPerSecond
            cost += share < 0.99 ? 2 * (1 - share) : 0
        }
        let aspect = Double(self.width * height) / Double(self.height * width)
        cost += 0.1 * abs(aspect < 1 ? 1 / aspect - 1 : aspect - 1)
        return cost + formatCost
    }

    private var formatCost: Double {
        let isLarge = width * height > 640 * 480
        guard let pixelFormat = fourCC.pixelFormat else { return 0.5 }
        // Raw formats in the order of what they cost to convert; all are equal to the eye.
        switch pixelFormat {
        case .mjpeg: return isLarge ? 0 : 0.03
        case .yuyv: return isLarge ? 0.03 : 0
        case .uyvy: return isLarge ? 0.031 : 0.001
        case .nv12: return isLarge ? 0.032 : 0.002
        case .yu12: return isLarge ? 0.033 : 0.003
        case .rgb24: return isLarge ? 0.04 : 0.01
        case .bgr24: return isLarge ? 0.041 : 0.011
        }
    }
}
