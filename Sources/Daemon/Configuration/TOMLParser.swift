// Reads TOML 1.0.0 (https://toml.io/en/v1.0.0): documents, tables and keys. Any thread.
//
// Ours, because a configuration error must name its line and a reload must not leak;
// docs/workarounds.md says what was tried and when to drop it.

/// Parses one document. After an error in a line it goes on with the next one, so that a user sees
/// everything that is wrong at once.
///
/// Time and memory are linear in the text; nesting is limited, so no input overflows the stack.
struct TOMLParser {
    /// Parts of a dotted key, and arrays or inline tables inside one another.
    static let nestingMax = 32

    let bytes: [UInt8]
    var position = 0
    var line = 1
    private var problems: [TOMLProblem] = []
    private let root = TOMLTable(.header)
    private var current: TOMLTable
    private var section = 0

    private init(_ bytes: [UInt8]) {
        self.bytes = bytes
        current = root
    }

    /// Parses `bytes`, which should be UTF-8.
    ///
    /// - Returns: what could be read, and every problem met, in the order of the text.
    static func parse(_ bytes: [UInt8]) -> (table: TOMLTable, problems: [TOMLProblem]) {
        if let line = firstLineOfInvalidUTF8(bytes) {
            let problem = TOMLProblem(line: line, message: "not UTF-8 text; save the file as UTF-8")
            return (TOMLTable(.header), [problem])
        }
        var parser = TOMLParser(bytes)
        if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { parser.position = 3 }
        parser.parseDocument()
        return (parser.root, parser.problems)
    }

    /// Parses `text` as one value, as it would stand right of `=`.
    ///
    /// - Returns: `nil` if it is none, or if something follows it.
    static func parseValue(_ text: String) -> TOMLValue? {
        var parser = TOMLParser(Array(text.utf8))
        parser.skipBlanks()
        guard let value = try? parser.parseValue(depth: 0) else { return nil }
        parser.skipBlanks()
        return parser.isAtEnd ? value : nil
    }

    // A line break is never part of a longer UTF-8 sequence: lines can be checked one by one.
    private static func firstLineOfInvalidUTF8(_ bytes: [UInt8]) -> Int? {
        var line = 1
        for part in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
            if String(validating: part, as: UTF8.self) == nil { return line }
            line += 1
        }
        return nil
    }

    // MARK: Lines

    private mutating func parseDocument() {
        while !isAtEnd {
            let firstLine = line
            do {
                try parseExpression()
            } catch {
                problems.append(error)
                // Inside a value of several lines there is no telling where the next key begins.
                guard line == firstLine else { return }
                while !isAtEnd, !isAtLineBreak { position += 1 }
                skipLineBreak()
            }
        }
    }

    private mutating func parseExpression() throws(TOMLProblem) {
        skipBlanks()
        if peek == UInt8(ascii: "[") {
            try parseHeader()
        } else if let byte = peek, byte != UInt8(ascii: "#"), !isAtLineBreak {
            let keyLine = line
            let (key, value) = try parseKeyValue(depth: 0)
            insert(key, TOMLNode(value: value, line: keyLine), into: current)
        }
        try parseEndOfLine()
    }

    private mutating func parseEndOfLine() throws(TOMLProblem) {
        skipBlanks()
        try skipComment()
        guard isAtEnd || skipLineBreak() else {
            throw problem("\(excerpt()) is unexpected here; the line should end")
        }
    }

    private mutating func parseHeader() throws(TOMLProblem) {
        // Until the header proves sound, the keys below it belong nowhere.
        current = TOMLTable(.header)
        section += 1
        position += 1
        let isArray = skip("[")
        skipBlanks()
        let path = try parseKey()
        skipBlanks()
        guard skip("]"), !isArray || skip("]") else {
            throw problem("the section's name must end in \(isArray ? "]]" : "]")")
        }
        if let table = open(path, isArray: isArray) { current = table }
    }

    /// Parses `key = value`.
    mutating func parseKeyValue(depth: Int) throws(TOMLProblem) -> ([String], TOMLValue) {
        let key = try parseKey()
        skipBlanks()
        guard skip("=") else { throw problem("\(key.joined(separator: ".")) needs = and a value") }
        skipBlanks()
        return (key, try parseValue(depth: depth))
    }

    // MARK: Keys

    private mutating func parseKey() throws(TOMLProblem) -> [String] {
        var parts = [try parseKeyPart()]
        while true {
            let end = position
            skipBlanks()
            guard skip(".") else {
                position = end
                return parts
            }
            skipBlanks()
            guard parts.count < Self.nestingMax else { throw tooDeep }
            parts.append(try parseKeyPart())
        }
    }

    private mutating func parseKeyPart() throws(TOMLProblem) -> String {
        if peek == UInt8(ascii: "\"") { return try parseBasicString() }
        if peek == UInt8(ascii: "'") { return try parseLiteralString() }
        let start = position
        while let byte = peek, Self.isBareKeyByte(byte) { position += 1 }
        guard position > start else { throw problem("a key is missing before \(excerpt())") }
        return text(from: start)
    }

    private static func isBareKeyByte(_ byte: UInt8) -> Bool {
        isLetter(byte) || isDigit(byte) || byte == UInt8(ascii: "_") || byte == UInt8(ascii: "-")
    }

    // MARK: Tables

    /// Adds a key that may be dotted. A conflict is recorded; parsing goes on.
    mutating func insert(_ path: [String], _ node: TOMLNode, into table: TOMLTable) {
        var table = table
        for (index, part) in path.dropLast().enumerated() {
            guard let existing = table[part] else {
                let next = TOMLTable(.dottedKey(section: section))
                table.add(part, TOMLNode(value: .table(next), line: node.line))
                table = next
                continue
            }
            guard case .table(let next) = existing.value, isOpen(next.origin) else {
                reportTwice(path.prefix(index + 1), at: node.line, first: existing.line)
                return
            }
            next.origin = .dottedKey(section: section)
            table = next
        }
        guard let last = path.last else { return }
        if let existing = table[last] {
            reportTwice(path[...], at: node.line, first: existing.line)
        } else {
            table.add(last, node)
        }
    }

    // Whether a dotted key may still add to such a table.
    private func isOpen(_ origin: TOMLTable.Origin) -> Bool {
        switch origin {
        case .implicit: true
        case .dottedKey(let section): section == self.section
        case .header, .inline: false
        }
    }

    // The table of `[path]`, or a new one of `[[path]]`; nil after recording a conflict.
    private mutating func open(_ path: [String], isArray: Bool) -> TOMLTable? {
        var table = root
        for (index, part) in path.dropLast().enumerated() {
            guard let existing = table[part] else {
                let next = TOMLTable(.implicit)
                table.add(part, TOMLNode(value: .table(next), line: line))
                table = next
                continue
            }
            guard let next = Self.extensible(existing.value) else {
                reportTwice(path.prefix(index + 1), at: line, first: existing.line)
                return nil
            }
            table = next
        }
        guard let last = path.last else { return nil }
        let new = TOMLTable(.header)
        guard let existing = table[last] else {
            let value = isArray ? TOMLValue.tableArray(TOMLTableArray(new)) : .table(new)
            table.add(last, TOMLNode(value: value, line: line))
            return new
        }
        switch existing.value {
        case .tableArray(let tables) where isArray:
            tables.append(new)
            return new
        case .table(let found) where !isArray:
            guard case .implicit = found.origin else { break }
            found.origin = .header
            return found
        default: break
        }
        reportTwice(path[...], at: line, first: existing.line)
        return nil
    }

    // The table to which `[a.b]` adds b, if the value of a is one that takes more.
    private static func extensible(_ value: TOMLValue) -> TOMLTable? {
        switch value {
        case .table(let table):
            if case .inline = table.origin { return nil }
            return table
        case .tableArray(let tables): return tables.last
        default: return nil
        }
    }

    private mutating func reportTwice(_ path: ArraySlice<String>, at line: Int, first: Int) {
        let name = path.joined(separator: ".")
        problems.append(
            TOMLProblem(
                line: line, message: "\(quoted(name)) is set twice, first on line \(first)"))
    }
}
