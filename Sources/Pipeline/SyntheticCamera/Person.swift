// The layers of the person that move as a whole: torso, head, raised arm. Painted at prepare.

internal import Glibc

/// Torso, head and arm in scene units around their own joints. Light comes from the upper right.
enum Person {
    static let torsoBox = Box(-0.46, -0.20, 0.46, 0.56)
    static let headBox = Box(-0.21, -0.26, 0.21, 0.22)
    static let armBox = Box(-0.16, -0.56, 0.14, 0.12)

    static let skin = Colour(0xECB48E)
    static let shadedSkin = Colour(0xB97855)
    static let litSkin = Colour(0xFFDDBD)
    static let hair = Colour(0x55301D)

    /// Skin at a light of −1 (shade) … 0 … 1.
    @inline(__always)
    static func skin(light: Float) -> Colour {
        light < 0
            ? skin.mixed(with: shadedSkin, min(1, -light))
            : skin.mixed(with: litSkin, min(1, light))
    }

    /// A flannel shirt: red ground, dark bands, cream and yellow lines.
    @inline(__always)
    private static func flannel(_ x: Float, _ y: Float) -> Colour {
        @inline(__always) func wave(_ value: Float) -> Float {
            let part = value / 0.088
            return abs(part - part.rounded(.down) - 0.5) * 2
        }
        let (a, b) = (wave(x), wave(y))
        var colour = Colour(0xC64A38)
        colour = colour.mixed(with: Colour(0x5D2130), 0.42 * smoothStep(0.42, 0.34, a))
        colour = colour.mixed(with: Colour(0x5D2130), 0.42 * smoothStep(0.42, 0.34, b))
        colour = colour.mixed(with: Colour(0xF4DDB0), 0.62 * smoothStep(0.86, 0.93, a))
        colour = colour.mixed(with: Colour(0xF4DDB0), 0.62 * smoothStep(0.86, 0.93, b))
        return colour
    }

    // MARK: - Torso

    /// Origin: the pit of the neck.
    static func paintTorso(on canvas: Canvas) {
        paintNeck(canvas)
        paintShirt(canvas)
        paintCollar(canvas)
    }

    private static func paintNeck(_ canvas: Canvas) {
        canvas.paint(
            Box(-0.1, -0.2, 0.1, 0.12),
            distance: {
                smoothUnion(
                    roundedBox($0, $1 + 0.08, 0.062, 0.11, 0.02),
                    ellipse($0, $1 - 0.03, 0.11, 0.07), 0.05)
            },
            colour: { x, y in
                // Round, and in the shadow of the chin.
                let chin = smoothStep(0.035, -0.045, y - 0.35 * x)
                return skin(light: 3.4 * x - 0.12 - 0.95 * chin)
                    .lit(1 - 0.16 * chin)
            })
        // The pit of the neck and the tendons beside it.
        canvas.paint(
            Box(-0.05, -0.02, 0.05, 0.06), softness: 0.035,
            distance: { ellipse($0, $1 - 0.03, 0.016, 0.014) },
            colour: { _, _ in shadedSkin.with(alpha: 0.55) })
    }

    @inline(__always)
    private static func shirt(_ x: Float, _ y: Float) -> Float {
        let shoulders = capsule(abs(x), y, 0, 0.10, 0.255, 0.165, 0.10, 0.105)
        let trapezius = ellipse(x, y - 0.06, 0.150, 0.075)
        let body = roundedBox(x, y - 0.42, 0.285, 0.30, 0.06)
        let arms = capsule(abs(x), y, 0.28, 0.18, 0.335, 0.60, 0.085, 0.075)
        let upper = smoothUnion(smoothUnion(shoulders, trapezius, 0.08), body, 0.08)
        return smoothUnion(upper, arms, 0.03)
    }

    private static func paintShirt(_ canvas: Canvas) {
        canvas.paint(
            Box(-0.45, -0.05, 0.45, 0.56),
            distance: {
                // The open collar leaves a V of neck and T-shirt.
                let opening = max(abs($0) * 1.0 + ($1 - 0.16) * 0.42, -0.4 - $1)
                return max(shirt($0, $1), -opening - 0.012)
            },
            colour: { x, y in
                let depth = -shirt(x, y)
                // Cloth: the pattern follows the body, folds run down from the shoulders.
                let bend = 0.10 * x * x
                let arm = smoothStep(0.245, 0.275, abs(x)) * smoothStep(0.14, 0.26, y)
                let lean = arm * (x > 0 ? Float(0.12) : -0.12) * (y - 0.2)
                let fold =
                    0.07 * smoothNoise(x * 9 + y * 3, y * 5 - x * 4, 31)
                    + 0.05 * smoothNoise(x * 24, y * 7, 32)
                let round = 0.30 * x + 0.10 - 0.35 * smoothStep(0.05, 0, depth) * (x < 0 ? 1 : 0.35)
                return flannel(x - lean + 0.044, y - bend).lit(0.94 + round * 0.8 + fold)
            })
        // Between arms and body.
        for side in [-1, 1] as [Float] {
            canvas.paint(
                Box(x: side * 0.26, y: 0.4, halfWidth: 0.07, halfHeight: 0.2), softness: 0.03,
                distance: {
                    capsule(side * $0, $1, 0.238, 0.25, 0.262, 0.62, 0.003, 0.010)
                }, colour: { _, _ in Colour(0x3A1420, alpha: 0.6) })
        }
        // The button border with its seams and buttons.
        canvas.paint(
            Box(-0.03, 0.12, 0.03, 0.56), distance: { x, y in max(abs(x) - 0.019, 0.15 - y) },
            colour: { x, y in flannel(x + 0.044, y).lit(x > 0.015 ? 0.82 : 1.07) })
        canvas.paint(
            Box(-0.05, 0.14, 0, 0.56), softness: 0.012,
            distance: { x, y in max(abs(x + 0.021) - 0.002, 0.16 - y) },
            colour: { _, _ in Colour(0x3A1420, alpha: 0.7) })
        for index in 0..<4 {
            let y0 = 0.215 + 0.105 * Float(index)
            canvas.paint(
                Box(x: 0, y: y0, halfWidth: 0.015, halfHeight: 0.015),
                distance: { ellipse($0, $1 - y0, 0.0085, 0.0085) },
                colour: { x, y in
                    Colour(0xF6EAD2).lit(ellipse(x, y - y0, 0.0035, 0.0035) < 0 ? 0.55 : 1)
                })
        }
    }

    private static func paintCollar(_ canvas: Canvas) {
        // T-shirt in the opening.
        canvas.paint(
            Box(-0.1, 0, 0.1, 0.2),
            distance: { x, y in
                let opening = abs(x) + (y - 0.16) * 0.42 - 0.0
                let neckline = 0.040 - 5 * x * x - y
                return max(opening + 0.008, neckline)
            },
            colour: { x, y in
                let rim: Float = y < 0.052 - 5 * x * x ? 0.90 : 1
                return Colour(0xF4F0E6).lit((0.90 + 1.1 * x) * rim)
            })
        // Two flaps, each with a shadow under it.
        for side in [-1, 1] as [Float] {
            @inline(__always) func flap(_ x: Float, _ y: Float) -> Float {
                let s = side * x
                // A quadrilateral: inner edge, outer edge, top, lower edge.
                let inner = -(s - 0.072 + (y + 0.045) * 0.37) * 0.92
                let outer = (s - 0.086 - (y + 0.045) * 0.52) * 0.88
                let lower = (y - 0.155 + s * 0.62) * 0.85
                let top = -0.050 - y
                return max(max(inner, outer), max(lower, top))
            }
            canvas.paint(
                Box(-0.18, -0.08, 0.18, 0.2), softness: 0.025,
                distance: { flap($0 + 0.006, $1 - 0.012) },
                colour: { _, _ in Colour(0x3A1420, alpha: 0.5) })
            canvas.paint(
                Box(-0.18, -0.08, 0.18, 0.2), distance: { flap($0, $1) },
                colour: { x, y in
                    let edge: Float = flap(x, y) > -0.0035 ? 0.80 : 1
                    // Cut on the bias, as collars are.
                    return flannel(0.7 * (x + y) + 0.02, 0.7 * (y - x))
                        .lit((side > 0 ? 1.14 : 0.96) * edge)
                })
        }
    }

    // MARK: - Head

    /// Origin: between the cheekbones. Eyes, brows, nose and mouth are drawn every frame.
    static func paintHead(on canvas: Canvas) {
        paintHairBehind(canvas)
        paintEars(canvas)
        paintFace(canvas)
        paintHair(canvas)
    }

    private static func paintHairBehind(_ canvas: Canvas) {
        canvas.paint(
            Box(-0.17, -0.2, 0.17, 0.08),
            distance: { ellipse($0, $1 + 0.055, 0.138, 0.132) },
            colour: { _, _ in hair.lit(0.62) })
    }

    private static func paintEars(_ canvas: Canvas) {
        for side in [-1, 1] as [Float] {
            let (x0, y0) = (side * 0.127, Float(0.022))
            canvas.paint(
                Box(x: x0, y: y0, halfWidth: 0.035, halfHeight: 0.045),
                distance: { ellipse($0 - x0 - side * 0.16 * (y0 - $1), $1 - y0, 0.022, 0.036) },
                colour: { x, y in
                    let inner = ellipse(
                        x - x0 - side * 0.16 * (y0 - y) + side * 0.003, y - y0, 0.013, 0.025)
                    let light: Float = side > 0 ? 0.15 : -0.45
                    return skin(light: light - 0.55 * smoothStep(0.004, -0.006, inner))
                        .mixed(with: Colour(0xE27B5F), 0.16)
                })
        }
    }

    @inline(__always)
    private static func face(_ x: Float, _ y: Float) -> Float {
        let skull = ellipse(x, y + 0.035, 0.124, 0.140)
        let jaw = ellipse(x, y - 0.060, 0.094, 0.116)
        return smoothUnion(skull, jaw, 0.06)
    }

    private static func paintFace(_ canvas: Canvas) {
        canvas.paint(
            Box(-0.14, -0.19, 0.14, 0.19), distance: { face($0, $1) },
            colour: { x, y in
                // The normal of a rounded mask, lit from the upper right, with some light
                // coming back from the lamp on the left.
                let (nx, ny) = (x / 0.128, (y - 0.005) / 0.178)
                let nz = max(0.05, 1 - nx * nx - ny * ny).squareRoot()
                let key = 0.50 * nx - 0.34 * ny + 0.62 * nz
                let back = 0.30 * smoothStep(0.72, 1, -nx)
                return skin(light: 1.45 * (key - 0.46) + back)
            })
        // Cheeks, chin and forehead.
        for side in [-1, 1] as [Float] {
            canvas.paint(
                Box(x: side * 0.066, y: 0.060, halfWidth: 0.06, halfHeight: 0.05), softness: 0.055,
                distance: { ellipse($0 - side * 0.066, $1 - 0.060, 0.026, 0.020) },
                colour: { _, _ in Colour(0xE8694F, alpha: 0.30) })
            // Eye sockets.
            canvas.paint(
                Box(x: side * 0.052, y: -0.012, halfWidth: 0.06, halfHeight: 0.045), softness: 0.04,
                distance: { ellipse($0 - side * 0.050, $1 + 0.014, 0.032, 0.016) },
                colour: { _, _ in Colour(0xA8623F, alpha: 0.26) })
        }
        canvas.paint(
            Box(-0.06, 0.10, 0.06, 0.18), softness: 0.03,
            distance: { ellipse($0 - 0.006, $1 - 0.150, 0.022, 0.010) },
            colour: { _, _ in litSkin.with(alpha: 0.45) })
        canvas.paint(
            Box(-0.09, -0.12, 0.09, -0.02), softness: 0.06,
            distance: { ellipse($0 - 0.025, $1 + 0.062, 0.045, 0.018) },
            colour: { _, _ in litSkin.with(alpha: 0.40) })
    }

    /// The mass of the hair above the hairline.
    @inline(__always)
    private static func hairMass(_ x: Float, _ y: Float) -> Float {
        let cap = ellipse(x, y + 0.052, 0.140, 0.142)
        let left = ellipse(x + 0.055 + 0.25 * (y + 0.15), y + 0.142, 0.088, 0.062)
        let right = ellipse(x - 0.040 - 0.2 * (y + 0.16), y + 0.160, 0.100, 0.060)
        let quiff = ellipse(x - 0.005 + 0.5 * (y + 0.19), y + 0.185, 0.066, 0.034)
        let mass = smoothUnion(smoothUnion(cap, left, 0.03), smoothUnion(right, quiff, 0.03), 0.03)
        // Locks make the outline uneven.
        let angle = atan2f(x, -(y + 0.02))
        return mass - 0.0045 * sinf(angle * 13 + 0.8) - 0.0025 * sinf(angle * 31)
    }

    /// y of the hairline: a swept fringe with a parting on the right, sideburns to the ears.
    @inline(__always)
    private static func hairline(_ x: Float) -> Float {
        let side = 9.5 * max(0, abs(x) - 0.066) * max(0, abs(x) - 0.066) * 4
        let sweep = 0.030 * smoothStep(0.055, -0.10, x) + 0.006 * sinf(x * 95)
        return -0.104 + sweep + side
    }

    @inline(__always)
    private static func fringe(_ x: Float, _ y: Float) -> Float {
        let sideburn = max(0.1105 - abs(x), y - 0.030)
        let inside = min((y - hairline(x)) * 0.75, max(sideburn, y - 0.03))
        return max(hairMass(x, y), inside)
    }

    private static func paintHair(_ canvas: Canvas) {
        // Its shadow on the forehead.
        canvas.paint(
            Box(-0.13, -0.18, 0.13, 0.04), softness: 0.026,
            distance: { max(fringe($0 + 0.004, $1 - 0.010), face($0, $1) + 0.012) },
            colour: { _, _ in Colour(0x8A4A30, alpha: 0.60) })
        canvas.paint(
            Box(-0.18, -0.26, 0.18, 0.05), distance: { fringe($0, $1) },
            colour: { x, y in
                // Strands fan out from the parting.
                let (dx, dy) = (x - 0.052, y + 0.23)
                let angle = atan2f(dx, dy)
                let radius = (dx * dx + dy * dy).squareRoot()
                let strand =
                    0.5 * smoothNoise(angle * 17 + radius * 9, radius * 6, 41)
                    + 0.5 * smoothNoise(angle * 48 + radius * 15, radius * 7, 42)
                let depth = -hairMass(x, y)
                // A band of light across the crown, bright towards the window.
                let crown = abs(depth - 0.042 - 0.012 * strand)
                let shine = smoothStep(0.030, 0, crown) * clamp01(0.45 + 3.2 * x)
                let rim = smoothStep(0.016, 0, depth) * clamp01(0.15 + 4 * x)
                let tone = 0.92 + 0.30 * strand + 1.1 * x - 0.30 * smoothStep(-0.06, 0.02, y)
                return hair.lit(tone).mixed(with: Colour(0xC98A52), 0.52 * shine + 0.45 * rim)
            })
    }

    // MARK: - Arm

    /// Origin: the elbow. Upright, the palm to the camera; a right hand seen from the front.
    static func paintArm(on canvas: Canvas) {
        canvas.paint(Box(-0.12, -0.56, 0.12, -0.22), distance: { hand($0, $1) }) { x, y in
            // Lit like a relief: the slope of the distance towards the light.
            let slope = hand(x + 0.005, y - 0.005) - hand(x - 0.005, y + 0.005)
            let depth = -hand(x, y)
            let edge = smoothStep(0.013, 0, depth)
            return skin(light: 0.12 + slope * 45 * edge * 0.9 - 0.12 * edge)
        }
        paintPalm(canvas)
        canvas.paint(
            Box(-0.12, -0.30, 0.12, 0.12),
            distance: { capsule($0, $1, 0, 0.03, 0.002, -0.225, 0.082, 0.054) },
            colour: { x, y in
                let across = x / 0.07
                let fold = 0.08 * smoothNoise(x * 12, y * 26, 51)
                return flannel(x + 0.02, y).lit(
                    0.98 + 0.24 * across - 0.26 * across * across + fold)
            })
        canvas.paint(
            Box(-0.09, -0.30, 0.09, -0.21),
            distance: { roundedBox($0 - 0.002, $1 + 0.248 - 1.2 * $0 * $0, 0.055, 0.028, 0.008) },
            colour: { x, y in
                let across = x / 0.058
                let seam: Float = abs(y + 0.226 - 1.2 * x * x) < 0.003 ? 0.70 : 1
                return flannel(0.7 * (x + y), 0.7 * (y - x))
                    .lit((1.06 + 0.22 * across - 0.24 * across * across) * seam)
            })
    }

    @inline(__always)
    private static func hand(_ x: Float, _ y: Float) -> Float {
        let wrist = capsule(x, y, 0.002, -0.25, 0, -0.31, 0.036, 0.034)
        let palm = roundedBox(x, y + 0.350, 0.049, 0.050, 0.036)
        let base = smoothUnion(wrist, palm, 0.035)
        let first = capsule(x, y, -0.034, -0.380, -0.060, -0.476, 0.0155, 0.0125)
        let second = capsule(x, y, -0.012, -0.385, -0.020, -0.505, 0.0160, 0.0128)
        let third = capsule(x, y, 0.013, -0.385, 0.022, -0.495, 0.0155, 0.0125)
        let fourth = capsule(x, y, 0.035, -0.375, 0.061, -0.455, 0.0140, 0.0112)
        let thumb = capsule(x, y, -0.030, -0.330, -0.095, -0.396, 0.0200, 0.0135)
        let fingers = min(min(first, second), min(third, fourth))
        return smoothUnion(smoothUnion(base, fingers, 0.012), thumb, 0.022)
    }

    private static func paintPalm(_ canvas: Canvas) {
        // The balls of the hand, warmer, and its lines.
        canvas.paint(
            Box(-0.06, -0.40, 0.06, -0.30), softness: 0.05,
            distance: { ellipse($0, $1 + 0.350, 0.026, 0.026) },
            colour: { _, _ in Colour(0xDF8A68, alpha: 0.40) })
        for (x0, y0, x1, y1) in [
            (-0.030, -0.366, 0.036, -0.372), (-0.036, -0.352, 0.022, -0.340),
            (-0.034, -0.350, -0.008, -0.310),
        ] as [(Float, Float, Float, Float)] {
            canvas.paint(
                Box(-0.06, -0.40, 0.06, -0.30), softness: 0.006,
                distance: { capsule($0, $1, x0, y0, x1, y1, 0.0012, 0.0004) },
                colour: { _, _ in Colour(0xB8704E, alpha: 0.42) })
        }
    }
}
