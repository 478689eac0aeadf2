// The roofline as a picture: an SVG that any browser shows.

internal import FoundationEssentials
internal import Glibc

extension Roofline {
    /// Throws if no plot can be written to `path`: better known before the measurement than after.
    public static func requireWritable(_ path: String) throws {
        try requireWritableFolder(of: path)
    }

    /// Draws the ceilings with all threads, and a point for each layer that multiplies.
    ///
    /// - Throws: `SessionError` if the file cannot be written.
    public func writePlot(to path: String) throws {
        do {
            try Data(RooflinePlot(self).svg.utf8).write(to: URL(filePath: path))
        } catch {
            throw SessionError("cannot write the plot \(path): \(error)")
        }
    }
}

/// Lays out one plot. Both axes are logarithmic and have lines at 1, 2 and 5 of each decade.
private struct RooflinePlot {
    private let roofline: Roofline
    private let layers: [Roofline.Layer]
    private let peaks: [Roofline.Arithmetic]
    private let memories: [Roofline.Bandwidth]
    // Ends of the axes: MAC/byte and GMAC/s.
    private let intensity: ClosedRange<Double>
    private let rate: ClosedRange<Double>

    private static let frame = (left: 70.0, top: 50.0, width: 620.0, height: 460.0)
    private static let legendLeft = 720.0

    private static func colour(_ operand: String) -> String {
        switch operand {
        case "bf16": "#b3541e"
        case "int16": "#2c7a3f"
        case "int8": "#7b3fa0"
        default: "#1f5fa8"
        }
    }

    init(_ roofline: Roofline) {
        self.roofline = roofline
        layers = roofline.layers.filter { $0.multipliedMACs > 0 && $0.gigaMACsPerSecond > 0 }
        peaks = roofline.arithmetic.filter { $0.threads == roofline.threads }
        memories = roofline.bandwidths.filter { $0.threads == roofline.threads }
        intensity = Self.axis(layers.map(\.macsPerByte) + [1, 50])
        rate = Self.axis(layers.map(\.gigaMACsPerSecond) + peaks.map(\.gigaMACsPerSecond))
    }

    /// The whole picture.
    var svg: String {
        let height = max(560, 90 + 16 * layers.count + 20)
        return """
            <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1020 \(height)" width="1020" \
            height="\(height)" font-family="sans-serif" font-size="12">
            <rect width="100%" height="100%" fill="white"/>
            \(text(Self.frame.left, 24, title, size: 15))
            \(grid)
            \(ceilings)
            \(points)
            \(legend)
            </svg>

            """
    }

    private var title: String {
        let name = roofline.model.split(separator: "/").last.map(String.init) ?? roofline.model
        return "\(name) at \(roofline.size) on \(roofline.processor), "
            + "\(threadText(roofline.threads)), \(roofline.instructionSet)"
    }

    /// Lines and labels of both axes.
    private var grid: String {
        let (left, top, width, height) = Self.frame
        var parts: [String] = []
        for value in Self.ticks(intensity) {
            parts.append(line(x(value), top, x(value), top + height, "#ddd"))
            parts.append(text(x(value), top + height + 18, label(value), anchor: "middle"))
        }
        for value in Self.ticks(rate) {
            parts.append(line(left, y(value), left + width, y(value), "#ddd"))
            parts.append(text(left - 8, y(value) + 4, label(value), anchor: "end"))
        }
        parts.append(
            text(
                left + width / 2, top + height + 38, "multiply-accumulates per byte touched",
                anchor: "middle"))
        parts.append(text(left - 50, top - 10, "GMAC/s"))
        return parts.joined(separator: "\n")
    }

    /// Slanted: rate = bandwidth · intensity. Level: the peak of an instruction. Labels are set
    /// apart, because some of these are nearly the same.
    private var ceilings: String {
        let (left, _, width, _) = Self.frame
        let highest = peaks.map(\.gigaMACsPerSecond).max() ?? rate.upperBound
        var parts: [String] = []
        for (index, memory) in memories.enumerated() where memory.gigabytesPerSecond > 0 {
            let bandwidth = memory.gigabytesPerSecond
            let from = max(intensity.lowerBound, rate.lowerBound / bandwidth)
            let to = min(intensity.upperBound, highest / bandwidth)
            // Too short for its label.
            guard to > 1.5 * from else { continue }
            parts.append(line(x(from), y(from * bandwidth), x(to), y(to * bandwidth), "#888", 1.5))
            let place = from * pow(to / from, index % 2 == 0 ? 0.05 : 0.45)
            parts.append(
                text(
                    x(place), y(place * bandwidth) - 4,
                    "\(memory.level) \(decimalText(bandwidth, 0)) GB/s", colour: "#555",
                    turned: slope))
        }
        for (index, peak) in peaks.enumerated() {
            let place = y(peak.gigaMACsPerSecond)
            let colour = Self.colour(peak.operand)
            parts.append(line(left, place, left + width, place, colour, 1.5))
            parts.append(
                text(
                    left + width - 4 - 130 * Double(index % 3), place - 4,
                    "\(peak.operand) \(decimalText(peak.gigaMACsPerSecond, 0)) GMAC/s",
                    anchor: "end", colour: colour))
        }
        return parts.joined(separator: "\n")
    }

    /// Degrees by which a line of constant bandwidth climbs.
    private var slope: Double {
        let up = Self.frame.height / log(rate.upperBound / rate.lowerBound)
        let along = Self.frame.width / log(intensity.upperBound / intensity.lowerBound)
        return -atan2(up, along) * 180 / .pi
    }

    /// A dot for each layer, and its number where there is room.
    private var points: String {
        let dots = layers.map { (x: x($0.macsPerByte), y: y($0.gigaMACsPerSecond)) }
        var taken = dots
        var parts: [String] = []
        for (index, (dot, layer)) in zip(dots, layers).enumerated() {
            let place = Self.freePlace(beside: dot, taken)
            taken.append(place)
            let colour = Self.colour(layer.operand)
            parts.append(line(dot.x, dot.y, place.x, place.y, "#bbb"))
            parts.append(
                "<circle cx=\"\(decimalText(dot.x, 1))\" cy=\"\(decimalText(dot.y, 1))\" r=\"4\" "
                    + "fill=\"\(colour)\"/>")
            parts.append(
                text(place.x, place.y + 4, "\(index + 1)", anchor: "middle", colour: colour))
        }
        return parts.joined(separator: "\n")
    }

    /// The nearest of some places around a dot that is not on top of another.
    private static func freePlace(
        beside dot: (x: Double, y: Double), _ taken: [(x: Double, y: Double)]
    ) -> (x: Double, y: Double) {
        for radius in stride(from: 14.0, through: 98, by: 14) {
            for turn in 0..<16 {
                let angle = Double(turn) * .pi / 8
                let place = (x: dot.x + radius * cos(angle), y: dot.y + radius * sin(angle))
                if taken.allSatisfy({ hypot($0.x - place.x, $0.y - place.y) >= 13 }) {
                    return place
                }
            }
        }
        return (dot.x + 14, dot.y)
    }

    private var legend: String {
        let header = text(Self.legendLeft, 60, "layer, ms, share of the roof")
        return
            ([header]
            + layers.enumerated().map { index, layer in
                text(
                    Self.legendLeft, 82 + 16 * Double(index),
                    "\(index + 1)  \(layer.name), \(decimalText(layer.milliseconds, 3)) ms, "
                        + "\(decimalText(100 * layer.share, 0)) % (\(layer.bound))",
                    colour: Self.colour(layer.operand))
            }).joined(separator: "\n")
    }

    // Places on the picture.

    private func x(_ macsPerByte: Double) -> Double {
        let share =
            log(macsPerByte / intensity.lowerBound)
            / log(intensity.upperBound / intensity.lowerBound)
        return Self.frame.left + share * Self.frame.width
    }

    private func y(_ gigaMACs: Double) -> Double {
        let share = log(gigaMACs / rate.lowerBound) / log(rate.upperBound / rate.lowerBound)
        return Self.frame.top + (1 - share) * Self.frame.height
    }

    /// From a line of the axis to another, with all values between them.
    private static func axis(_ values: [Double]) -> ClosedRange<Double> {
        let positive = values.filter { $0 > 0 }
        let low = tickValues.last { $0 <= positive.min() ?? 1 } ?? tickValues[0]
        return low...(tickValues.first { $0 >= (positive.max() ?? 1) && $0 > low } ?? 10 * low)
    }

    private static func ticks(_ axis: ClosedRange<Double>) -> [Double] {
        tickValues.filter(axis.contains)
    }

    /// 1, 2 and 5 of every decade that an axis can have.
    private static let tickValues = (-4...9).flatMap { power in
        [1, 2, 5].map { $0 * pow(10, Double(power)) }
    }

    private func label(_ value: Double) -> String {
        decimalText(value, value >= 1 ? 0 : value >= 0.1 ? 1 : value >= 0.01 ? 2 : 4)
    }

    // Elements.

    private func line(
        _ x1: Double, _ y1: Double, _ x2: Double, _ y2: Double, _ colour: String,
        _ width: Double = 1
    ) -> String {
        """
        <line x1="\(decimalText(x1, 1))" y1="\(decimalText(y1, 1))" x2="\(decimalText(x2, 1))" \
        y2="\(decimalText(y2, 1))" stroke="\(colour)" stroke-width="\(width)"/>
        """
    }

    private func text(
        _ x: Double, _ y: Double, _ content: String, anchor: String = "start",
        colour: String = "#222", size: Int = 12, turned degrees: Double = 0
    ) -> String {
        let place = "x=\"\(decimalText(x, 1))\" y=\"\(decimalText(y, 1))\""
        let turn =
            degrees == 0
            ? ""
            : " transform=\"rotate(\(decimalText(degrees, 1)) "
                + "\(decimalText(x, 1)) \(decimalText(y, 1)))\""
        return "<text \(place) text-anchor=\"\(anchor)\" fill=\"\(colour)\" "
            + "font-size=\"\(size)\"\(turn)>\(Self.escaped(content))</text>"
    }

    /// Names of files and processors may hold what XML takes for markup.
    private static func escaped(_ text: String) -> String {
        printable(text).map { character in
            switch character {
            case "&": "&amp;"
            case "<": "&lt;"
            case ">": "&gt;"
            case "\"": "&quot;"
            default: String(character)
            }
        }.joined()
    }
}
