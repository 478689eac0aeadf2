// Which styles a picture is drawn in, and how much of each.

/// One style, or several blended: `ink`, `ink:0.7,oil:0.3`.
public struct StyleMix: Sendable, Equatable, CustomStringConvertible {
    /// A text that names no mix of styles.
    public struct Problem: Error, Sendable, Equatable, CustomStringConvertible {
        /// A sentence for the user.
        public let description: String
    }

    /// Names in the order of the text, and shares above 0 that sum to 1.
    public let parts: [(name: String, share: Float)]

    /// How many styles a mix may have.
    public static let maximumParts = 8

    /// Reads `name` or `name:weight,name:weight…`; weights are finite, 0 or more, and not all 0.
    /// Only their ratio counts. A name is of lower-case letters, digits, `-` and `_`.
    public init(_ text: String) throws(Problem) {
        var found: [(name: String, share: Float)] = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let pieces = part.split(separator: ":", omittingEmptySubsequences: false)
                .map { $0.filter { $0 != " " } }
            let weight = pieces.count == 1 ? 1 : pieces.count == 2 ? Float(pieces[1]) : nil
            guard let name = pieces.first, Self.isName(name), let weight, weight.isFinite,
                weight >= 0, weight <= Self.maximumWeight
            else {
                throw Problem(
                    description: "\"\(text)\" is no mix of styles: write one name, or several with "
                        + "weights, as in \"ink:0.7,oil:0.3\"")
            }
            guard !found.contains(where: { $0.name == name }) else {
                throw Problem(description: "\"\(text)\" names the style \"\(name)\" twice")
            }
            found.append((name, weight))
        }
        let sum = found.reduce(0) { $0 + $1.share }
        guard sum > 0 else {
            throw Problem(description: "\"\(text)\" gives no style a weight above 0")
        }
        guard found.count <= Self.maximumParts else {
            throw Problem(
                description: "\"\(text)\" mixes more than \(Self.maximumParts) styles")
        }
        parts = found.filter { $0.share > 0 }.map { ($0.name, $0.share / sum) }
    }

    /// One style alone. The name is not checked: a model says whether it has it.
    public init(style: String) { parts = [(style, 1)] }

    private static let maximumWeight: Float = 1000

    private static func isName(_ text: String) -> Bool {
        !text.isEmpty && text.count <= 64
            && text.utf8.allSatisfy {
                ($0 >= UInt8(ascii: "a") && $0 <= UInt8(ascii: "z"))
                    || ($0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9"))
                    || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: "_")
            }
    }

    /// As it can be read again, to a thousandth: `ink`, `ink:0.7,oil:0.3`.
    public var description: String {
        parts.count == 1
            ? parts[0].name
            : parts.map { "\($0.name):\(Self.text($0.share))" }.joined(separator: ",")
    }

    /// A share so small that a thousandth would lose it stays as it is.
    private static func text(_ share: Float) -> String {
        let rounded = (Double(share) * 1000).rounded() / 1000
        return rounded > 0 ? "\(rounded)" : "\(share)"
    }

    /// The share of each of a model's styles, in its order.
    ///
    /// - Returns: nil if the model lacks a style of the mix.
    func weights(in styles: [String]) -> [Float]? {
        var weights = [Float](repeating: 0, count: styles.count)
        for part in parts {
            guard let index = styles.firstIndex(of: part.name) else { return nil }
            weights[index] = part.share
        }
        return weights
    }

    /// Whether names and shares are the same, in the same order.
    public static func == (a: StyleMix, b: StyleMix) -> Bool {
        a.parts.elementsEqual(b.parts) { $0.name == $1.name && $0.share == $1.share }
    }
}
