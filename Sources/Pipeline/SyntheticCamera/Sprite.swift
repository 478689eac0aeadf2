// A painted layer that moves: drawn turned, scaled and at any fraction of a pixel.

internal import Glibc

/// Where a layer or a feature is in a frame.
struct Placement {
    /// Pixel position of the layer's origin.
    let x: Float
    let y: Float
    /// Clockwise, in radians.
    let angle: Float
    /// Pixels of the frame a pixel of the layer; for features, pixels a scene unit.
    let scale: Float
}

/// Premultiplied 8-bit layer. Immutable after its init.
final class Sprite: @unchecked Sendable {
    let width: Int
    let height: Int
    private let originX: Float
    private let originY: Float
    // One pixel in 32 bits: red lowest, alpha highest. A transparent border of one pixel.
    private let pixels: UnsafeMutablePointer<UInt32>

    /// Paints on a canvas just large enough for `box`, in scene units.
    init(_ box: Box, scale: Float, paint: (Canvas) -> Void) {
        width = Int(((box.right - box.left) * scale).rounded(.up)) + 4
        height = Int(((box.bottom - box.top) * scale).rounded(.up)) + 4
        originX = 2 - box.left * scale
        originY = 2 - box.top * scale
        let canvas = Canvas(
            width: width, height: height, scale: scale, originX: originX, originY: originY)
        paint(canvas)
        pixels = .allocate(capacity: width * height)
        for y in 0..<height {
            for x in 0..<width {
                let isBorder = x == 0 || y == 0 || x == width - 1 || y == height - 1
                let source = canvas.pixels.advanced(by: 4 * (y * width + x))
                var packed: UInt32 = 0
                if !isBorder {
                    for channel in 0..<4 {
                        let value = UInt32(clamp01(source[channel]) * 255 + 0.5)
                        packed |= value << UInt32(8 * channel)
                    }
                }
                (pixels + y * width + x).initialize(to: packed)
            }
        }
    }

    deinit { pixels.deallocate() }

    /// Blends the layer over RGB24 pixels with bilinear sampling.
    ///
    /// - Realtime: allocates nothing
    func draw(
        at place: Placement, into frame: UnsafeMutablePointer<UInt8>, width frameWidth: Int,
        height frameHeight: Int
    ) {
        let (sine, cosine) = (sin(place.angle), cos(place.angle))
        let (stepX, stepY) = (cosine / place.scale, -sine / place.scale)
        // The corners of the layer in the frame bound the rows to look at.
        let reachUp = originY * cosine.magnitude + max(originX, Float(width)) * sine.magnitude
        let reachDown =
            (Float(height) - originY) * cosine.magnitude
            + max(originX, Float(width)) * sine.magnitude
        let firstRow = max(0, Int(max(-1, place.y - reachUp * place.scale - 1)))
        let lastRow = min(
            frameHeight,
            Int(min(Float(frameHeight), max(-1, place.y + reachDown * place.scale + 2))))
        guard firstRow < lastRow else { return }
        for row in firstRow..<lastRow {
            let dy = Float(row) + 0.5 - place.y
            let dx = 0.5 - place.x
            // Texel whose centre lies at an integer; column 0 of the frame.
            let u = (dx * cosine + dy * sine) / place.scale + originX - 0.5
            let v = (dy * cosine - dx * sine) / place.scale + originY - 0.5
            var (low, high) = (Float(0), Float(frameWidth))
            narrow(&low, &high, start: u, step: stepX, limit: Float(width) - 1.01)
            narrow(&low, &high, start: v, step: stepY, limit: Float(height) - 1.01)
            let (first, last) = (Int(low.rounded(.up)), Int(high.rounded(.down)))
            guard first < last else { continue }
            drawSpan(
                frame + 3 * (row * frameWidth + first), count: last - first,
                u: Int((u + stepX * Float(first)) * 65536),
                v: Int((v + stepY * Float(first)) * 65536), stepU: Int(stepX * 65536),
                stepV: Int(stepY * 65536))
        }
    }

    /// Narrows low..<high to the columns where start + column · step lies in 0.01…limit.
    @inline(__always)
    private func narrow(
        _ low: inout Float, _ high: inout Float, start: Float, step: Float, limit: Float
    ) {
        if step.magnitude < 1e-6 {
            if start < 0.01 || start > limit { high = low }
            return
        }
        let (a, b) = ((0.01 - start) / step, (limit - start) / step)
        low = max(low, min(a, b))
        high = max(low, min(high, max(a, b)))
    }

    /// One row of a frame. Positions are 16.16 fixed-point texels.
    @inline(__always)
    private func drawSpan(
        _ target: UnsafeMutablePointer<UInt8>, count: Int, u: Int, v: Int, stepU: Int, stepV: Int
    ) {
        var (u, v) = (u, v)
        var target = target
        for _ in 0..<count {
            let column = max(0, min(width - 2, u >> 16))
            let line = max(0, min(height - 2, v >> 16))
            let texel = pixels + (line &* width &+ column)
            let (a, b, c, d) = (texel[0], texel[1], texel[width], texel[width + 1])
            if (a | b | c | d) != 0 {
                let shareU = UInt32(truncatingIfNeeded: u >> 8) & 255
                let shareV = UInt32(truncatingIfNeeded: v >> 8) & 255
                let sample = lerp(lerp(a, b, shareU), lerp(c, d, shareU), shareV)
                let keep = 256 - (sample >> 24) - (sample >> 31)
                target[0] = over(target[0], sample & 255, keep)
                target[1] = over(target[1], (sample >> 8) & 255, keep)
                target[2] = over(target[2], (sample >> 16) & 255, keep)
            }
            target += 3
            u &+= stepU
            v &+= stepV
        }
    }

    @inline(__always)
    private func over(_ old: UInt8, _ new: UInt32, _ keep: UInt32) -> UInt8 {
        UInt8(truncatingIfNeeded: min(255, new &+ ((UInt32(old) &* keep) >> 8)))
    }

    /// Four bytes at once, two in each half: `a` at share 0, `b` at 256.
    @inline(__always)
    private func lerp(_ a: UInt32, _ b: UInt32, _ share: UInt32) -> UInt32 {
        let mask: UInt32 = 0x00ff_00ff
        let rest = 256 &- share
        let low = ((a & mask) &* rest &+ (b & mask) &* share) >> 8
        let high = ((a >> 8) & mask) &* rest &+ ((b >> 8) & mask) &* share
        return (low & mask) | (high & ~mask)
    }
}
