// What the still layers of the synthetic camera are painted on, at prepare. Control thread.

internal import Glibc

/// A colour of a light, 0…1 as it is displayed (gamma encoded), not premultiplied.
struct Colour {
    var red: Float
    var green: Float
    var blue: Float
    var alpha: Float = 1

    init(red: Float, green: Float, blue: Float, alpha: Float = 1) {
        self.red = red
        self.green = green
        self.blue = blue
        self.alpha = alpha
    }

    /// `Colour(0xE8D3B4)`, as designers write it.
    init(_ rgb: UInt32, alpha: Float = 1) {
        red = Float((rgb >> 16) & 255) / 255
        green = Float((rgb >> 8) & 255) / 255
        blue = Float(rgb & 255) / 255
        self.alpha = alpha
    }

    /// Brighter above 1, darker below.
    func lit(_ factor: Float) -> Colour {
        Colour(red: red * factor, green: green * factor, blue: blue * factor, alpha: alpha)
    }

    func mixed(with other: Colour, _ share: Float) -> Colour {
        Colour(
            red: red + (other.red - red) * share, green: green + (other.green - green) * share,
            blue: blue + (other.blue - blue) * share, alpha: alpha + (other.alpha - alpha) * share)
    }

    func with(alpha: Float) -> Colour {
        Colour(red: red, green: green, blue: blue, alpha: alpha)
    }
}

/// A rectangle in scene units: one unit is the height of a landscape picture, y points down.
struct Box {
    let left: Float
    let top: Float
    let right: Float
    let bottom: Float

    init(_ left: Float, _ top: Float, _ right: Float, _ bottom: Float) {
        (self.left, self.top, self.right, self.bottom) = (left, top, right, bottom)
    }

    /// Around a centre.
    init(x: Float, y: Float, halfWidth: Float, halfHeight: Float) {
        self.init(x - halfWidth, y - halfHeight, x + halfWidth, y + halfHeight)
    }
}

/// Premultiplied red, green, blue and alpha in single precision, with scene coordinates.
final class Canvas {
    let width: Int
    let height: Int
    /// Pixels a scene unit.
    let scale: Float
    /// Pixel position of the scene's origin.
    let originX: Float
    let originY: Float
    let pixels: UnsafeMutablePointer<Float>

    init(width: Int, height: Int, scale: Float, originX: Float, originY: Float) {
        self.width = width
        self.height = height
        self.scale = scale
        self.originX = originX
        self.originY = originY
        pixels = .allocate(capacity: 4 * width * height)
        pixels.initialize(repeating: 0, count: 4 * width * height)
    }

    deinit { pixels.deallocate() }

    /// Paints a shape over what is there.
    ///
    /// - Parameters:
    ///   - box: what is looked at; the shape ends there at the latest.
    ///   - softness: width of the edge in scene units; 0 for an anti-aliased edge.
    ///   - distance: signed distance to the outline, negative inside, in scene units.
    ///   - colour: of a point inside.
    @inline(__always)
    func paint(
        _ box: Box, softness: Float = 0, distance: (Float, Float) -> Float,
        colour: (Float, Float) -> Colour
    ) {
        let x0 = max(0, pixel(box.left, origin: originX) - 1)
        let x1 = min(width, pixel(box.right, origin: originX) + 2)
        let y0 = max(0, pixel(box.top, origin: originY) - 1)
        let y1 = min(height, pixel(box.bottom, origin: originY) + 2)
        guard x0 < x1, y0 < y1 else { return }
        let step = 1 / scale
        // A smoothstep is steepest in its middle: 1.5 times a linear ramp.
        let slope = softness > 0 ? 1 / max(softness, 1.5 * step) : scale
        for y in y0..<y1 {
            let sceneY = (Float(y) + 0.5 - originY) * step
            let row = pixels.advanced(by: 4 * y * width)
            for x in x0..<x1 {
                let sceneX = (Float(x) + 0.5 - originX) * step
                var coverage = clamp01(0.5 - distance(sceneX, sceneY) * slope)
                if coverage <= 0 { continue }
                if softness > 0 { coverage = coverage * coverage * (3 - 2 * coverage) }
                let source = colour(sceneX, sceneY)
                let alpha = source.alpha * coverage
                let target = row.advanced(by: 4 * x)
                target[0] += source.red * alpha - target[0] * alpha
                target[1] += source.green * alpha - target[1] * alpha
                target[2] += source.blue * alpha - target[2] * alpha
                target[3] += alpha - target[3] * alpha
            }
        }
    }

    /// Paints over the whole box.
    @inline(__always)
    func wash(_ box: Box, colour: (Float, Float) -> Colour) {
        paint(
            box,
            distance: {
                max(max(box.left - $0, $0 - box.right), max(box.top - $1, $1 - box.bottom))
            }, colour: colour)
    }

    private func pixel(_ value: Float, origin: Float) -> Int {
        // Clamped before the conversion: a box may reach far outside.
        Int(max(-16, min(16384, value * scale + origin)))
    }
}

// Signed distances and the arithmetic around them.

@inline(__always) func clamp01(_ value: Float) -> Float { max(0, min(1, value)) }

@inline(__always)
func smoothStep(_ low: Float, _ high: Float, _ value: Float) -> Float {
    let share = clamp01((value - low) / (high - low))
    return share * share * (3 - 2 * share)
}

@inline(__always)
func ellipse(_ x: Float, _ y: Float, _ radiusX: Float, _ radiusY: Float) -> Float {
    // First-order distance |f| / |∇f|: exact enough at the edge, where it matters.
    let (a, b) = (x / radiusX, y / radiusY)
    let (c, d) = (a / radiusX, b / radiusY)
    let length = (a * a + b * b).squareRoot()
    return (length - 1) * length / max((c * c + d * d).squareRoot(), 1e-4)
}

@inline(__always)
func roundedBox(
    _ x: Float, _ y: Float, _ halfWidth: Float, _ halfHeight: Float, _ radius: Float
) -> Float {
    let (a, b) = (abs(x) - halfWidth + radius, abs(y) - halfHeight + radius)
    let (c, d) = (max(a, 0), max(b, 0))
    return (c * c + d * d).squareRoot() + min(max(a, b), 0) - radius
}

/// A line from (x0, y0) to (x1, y1) whose radius goes from `r0` to `r1`.
@inline(__always)
func capsule(
    _ x: Float, _ y: Float, _ x0: Float, _ y0: Float, _ x1: Float, _ y1: Float, _ r0: Float,
    _ r1: Float
) -> Float {
    let (dx, dy) = (x1 - x0, y1 - y0)
    let share = clamp01(((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy))
    let (ex, ey) = (x - x0 - dx * share, y - y0 - dy * share)
    return (ex * ex + ey * ey).squareRoot() - (r0 + (r1 - r0) * share)
}

/// The union of two shapes with a seam rounded by `radius`.
@inline(__always)
func smoothUnion(_ a: Float, _ b: Float, _ radius: Float) -> Float {
    let share = max(radius - abs(a - b), 0) / radius
    return min(a, b) - share * share * radius * 0.25
}

/// Bits without pattern for any number (SplitMix64).
@inline(__always)
func scramble(_ value: UInt64) -> UInt64 {
    var bits = value &+ 0x9e37_79b9_7f4a_7c15
    bits = (bits ^ (bits >> 30)) &* 0xbf58_476d_1ce4_e5b9
    bits = (bits ^ (bits >> 27)) &* 0x94d0_49bb_1331_11eb
    return bits ^ (bits >> 31)
}

/// 0..<1 without pattern for any pair of numbers.
@inline(__always)
func random01(_ a: Int, _ b: Int) -> Float {
    let bits = scramble(UInt64(truncatingIfNeeded: a &* 0x1_0000_0001 &+ b &* 0x51_7cc1_b727))
    return Float(bits >> 40) / Float(1 << 24)
}

/// Smooth noise of −1…1 with features of about one unit.
@inline(__always)
func smoothNoise(_ x: Float, _ y: Float, _ salt: Int) -> Float {
    let (cellX, cellY) = (x.rounded(.down), y.rounded(.down))
    let (i, j) = (Int(cellX), Int(cellY) &* 7919 &+ salt &* 104_729)
    let (u, v) = (smoothStep(0, 1, x - cellX), smoothStep(0, 1, y - cellY))
    let top = random01(i, j) + (random01(i + 1, j) - random01(i, j)) * u
    let low =
        random01(i, j + 7919) + (random01(i + 1, j + 7919) - random01(i, j + 7919)) * u
    return 2 * (top + (low - top) * v) - 1
}
