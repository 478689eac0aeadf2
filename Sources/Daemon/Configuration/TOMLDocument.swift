// A parsed TOML document: values that know their line, so that an error can name it. Any thread.

internal import CTOML

/// A value and the line it stands on.
struct TOMLNode {
    /// What it is.
    let value: TOMLValue
    /// Line of its key, or of an array's element itself; the first is 1.
    let line: Int
}

/// A value as TOML 1.0.0 knows them.
enum TOMLValue {
    case string(String)
    case integer(Int64)
    case float(Double)
    case boolean(Bool)
    /// A date, a time or both: no key of ours takes one.
    case dateTime
    /// `[ … ]`, and `[[name]]`, once or more.
    case array([TOMLNode])
    case table(TOMLTable)

    /// For messages: `a string`.
    var typeName: String {
        switch self {
        case .string: "a string"
        case .integer: "an integer"
        case .float: "a number"
        case .boolean: "true or false"
        case .dateTime: "a date or time"
        case .array: "a list"
        case .table: "a section"
        }
    }

    /// Parses `text` as one value, as it would stand right of `=`.
    ///
    /// - Returns: `nil` if it is none.
    init?(parsing text: String) {
        // A value with a line break must not bring further keys along.
        guard let table = try? TOMLTable(parsing: Array("value = \(text)".utf8)),
            let entry = table.entries.first, table.entries.count == 1
        else { return nil }
        self = entry.node.value
    }
}

/// A table in the order of the text.
struct TOMLTable {
    struct Entry {
        let key: String
        let node: TOMLNode
    }

    /// No key is there twice.
    fileprivate(set) var entries: [Entry] = []

    /// Parses a document.
    ///
    /// - Throws: the first thing that is wrong.
    init(parsing bytes: [UInt8]) throws(TOMLProblem) {
        if let line = Self.firstLineOfInvalidUTF8(bytes) {
            throw TOMLProblem(line: line, message: "not UTF-8 text; save the file as UTF-8")
        }
        let document = bytes.withUnsafeBytes { buffer in
            lucida_toml_parse(buffer.baseAddress, buffer.count)
        }
        guard let document else { throw TOMLProblem(line: 1, message: "memory is out") }
        defer { lucida_toml_free(document) }
        guard let nodes = lucida_toml_nodes(document) else { throw TOMLProblem(document) }
        var reader = FlatReader(next: nodes)
        guard case .table(let root) = reader.readNode().value else { return }
        self = root
    }

    fileprivate init() {}

    // toml++ finds these too, but names a line before. A line break is never part of a longer UTF-8
    // sequence: lines can be checked one by one.
    private static func firstLineOfInvalidUTF8(_ bytes: [UInt8]) -> Int? {
        bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
            .firstIndex { String(validating: $0, as: UTF8.self) == nil }.map { $0 + 1 }
    }
}

/// What is wrong with a line of TOML.
struct TOMLProblem: Error, Equatable {
    /// The first line is 1.
    let line: Int
    /// Without file and line.
    let message: String
}

extension TOMLProblem {
    fileprivate init(_ document: OpaquePointer) {
        var (line, column) = (UInt32(0), UInt32(0))
        let text = String(lucida_toml_error(document, &line, &column))
        // The commonest slip, and toml++ does not say what to do.
        let hint =
            text.hasSuffix("could not determine value type") ? "; text needs quotation marks" : ""
        self.init(line: Int(line), message: "column \(column): \(printable(text))\(hint)")
    }
}

/// Turns the flat order of `lucida_toml_nodes` back into a tree.
private struct FlatReader {
    var next: UnsafePointer<lucida_toml_node>

    mutating func readNode() -> TOMLNode {
        let flat = next.pointee
        next += 1
        return TOMLNode(value: readValue(flat), line: Int(flat.line))
    }

    private mutating func readValue(_ flat: lucida_toml_node) -> TOMLValue {
        switch flat.kind {
        case LUCIDA_TOML_STRING: return .string(String(flat.string))
        case LUCIDA_TOML_INTEGER: return .integer(flat.integer)
        case LUCIDA_TOML_FLOAT: return .float(flat.number)
        case LUCIDA_TOML_BOOLEAN: return .boolean(flat.integer != 0)
        case LUCIDA_TOML_ARRAY:
            var elements: [TOMLNode] = []
            for _ in 0..<flat.child_count { elements.append(readNode()) }
            return .array(elements)
        case LUCIDA_TOML_TABLE:
            var table = TOMLTable()
            for _ in 0..<flat.child_count {
                let key = String(next.pointee.key)
                table.entries.append(TOMLTable.Entry(key: key, node: readNode()))
            }
            return .table(table)
        default: return .dateTime
        }
    }
}

extension String {
    fileprivate init(_ text: lucida_toml_text) {
        let bytes = UnsafeRawBufferPointer(start: text.bytes, count: text.length)
        self.init(decoding: bytes, as: UTF8.self)
    }
}
