// The noise of the synthetic camera's sensor and the gain of its automatic exposure.

internal import Glibc

/// A strip of noise made once; every row of every frame starts somewhere else in it.
final class SensorNoise: @unchecked Sendable {
    /// Pixels of the strip at which a row may start.
    private static let starts = 1 << 15
    // Immutable after the init. Interleaved red, green, blue.
    private let values: UnsafeMutablePointer<Int16>
    private let width: Int
    private let seed: UInt64

    /// - Parameter width: pixels of a row.
    init(width: Int, seed: UInt64) {
        self.width = width
        self.seed = scramble(seed)
        let count = Self.starts + width
        values = .allocate(capacity: 3 * count)
        for pixel in 0..<count {
            let bits = scramble(self.seed &+ UInt64(pixel))
            // Mostly brightness, some colour; of about 2.5 of 255 in all.
            let common = Self.gaussian(bits) * 2.2
            for channel in 0..<3 {
                let own = Self.gaussian(scramble(bits &+ UInt64(channel))) * 1.3
                (values + 3 * pixel + channel).initialize(to: Int16((common + own).rounded()))
            }
        }
    }

    deinit { values.deallocate() }

    /// Nearly normal, of deviation 1: the sum of eight uniform bytes.
    private static func gaussian(_ bits: UInt64) -> Float {
        var sum = 0
        for shift in 0..<8 { sum += Int((bits >> UInt64(8 * shift)) & 255) }
        return (Float(sum) - 1020) / 209
    }

    /// Multiplies RGB24 pixels by `exposure` and adds the noise of this frame.
    ///
    /// - Realtime: allocates nothing
    func apply(
        to frame: UnsafeMutablePointer<UInt8>, height: Int, exposure: Float, frameNumber: UInt64
    ) {
        let gain = Int32(exposure * 256)
        let frameBits = scramble(seed ^ scramble(frameNumber))
        for row in 0..<height {
            let bits = scramble(frameBits &+ UInt64(row))
            let start = Int(bits & UInt64(Self.starts - 1))
            let noise = values + 3 * start
            let pixels = frame + 3 * row * width
            for index in 0..<3 * width {
                let value = ((Int32(pixels[index]) &* gain &+ 128) >> 8) &+ Int32(noise[index])
                pixels[index] = UInt8(truncatingIfNeeded: max(0, min(255, value)))
            }
        }
    }
}
