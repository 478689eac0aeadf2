// A setting's value without its type: what the schema reads and writes. Control plane.

/// The value of one key, as it stands in a file, in an option or in a `Configuration`.
public enum ConfigurationValue: Sendable, Equatable, CustomStringConvertible {
    /// `30`
    case integer(Int)
    /// `0.5`
    case number(Double)
    /// `true`
    case boolean(Bool)
    /// `"auto"`
    case text(String)
    /// `["auto", "file:out.mp4"]`
    case list([String])
    /// The key has no value; no TOML stands for that.
    case unset

    /// As TOML, so that a printed configuration can be read again.
    public var description: String {
        switch self {
        case .integer(let value): "\(value)"
        case .number(let value): "\(value)"
        case .boolean(let value): "\(value)"
        case .text(let value): tomlString(value)
        case .list(let values): "[" + values.map(tomlString).joined(separator: ", ") + "]"
        case .unset: "unset"
        }
    }

    /// The texts in it: one, several or none.
    var texts: [String] {
        switch self {
        case .text(let text): [text]
        case .list(let texts): texts
        default: []
        }
    }

    /// A parsed value; `nil` for kinds that no key takes: dates, sections, lists of other things.
    init?(_ value: TOMLValue) {
        switch value {
        case .integer(let value): self = .integer(Int(value))
        case .float(let value): self = .number(value)
        case .boolean(let value): self = .boolean(value)
        case .string(let value): self = .text(value)
        case .array(let nodes):
            var texts: [String] = []
            for node in nodes {
                guard case .string(let text) = node.value else { return nil }
                texts.append(text)
            }
            self = .list(texts)
        case .dateTime, .table: return nil
        }
    }
}

/// `text` as a TOML basic string.
func tomlString(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
        switch scalar {
        case "\"": result += "\\\""
        case "\\": result += "\\\\"
        case "\u{0}"..<"\u{20}", "\u{7F}":
            let digits = String(scalar.value, radix: 16)
            result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
        default: result.unicodeScalars.append(scalar)
        }
    }
    return result + "\""
}
