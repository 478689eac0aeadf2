// The room behind the person of the synthetic camera. Painted once, at prepare.

internal import Glibc

/// A wall, a low bookshelf with a lamp, a picture, a window and a plant, in scene units: x is 0 in
/// the middle of the picture, y is 0 at the top of a landscape picture and 1 at its bottom.
enum Room {
    static func paint(on canvas: Canvas) {
        paintWall(canvas)
        paintWindow(canvas)
        paintPicture(canvas)
        paintShelf(canvas)
        paintLamp(canvas)
        paintPlant(canvas)
        paintLight(canvas)
    }

    // Larger than any picture: the aspect ratio may be anything.
    private static let everywhere = Box(-400, -400, 400, 2)

    private static func paintWall(_ canvas: Canvas) {
        let lightWall = Colour(0xA9BDB0)
        let darkWall = Colour(0x6F8A84)
        canvas.wash(everywhere) { x, y in
            let (dx, dy) = (x - 0.45, y - 0.25)
            let light = 1 / (1 + 1.1 * (dx * dx + dy * dy))
            // Wallpaper: broad stripes, hardly visible, and the grain of the paper.
            let stripe = sinf(x * 110) > 0 ? Float(0.012) : -0.012
            let grain = 0.012 * smoothNoise(x * 160, y * 160, 1)
            return darkWall.mixed(with: lightWall, light).lit(1 + stripe + grain)
        }
        // Skirting, for tall pictures whose floor shows.
        canvas.paint(
            Box(-400, 0.9, 400, 2), distance: { _, y in 0.955 - y },
            colour: { _, y in Colour(0xE4DDD0).lit(y < 0.965 ? 1.05 : 0.86) })
    }

    // MARK: - Window

    private static func paintWindow(_ canvas: Canvas) {
        let (centreX, centreY, halfWidth, halfHeight) = (
            Float(0.56), Float(0.33), Float(0.235), Float(0.285)
        )
        // Shadow of the frame on the wall.
        canvas.paint(
            Box(x: centreX, y: centreY, halfWidth: 0.34, halfHeight: 0.40), softness: 0.05,
            distance: { roundedBox($0 - centreX + 0.012, $1 - centreY - 0.02, 0.262, 0.312, 0.02) },
            colour: { _, _ in Colour(0x31443F, alpha: 0.45) })
        let frame = Colour(0xF3EDE0)
        canvas.paint(
            Box(x: centreX, y: centreY, halfWidth: 0.27, halfHeight: 0.32),
            distance: { roundedBox($0 - centreX, $1 - centreY, 0.258, 0.308, 0.006) },
            colour: { x, _ in frame.lit(x < centreX - 0.25 ? 0.84 : 0.98) })
        let pane = Box(x: centreX, y: centreY, halfWidth: halfWidth, halfHeight: halfHeight)
        paintOutside(canvas, pane)
        // Glazing bars, each with a lit and a shaded side.
        canvas.paint(
            pane, distance: { x, _ in abs(x - centreX) - 0.0085 },
            colour: { x, _ in frame.lit(x < centreX ? 0.80 : 0.97) })
        canvas.paint(
            pane, distance: { _, y in abs(y - 0.27) - 0.0085 },
            colour: { _, y in frame.lit(y < 0.27 ? 0.97 : 0.80) })
        // Sill.
        canvas.paint(
            Box(x: centreX, y: 0.68, halfWidth: 0.32, halfHeight: 0.05), softness: 0.03,
            distance: { roundedBox($0 - centreX, $1 - 0.675, 0.29, 0.022, 0.01) },
            colour: { _, _ in Colour(0x31443F, alpha: 0.5) })
        canvas.paint(
            Box(x: centreX, y: 0.65, halfWidth: 0.30, halfHeight: 0.03),
            distance: { roundedBox($0 - centreX, $1 - 0.647, 0.288, 0.015, 0.005) },
            colour: { _, y in frame.lit(y < 0.645 ? 1.03 : 0.86) })
        paintCurtain(canvas)
    }

    private static func paintOutside(_ canvas: Canvas, _ pane: Box) {
        let (high, low) = (Colour(0x7FB6E6), Colour(0xFBE7C6))
        canvas.wash(pane) { _, y in high.mixed(with: low, smoothStep(0.05, 0.50, y)) }
        for (x, y, size) in [(0.43, 0.13, 0.05), (0.50, 0.15, 0.035), (0.67, 0.20, 0.045)]
            as [(Float, Float, Float)]
        {
            canvas.paint(
                Box(x: x, y: y, halfWidth: 2 * size, halfHeight: size), softness: size * 0.5,
                distance: {
                    smoothUnion(
                        ellipse($0 - x, $1 - y, size * 1.3, size * 0.32),
                        ellipse($0 - x - 0.01, $1 - y + size * 0.3, size * 0.6, size * 0.4), 0.02)
                }, colour: { _, _ in Colour(0xFFFDF6, alpha: 0.85) })
        }
        // Hills, each nearer and greener, out of focus.
        for (index, colour) in [Colour(0xA9C9B8), Colour(0x86B489), Colour(0x5C965A)].enumerated() {
            let base = 0.44 + 0.055 * Float(index)
            let phase = Float(index) * 2.1
            canvas.paint(
                pane, softness: 0.012,
                distance: { x, y in
                    base + 0.022 * sinf(x * 9 + phase) + 0.010 * sinf(x * 23 + phase) - y
                }, colour: { _, y in colour.lit(1.06 - 0.9 * (y - base)) })
        }
        // A tree.
        canvas.paint(
            pane, softness: 0.006,
            distance: { max(capsule($0, $1, 0.70, 0.66, 0.70, 0.42, 0.012, 0.007), $1 - 0.615) },
            colour: { _, _ in Colour(0x6E5440) })
        for index in 0..<16 {
            let turn = Float(index) * 2.4
            let reach = 0.052 * (Float(15 - index) / 15).squareRoot()
            let x = 0.70 + 1.05 * reach * cosf(turn)
            let y = 0.385 + 1.15 * reach * sinf(turn)
            let size = 0.026 + 0.012 * random01(7, index)
            canvas.paint(
                pane, softness: 0.012, distance: { ellipse($0 - x, $1 - y, size, size * 0.9) },
                colour: {
                    Colour(0x4F8B4B).mixed(
                        with: Colour(0xA5C66A),
                        clamp01(0.5 - (($1 - y) - ($0 - x) * 0.4) / size * 0.6))
                })
        }
    }

    private static func paintCurtain(_ canvas: Canvas) {
        for (left, right, gather) in [(0.755, 0.93, 0.05), (0.265, 0.365, -0.045)]
            as [(Float, Float, Float)]
        {
            canvas.paint(
                Box(left - 0.05, -0.02, right + 0.05, 0.78),
                distance: { x, y in
                    let shift = gather * smoothStep(0, 0.55, y)
                    return max(max(left + shift - x, x - right - shift), max(-0.01 - y, y - 0.76))
                },
                colour: { x, y in
                    let shift = gather * smoothStep(0, 0.55, y)
                    let across = (x - left - shift) / (right - left)
                    let fold = sinf(across * 26 + 0.6 * sinf(y * 5)) * 0.5 + 0.5
                    return Colour(0xD9B48A).mixed(with: Colour(0xF8E6C4), fold)
                        .lit(1.02 - 0.14 * y)
                })
        }
        // Rod.
        canvas.paint(
            Box(0.20, -0.01, 1.0, 0.05),
            distance: { capsule($0, $1, 0.22, 0.018, 0.96, 0.018, 0.008, 0.008) },
            colour: { _, y in Colour(0x5A3B26).lit(y < 0.015 ? 1.5 : 0.9) })
    }

    // MARK: - Picture on the wall

    private static func paintPicture(_ canvas: Canvas) {
        let (x0, y0) = (Float(-0.315), Float(0.225))
        canvas.paint(
            Box(x: x0, y: y0, halfWidth: 0.16, halfHeight: 0.18), softness: 0.035,
            distance: { roundedBox($0 - x0 + 0.014, $1 - y0 - 0.018, 0.098, 0.118, 0.01) },
            colour: { _, _ in Colour(0x2C3D39, alpha: 0.5) })
        canvas.paint(
            Box(x: x0, y: y0, halfWidth: 0.11, halfHeight: 0.13),
            distance: { roundedBox($0 - x0, $1 - y0, 0.098, 0.118, 0.004) },
            colour: { x, y in
                Colour(0x8C5A34).lit(x - x0 > abs(y - y0) - 0.02 ? 1.18 : 0.86)
            })
        canvas.paint(
            Box(x: x0, y: y0, halfWidth: 0.09, halfHeight: 0.11),
            distance: { roundedBox($0 - x0, $1 - y0, 0.086, 0.106, 0.002) },
            colour: { _, _ in Colour(0xF6EEDC) })
        let art = Box(x: x0, y: y0, halfWidth: 0.066, halfHeight: 0.084)
        canvas.wash(art) { _, y in
            Colour(0xF2A65A).mixed(with: Colour(0xF7D9A0), clamp01((y - y0 + 0.084) / 0.13))
        }
        canvas.paint(
            art, distance: { ellipse($0 - x0 - 0.018, $1 - y0 + 0.024, 0.026, 0.026) },
            colour: { _, _ in Colour(0xE0523D) })
        for (index, colour) in [Colour(0x8C6A9E), Colour(0x4E5F92), Colour(0x2C3E66)].enumerated() {
            let base = y0 + 0.012 + 0.026 * Float(index)
            canvas.paint(
                art,
                distance: { x, y in
                    base + 0.011 * sinf(x * (44 + Float(index) * 17) + Float(index)) - y
                }, colour: { _, _ in colour })
        }
    }

    // MARK: - Bookshelf

    private static let shelfRight: Float = -0.435
    private static let boards: [Float] = [0.385, 0.645, 0.905]

    private static func paintShelf(_ canvas: Canvas) {
        let left = max(-400, -canvas.originX / canvas.scale - 0.1)
        guard left < shelfRight else { return }
        canvas.paint(
            Box(left, 0.34, shelfRight + 0.1, 1.1), softness: 0.06,
            distance: { x, y in max(x - shelfRight - 0.022, 0.395 - y) },
            colour: { _, _ in Colour(0x2C3D39, alpha: 0.45) })
        canvas.wash(Box(left, 0.385, shelfRight, 1.2)) { x, y in
            // The back lies in shade, most so under each board.
            let depth = (y - 0.385).truncatingRemainder(dividingBy: 0.26)
            return Colour(0x4A2F20).lit(0.55 + 0.55 * smoothStep(0, 0.16, depth))
        }
        var row = 0
        for board in boards {
            if row > 0 { paintBooks(canvas, from: left, base: board - 0.013, row: row) }
            row += 1
        }
        paintBooks(canvas, from: left, base: 1.152, row: row)
        for board in boards {
            paintWood(canvas, Box(left, board - 0.013, shelfRight, board + 0.013), along: true)
        }
        paintWood(canvas, Box(shelfRight - 0.026, 0.372, shelfRight, 1.2), along: false)
    }

    private static func paintWood(_ canvas: Canvas, _ box: Box, along: Bool) {
        canvas.wash(box) { x, y in
            let grain =
                along ? smoothNoise(x * 14, y * 260, 3) : smoothNoise(x * 260, y * 14, 3)
            let edge = along ? (y - box.top) / (box.bottom - box.top) : (box.right - x) / 0.026
            return Colour(0x9A6239).lit(1.14 + 0.09 * grain - 0.34 * smoothStep(0.1, 1, edge))
        }
    }

    private static let covers: [Colour] = [
        Colour(0xB23A2E), Colour(0x2F5D73), Colour(0xD9A13B), Colour(0x3F6B4A), Colour(0xE8DCC2),
        Colour(0x7A3B57), Colour(0x24384F), Colour(0xCF6F3A), Colour(0x5E8C8A), Colour(0x8E2F2B),
        Colour(0x6C7F3F), Colour(0xC9B79A),
    ]

    /// Fills one shelf from its right end with books of any width and height, and a gap now and
    /// then. What stands where depends on nothing but the place, however wide the picture is.
    private static func paintBooks(_ canvas: Canvas, from left: Float, base: Float, row: Int) {
        var x = shelfRight - 0.032
        var index = 0
        while x > left {
            index += 1
            let salt = row * 1000 + index
            let width = 0.020 + 0.024 * random01(11, salt)
            let height = 0.145 + 0.070 * random01(12, salt)
            if random01(13, salt) > 0.945 {
                paintVase(canvas, x: x - 0.045, base: base, salt: salt)
                x -= 0.095
                continue
            }
            paintBook(canvas, right: x, base: base, width: width, height: height, salt: salt)
            x -= width + 0.0012
        }
    }

    private static func paintBook(
        _ canvas: Canvas, right: Float, base: Float, width: Float, height: Float, salt: Int
    ) {
        let cover = covers[Int(random01(14, salt) * Float(covers.count))]
        let (centreX, centreY) = (right - width / 2, base - height / 2)
        let band = random01(15, salt)
        let isLight = cover.red + cover.green + cover.blue > 1.9
        let print = isLight ? Colour(0x6B4A35) : Colour(0xEBCF8E)
        canvas.paint(
            Box(right - width, base - height, right, base),
            distance: { roundedBox($0 - centreX, $1 - centreY, width / 2, height / 2, 0.004) },
            colour: { x, y in
                // The spine is round, the light comes from the right; the shelf above shades it.
                let across = (x - centreX) / width * 2
                let down = (y - base + height) / height
                var light = 1.02 + 0.16 * across - 0.42 * across * across
                light *= 0.82 + 0.22 * smoothStep(-0.1, 0.5, down)
                let isBand =
                    abs(down - 0.14) < 0.012 || abs(down - 0.86) < 0.012
                    || (band > 0.5 && abs(down - 0.82) < 0.008)
                let isTitle =
                    abs(across) < 0.30 && down > 0.26 && down < 0.36 + 0.25 * band
                    && sinf(down * 150 + band * 40) > -0.35
                return (isBand || isTitle ? cover.mixed(with: print, 0.75) : cover).lit(light)
            })
    }

    private static func paintVase(_ canvas: Canvas, x x0: Float, base: Float, salt: Int) {
        let colour = random01(16, salt) > 0.5 ? Colour(0x6FA3B0) : Colour(0xE0B8A0)
        canvas.paint(
            Box(x: x0, y: base - 0.07, halfWidth: 0.05, halfHeight: 0.075),
            distance: {
                let body = ellipse($0 - x0, $1 - base + 0.048, 0.036, 0.046)
                let neck = roundedBox($0 - x0, $1 - base + 0.105, 0.013, 0.030, 0.004)
                return max(smoothUnion(body, neck, 0.03), $1 - base)
            },
            colour: { x, y in
                let shine =
                    1 - clamp01(ellipse(x - x0 - 0.014, y - base + 0.06, 0.004, 0.010) * 110)
                return colour.lit(0.80 + 7 * (x - x0)).mixed(with: Colour(0xFFFFFF), 0.5 * shine)
            })
    }

    // MARK: - Lamp

    private static func paintLamp(_ canvas: Canvas) {
        let (x0, base) = (Float(-0.585), Float(0.373))
        // Its glow on the wall.
        canvas.paint(
            Box(x: x0, y: 0.17, halfWidth: 0.48, halfHeight: 0.42), softness: 0.55,
            distance: { ellipse($0 - x0, $1 - 0.17, 0.22, 0.22) },
            colour: { _, _ in Colour(0xFFDC96, alpha: 0.62) })
        canvas.paint(
            Box(x: x0, y: 0.3, halfWidth: 0.07, halfHeight: 0.09),
            distance: {
                let stem = roundedBox($0 - x0, $1 - 0.29, 0.006, 0.06, 0.002)
                let body = ellipse($0 - x0, $1 - 0.335, 0.030, 0.032)
                let foot = roundedBox($0 - x0, $1 - base + 0.006, 0.042, 0.006, 0.004)
                return min(smoothUnion(stem, body, 0.02), foot)
            },
            colour: { x, _ in
                Colour(0x2E7C82).lit(0.85 + 9 * (x - x0) * (x - x0 > 0.012 ? 0.4 : 1.2))
            })
        // The shade, lit from inside.
        canvas.paint(
            Box(x: x0, y: 0.17, halfWidth: 0.12, halfHeight: 0.09),
            distance: { x, y in
                let half = 0.062 + 0.042 * clamp01((y - 0.10) / 0.145)
                return max(abs(x - x0) - half, abs(y - 0.1725) - 0.0725)
            },
            colour: { x, y in
                let glow = 1 / (1 + 130 * ((x - x0) * (x - x0) + (y - 0.19) * (y - 0.19)))
                let rim: Float = y > 0.236 || y < 0.108 ? 0.90 : 1
                return Colour(0xE9A85A).mixed(with: Colour(0xFFF6D6), glow).lit(rim)
            })
    }

    // MARK: - Plant

    private static func paintPlant(_ canvas: Canvas) {
        let (x0, top) = (Float(0.66), Float(0.80))
        canvas.paint(
            Box(x: x0, y: 0.92, halfWidth: 0.16, halfHeight: 0.2), softness: 0.06,
            distance: { ellipse($0 - x0 + 0.03, $1 - 0.93, 0.095, 0.13) },
            colour: { _, _ in Colour(0x2C3D39, alpha: 0.35) })
        for index in 0..<15 {
            // From the outermost to the middle, so that the middle ones lie in front.
            let side: Float = index % 2 == 0 ? 1 : -1
            let spread = 1.25 - Float(index) * 0.078
            let angle = side * spread + 0.24 * (random01(21, index) - 0.5)
            paintLeaf(
                canvas, x: x0 + side * 0.008, y: top + 0.015, angle: angle,
                length: 0.185 + 0.085 * random01(22, index), tone: random01(23, index))
        }
        canvas.paint(
            Box(x: x0, y: 0.92, halfWidth: 0.1, halfHeight: 0.16),
            distance: { x, y in
                let half = 0.076 - 0.10 * clamp01(y - top - 0.02)
                let body = max(abs(x - x0) - half, abs(y - top - 0.12) - 0.12)
                return min(body, roundedBox(x - x0, y - top - 0.018, 0.086, 0.020, 0.006))
            },
            colour: { x, y in
                let across = (x - x0) / 0.086
                let shade: Float = y > top + 0.038 && y < top + 0.050 ? 0.80 : 1
                return Colour(0xC8693F).lit((0.98 + 0.22 * across - 0.20 * across * across) * shade)
            })
    }

    /// A leaf that grows from (x, y) and bends; `angle` 0 is upright, positive to the right.
    private static func paintLeaf(
        _ canvas: Canvas, x x0: Float, y y0: Float, angle: Float, length: Float, tone: Float
    ) {
        let (sine, cosine) = (sinf(angle), cosf(angle))
        let colour = Colour(0x2F6B3C).mixed(with: Colour(0x6FA84F), tone)
        @inline(__always) func local(_ x: Float, _ y: Float) -> (along: Float, across: Float) {
            let (dx, dy) = (x - x0, y0 - y)
            let along = (dx * sine + dy * cosine) / length
            let across = dx * cosine - dy * sine + 0.05 * along * along * (sine > 0 ? 1 : -1) * -1
            return (along, across)
        }
        canvas.paint(
            Box(x: x0, y: y0, halfWidth: length + 0.06, halfHeight: length + 0.06),
            distance: { x, y in
                let (along, across) = local(x, y)
                let share = clamp01(along)
                let half = 0.034 * sinf(powf(share, 0.8) * .pi) + 0.0015
                return max(abs(across) - half, max(-along, along - 1) * length)
            },
            colour: { x, y in
                let (along, across) = local(x, y)
                let rib: Float = abs(across) < 0.0016 ? 1.28 : 1
                let vein = 0.05 * sinf((along * 9 + abs(across) * 60) * 5)
                let side: Float = across > 0 ? 1.10 : 0.88
                return colour.lit((0.80 + 0.36 * along + vein) * side * rib)
            })
    }

    // MARK: - Light

    /// Light that falls in through the window, the person's soft shadow and the corners' shade.
    private static func paintLight(_ canvas: Canvas) {
        canvas.paint(
            Box(-0.6, 0, 0.5, 1.2), softness: 0.22,
            distance: {
                smoothUnion(
                    ellipse($0 + 0.055, $1 - 0.47, 0.13, 0.18),
                    ellipse($0 + 0.06, $1 - 1.0, 0.36, 0.27), 0.1)
            }, colour: { _, _ in Colour(0x23302E, alpha: 0.42) })
        canvas.wash(everywhere) { x, y in
            let (dx, dy) = (x / 1.15, (y - 0.45) / 0.95)
            return Colour(0x1E1711, alpha: 0.34 * smoothStep(0.45, 1.15, dx * dx + dy * dy))
        }
    }
}
