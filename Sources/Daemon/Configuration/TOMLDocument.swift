// A parsed TOML document: values that know their line, so that an error can name it. Any thread.

/// A value and the line it stands on.
struct TOMLNode {
    /// What it is.
    var value: TOMLValue
    /// Line of its key, or of an array's element itself; the first is 1.
    let line: Int
}

/// A value as TOML 1.0.0 knows them.
enum TOMLValue {
    case string(String)
    case integer(Int64)
    case float(Double)
    case boolean(Bool)
    /// A date, a time or both, as written: no key of ours takes one.
    case dateTime(String)
    case array([TOMLNode])
    /// `[[name]]`, once or more.
    case tableArray(TOMLTableArray)
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
        case .tableArray: "a list of sections"
        case .table: "a section"
        }
    }
}

/// A table in the order of the text. A class, because the parser adds to tables that lie deep in
/// the tree; nobody changes one afterwards.
final class TOMLTable {
    /// What made the table, which decides what may still be added to it.
    enum Origin {
        /// Named on the way to another: `a` in `[a.b]`.
        case implicit
        /// `[a]`.
        case header
        /// `a` in `a.b = 1`, open to more such keys until the next header.
        case dottedKey(section: Int)
        /// `{ … }`: complete.
        case inline
    }

    var origin: Origin
    private(set) var keys: [String] = []
    private var nodes: [String: TOMLNode] = [:]

    init(_ origin: Origin) { self.origin = origin }

    subscript(key: String) -> TOMLNode? { nodes[key] }

    /// Adds a key that is not there yet.
    func add(_ key: String, _ node: TOMLNode) {
        keys.append(key)
        nodes[key] = node
    }
}

/// The tables of `[[name]]`; a class for the same reason, and never empty.
final class TOMLTableArray {
    var last: TOMLTable
    private(set) var count = 1

    init(_ first: TOMLTable) { last = first }

    func append(_ table: TOMLTable) {
        last = table
        count += 1
    }
}

/// What is wrong with a line of TOML.
struct TOMLProblem: Error, Equatable {
    /// The first line is 1.
    let line: Int
    /// Without file and line.
    let message: String
}
