// The features that change shape: eyes, brows, nose and mouth, drawn into every frame.

internal import Glibc

/// Draws directly into an RGB24 frame, in the scene units of the head. Capture thread.
struct Face {
    let frame: UnsafeMutablePointer<UInt8>
    let width: Int
    let height: Int
    /// Where the head is; its scale is in pixels a scene unit.
    let place: Placement
    private let sine: Float
    private let cosine: Float

    init(frame: UnsafeMutablePointer<UInt8>, width: Int, height: Int, place: Placement) {
        self.frame = frame
        self.width = width
        self.height = height
        self.place = place
        sine = sinf(place.angle)
        cosine = cosf(place.angle)
    }

    /// - Realtime: allocates nothing
    func draw(_ pose: Pose) {
        // Features slide over the head as it turns: the nose most, because it is nearest.
        let (shiftX, shiftY) = (0.013 * pose.yaw, 0.008 * pose.pitch)
        drawNose(x: 1.6 * shiftX, y: 0.048 + 1.5 * shiftY)
        drawMouth(x: 1.15 * shiftX, y: 0.098 + 1.1 * shiftY, pose)
        drawEye(x: shiftX - 0.050, y: shiftY - 0.002, side: -1, pose)
        drawEye(x: shiftX + 0.050, y: shiftY - 0.002, side: 1, pose)
        drawBrow(x: shiftX - 0.052, y: shiftY - 0.046, side: -1, pose)
        drawBrow(x: shiftX + 0.052, y: shiftY - 0.046, side: 1, pose)
    }

    /// Paints a shape over the frame, as `Canvas.paint` does; coordinates are relative to the
    /// centre of the box.
    @inline(__always)
    private func paint(
        x: Float, y: Float, halfWidth: Float, halfHeight: Float, softness: Float = 0,
        distance: (Float, Float) -> Float, colour: (Float, Float) -> Colour
    ) {
        let scale = place.scale
        let centreX = place.x + (x * cosine - y * sine) * scale
        let centreY = place.y + (x * sine + y * cosine) * scale
        let reachX = (halfWidth * cosine.magnitude + halfHeight * sine.magnitude) * scale + 1
        let reachY = (halfWidth * sine.magnitude + halfHeight * cosine.magnitude) * scale + 1
        let (x0, x1) = (pixel(centreX - reachX, width), pixel(centreX + reachX + 1, width))
        let (y0, y1) = (pixel(centreY - reachY, height), pixel(centreY + reachY + 1, height))
        let slope = softness > 0 ? 1 / max(softness, 1.5 / scale) : scale
        for row in y0..<y1 {
            let dy = (Float(row) + 0.5 - centreY) / scale
            for column in x0..<x1 {
                let dx = (Float(column) + 0.5 - centreX) / scale
                let localX = dx * cosine + dy * sine
                let localY = dy * cosine - dx * sine
                var coverage = clamp01(0.5 - distance(localX, localY) * slope)
                if coverage <= 0 { continue }
                if softness > 0 { coverage = coverage * coverage * (3 - 2 * coverage) }
                let source = colour(localX, localY)
                let alpha = source.alpha * coverage
                let target = frame + 3 * (row * width + column)
                target[0] = blend(target[0], source.red, alpha)
                target[1] = blend(target[1], source.green, alpha)
                target[2] = blend(target[2], source.blue, alpha)
            }
        }
    }

    @inline(__always)
    private func pixel(_ value: Float, _ limit: Int) -> Int {
        Int(max(0, min(Float(limit), value)))
    }

    @inline(__always)
    private func blend(_ old: UInt8, _ new: Float, _ alpha: Float) -> UInt8 {
        let value = Float(old) + (clamp01(new) * 255 - Float(old)) * alpha
        return UInt8(truncatingIfNeeded: Int32(value + 0.5))
    }

    // MARK: - Eyes

    private static let eyeHalfWidth: Float = 0.0285

    /// Height of the lids above (−) and below (+) the middle of the eye; the outer corner is a
    /// little higher than the inner one.
    @inline(__always)
    private func lids(_ x: Float, side: Float, openness: Float) -> (upper: Float, lower: Float) {
        let share = x / Self.eyeHalfWidth
        let arch = max(0, 1 - share * share)
        let tilt = -0.0022 * share * side
        let shut: Float = 0.0045
        return (
            tilt + shut * arch - (0.0205 * openness) * arch.squareRoot() * (0.55 + 0.45 * arch),
            tilt + (shut + 0.0045 * openness) * arch
        )
    }

    private func drawEye(x x0: Float, y y0: Float, side: Float, _ pose: Pose) {
        let half = Self.eyeHalfWidth
        let openness =
            pose.eyeOpenness * (0.92 - 0.18 * max(0, pose.smile - 0.7) + 0.1 * pose.browRaise)
        // The fold of the upper lid.
        paint(
            x: x0, y: y0, halfWidth: 0.034, halfHeight: 0.032, softness: 0.008,
            distance: { x, y in
                let upper = lids(x, side: side, openness: openness).upper
                return max(abs(y - upper * 0.85 + 0.0088) - 0.0008, abs(x) - half)
            }, colour: { _, _ in Colour(0x8A4E36, alpha: 0.60) })
        // The white, shaded by the lid.
        paint(
            x: x0, y: y0, halfWidth: 0.030, halfHeight: 0.024,
            distance: { x, y in eyeball(x, y, side, openness) },
            colour: { x, y in
                let upper = lids(x, side: side, openness: openness).upper
                return Colour(0xFBF6EE).lit(0.74 + 0.26 * smoothStep(0, 0.012, y - upper))
            })
        drawIris(x: x0, y: y0, side, openness, pose)
        // Lashes along the upper lid, thicker outwards; a fine line below.
        paint(
            x: x0, y: y0, halfWidth: 0.034, halfHeight: 0.028,
            distance: { x, y in
                let upper = lids(x, side: side, openness: openness).upper
                let thickness = 0.0026 + 0.0013 * side * x / half
                return max(abs(y - upper + 0.001) - thickness, abs(x) - half - 0.002) * 0.8
            }, colour: { _, _ in Colour(0x2A1712) })
        paint(
            x: x0, y: y0, halfWidth: 0.030, halfHeight: 0.020, softness: 0.004,
            distance: { x, y in
                let lower = lids(x, side: side, openness: openness).lower
                return max(abs(y - lower - 0.0006) - 0.0006, abs(x) - half)
            }, colour: { _, _ in Colour(0x8A4E36, alpha: 0.55) })
    }

    @inline(__always)
    private func eyeball(_ x: Float, _ y: Float, _ side: Float, _ openness: Float) -> Float {
        let (upper, lower) = lids(x, side: side, openness: openness)
        return max(max(upper - y, y - lower) * 0.8, abs(x) - Self.eyeHalfWidth)
    }

    private func drawIris(x x0: Float, y y0: Float, _ side: Float, _ openness: Float, _ pose: Pose)
    {
        let gazeX = 0.0085 * pose.gazeX + 0.002 * pose.yaw
        let gazeY = 0.0040 * pose.gazeY - 0.0025
        let radius: Float = 0.0140
        paint(
            x: x0, y: y0, halfWidth: 0.030, halfHeight: 0.024,
            distance: { x, y in
                max(
                    ellipse(x - gazeX, y - gazeY, radius, radius),
                    eyeball(x, y, side, openness))
            },
            colour: { x, y in
                let (dx, dy) = (x - gazeX, y - gazeY)
                let share = (dx * dx + dy * dy).squareRoot() / radius
                // Lighter where the light falls through, opposite the highlight.
                var colour = Colour(0x3B6E5E).mixed(
                    with: Colour(0x86B98A), clamp01(0.35 + 55 * (dy - 0.4 * dx)))
                colour = colour.mixed(with: Colour(0x16241F), smoothStep(0.78, 1, share) * 0.8)
                colour = colour.mixed(with: Colour(0x0B0D0C), smoothStep(0.52, 0.44, share))
                let shadow = lids(x, side: side, openness: openness).upper
                return colour.lit(0.62 + 0.38 * smoothStep(0, 0.010, y - shadow))
            })
        paint(
            x: x0, y: y0, halfWidth: 0.030, halfHeight: 0.024,
            distance: { x, y in
                max(
                    min(
                        ellipse(x - gazeX - 0.0046, y - gazeY + 0.0046, 0.0037, 0.0037),
                        ellipse(x - gazeX + 0.0042, y - gazeY - 0.0042, 0.0015, 0.0015)),
                    eyeball(x, y, side, openness))
            }, colour: { _, _ in Colour(0xFFFFFF, alpha: 0.95) })
    }

    private func drawBrow(x x0: Float, y y0: Float, side: Float, _ pose: Pose) {
        let raise = 0.010 * pose.browRaise + 0.002 * (1 - pose.eyeOpenness) * -1
        paint(
            x: x0, y: y0 - raise, halfWidth: 0.045, halfHeight: 0.022,
            distance: { x, y in
                // `out` is −1 at the inner end and 1 at the outer.
                let out = side * x / 0.036
                let middle = -0.0068 * (1 - (out - 0.05) * (out - 0.05)) + 0.0022 * out
                let thickness = 0.0056 - 0.0032 * clamp01(out * 0.5 + 0.5)
                return max(abs(y - middle) - thickness, (abs(x) - 0.036)) * 0.9
            },
            colour: { x, y in
                let hairs = 0.16 * sinf(x * 900 + y * 500 * side)
                return Person.hair.lit(0.82 + hairs)
            })
    }

    // MARK: - Nose and mouth

    private func drawNose(x x0: Float, y y0: Float) {
        // The shaded side of the bridge, away from the window.
        paint(
            x: x0 - 0.008, y: y0 - 0.030, halfWidth: 0.035, halfHeight: 0.055, softness: 0.018,
            distance: { capsule($0, $1, 0.000, -0.030, -0.007, 0.026, 0.003, 0.007) },
            colour: { _, _ in Colour(0xA8623F, alpha: 0.42) })
        // Shadow below the tip.
        paint(
            x: x0 - 0.002, y: y0 + 0.016, halfWidth: 0.045, halfHeight: 0.025, softness: 0.014,
            distance: { ellipse($0, $1, 0.020, 0.0055) },
            colour: { _, _ in Colour(0x9A5136, alpha: 0.55) })
        // Wings and nostrils.
        paint(
            x: x0, y: y0 + 0.006, halfWidth: 0.035, halfHeight: 0.022, softness: 0.010,
            distance: { x, y in
                // An arc around each wing.
                abs(ellipse(abs(x) - 0.013, y, 0.0105, 0.0095)) + max(0, 0.020 - abs(x)) * 0.8
                    - 0.001
            }, colour: { _, _ in Colour(0x9A5136, alpha: 0.50) })
        paint(
            x: x0, y: y0 + 0.013, halfWidth: 0.020, halfHeight: 0.010, softness: 0.004,
            distance: { ellipse(abs($0) - 0.0088, $1 + 0.10 * abs($0), 0.0046, 0.0022) },
            colour: { _, _ in Colour(0x6B2F22, alpha: 0.80) })
        // Light on bridge and tip.
        paint(
            x: x0 + 0.003, y: y0 - 0.030, halfWidth: 0.020, halfHeight: 0.045, softness: 0.012,
            distance: { capsule($0, $1, 0.001, -0.028, 0.001, 0.018, 0.002, 0.003) },
            colour: { _, _ in Colour(0xFFE6CC, alpha: 0.55) })
        paint(
            x: x0 + 0.004, y: y0 - 0.002, halfWidth: 0.018, halfHeight: 0.016, softness: 0.012,
            distance: { ellipse($0, $1, 0.005, 0.004) },
            colour: { _, _ in Colour(0xFFF0DF, alpha: 0.60) })
    }

    /// The line where the lips meet, and how far they are apart at `share` of the half width.
    private func drawMouth(x x0: Float, y y0: Float, _ pose: Pose) {
        let open = pose.mouthOpenness
        let half = 0.040 + 0.007 * pose.smile - 0.007 * open
        let curve = 0.0150 * pose.smile
        @inline(__always) func line(_ x: Float) -> (middle: Float, arch: Float) {
            let share = x / half
            return (curve * (0.45 - share * share), max(0, 1 - share * share))
        }
        let gapUp = 0.0015 + 0.005 * open
        let gapDown = 0.0010 + 0.019 * open
        // Lips: the upper with its bow and darker, the lower full and lit.
        paint(
            x: x0, y: y0, halfWidth: 0.050, halfHeight: 0.045,
            distance: { x, y in
                let (middle, arch) = line(x)
                let bow = 0.0022 * expf(-x * x * 9000)
                let upper =
                    middle - gapUp * arch - (0.0078 - bow) * arch.squareRoot() * (0.4 + 0.6 * arch)
                let lower = middle + gapDown * arch + 0.0100 * arch
                return max(max(upper - y, y - lower) * 0.85, abs(x) - half)
            },
            colour: { x, y in
                let middle = line(x).middle
                let low = smoothStep(-0.001, 0.004, y - middle)
                return Colour(0xB5534B).mixed(with: Colour(0xD6776A), low).lit(1 + 2.2 * x)
            })
        drawInside(x: x0, y: y0, half: half, curve: curve, gapUp: gapUp, gapDown: gapDown)
        // Shadow under the lower lip, and light on it.
        let lowest = y0 + 0.45 * curve + gapDown
        paint(
            x: x0, y: lowest + 0.016, halfWidth: 0.035, halfHeight: 0.018, softness: 0.012,
            distance: { ellipse($0, $1, 0.015, 0.0025) },
            colour: { _, _ in Colour(0x9A5136, alpha: 0.42) })
        paint(
            x: x0 + 0.005, y: lowest + 0.0052, halfWidth: 0.02, halfHeight: 0.01, softness: 0.006,
            distance: { ellipse($0, $1, 0.009, 0.0012) },
            colour: { _, _ in Colour(0xFFD5C6, alpha: 0.55) })
        // Corners of the smile.
        paint(
            x: x0, y: y0 - 0.5 * curve, halfWidth: 0.062, halfHeight: 0.02, softness: 0.007,
            distance: { ellipse(abs($0) - half - 0.002, $1, 0.0034, 0.0050) },
            colour: { _, _ in Colour(0x8E4633, alpha: 0.50) })
    }

    private func drawInside(
        x x0: Float, y y0: Float, half: Float, curve: Float, gapUp: Float, gapDown: Float
    ) {
        @inline(__always) func gap(_ x: Float, _ y: Float) -> Float {
            let share = x / half
            let arch = max(0, 1 - share * share)
            let middle = curve * (0.45 - share * share)
            return max(
                max(middle - gapUp * arch - y, y - middle - gapDown * arch) * 0.85, abs(x) - half)
        }
        paint(
            x: x0, y: y0, halfWidth: 0.048, halfHeight: 0.04, distance: { gap($0, $1) },
            colour: { x, y in
                // Teeth above, the tongue below, dark between.
                let share = x / half
                let arch = max(0, 1 - share * share)
                let top = curve * (0.45 - share * share) - gapUp * arch
                let teeth = smoothStep(0.0085, 0.0070, y - top) * smoothStep(0.9, 0.7, abs(share))
                let tongue = smoothStep(0.004, 0, ellipse(x, y - gapDown - 0.004, 0.018, 0.010))
                return Colour(0x4A1719).mixed(with: Colour(0xC45C5A), tongue)
                    .mixed(with: Colour(0xF7F1E6), teeth)
            })
    }
}
