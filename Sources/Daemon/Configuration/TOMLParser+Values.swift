// Reads TOML 1.0.0 values: arrays, inline tables, strings. Any thread.

extension TOMLParser {
    /// Parses the value at hand.
    ///
    /// - Parameter depth: arrays and inline tables around it.
    mutating func parseValue(depth: Int) throws(TOMLProblem) -> TOMLValue {
        guard depth < Self.nestingMax else { throw tooDeep }
        switch peek {
        case UInt8(ascii: "\""):
            return .string(
                try skip("\"\"\"") ? parseMultilineBasicString() : parseBasicString())
        case UInt8(ascii: "'"):
            return .string(try skip("'''") ? parseMultilineLiteralString() : parseLiteralString())
        case UInt8(ascii: "["): return .array(try parseArray(depth: depth))
        case UInt8(ascii: "{"): return .table(try parseInlineTable(depth: depth))
        default: return try parseScalar()
        }
    }

    private mutating func parseArray(depth: Int) throws(TOMLProblem) -> [TOMLNode] {
        position += 1
        var nodes: [TOMLNode] = []
        while true {
            try skipBlanksCommentsAndLineBreaks()
            if skip("]") { return nodes }
            if isAtEnd { throw problem("a list is not closed: ] is missing") }
            let elementLine = line
            nodes.append(TOMLNode(value: try parseValue(depth: depth + 1), line: elementLine))
            try skipBlanksCommentsAndLineBreaks()
            guard skip(",") || peek == UInt8(ascii: "]") else {
                throw problem("a list needs , or ] before \(excerpt())")
            }
        }
    }

    private mutating func parseInlineTable(depth: Int) throws(TOMLProblem) -> TOMLTable {
        position += 1
        let table = TOMLTable(.inline)
        skipBlanks()
        if skip("}") { return table }
        while true {
            skipBlanks()
            let keyLine = line
            let (key, value) = try parseKeyValue(depth: depth + 1)
            insert(key, TOMLNode(value: value, line: keyLine), into: table)
            skipBlanks()
            if skip("}") { return table }
            guard skip(",") else {
                throw problem("a table in braces needs , or } (on one line) before \(excerpt())")
            }
        }
    }

    // MARK: Strings

    /// `"…"` on one line.
    mutating func parseBasicString() throws(TOMLProblem) -> String {
        position += 1
        var result: [UInt8] = []
        while let byte = peek, !isAtLineBreak {
            if skip("\"") { return String(decoding: result, as: UTF8.self) }
            if byte == UInt8(ascii: "\\") {
                try parseEscape(into: &result)
                continue
            }
            try rejectControlCharacter(byte)
            result.append(byte)
            position += 1
        }
        throw problem("text is not closed: a quotation mark is missing at the line's end")
    }

    /// `'…'` on one line.
    mutating func parseLiteralString() throws(TOMLProblem) -> String {
        position += 1
        let start = position
        while let byte = peek, !isAtLineBreak {
            if byte == UInt8(ascii: "'") {
                let result = text(from: start)
                position += 1
                return result
            }
            try rejectControlCharacter(byte)
            position += 1
        }
        throw problem("text is not closed: ' is missing at the line's end")
    }

    private mutating func parseMultilineBasicString() throws(TOMLProblem) -> String {
        let firstLine = line
        var result: [UInt8] = []
        skipLineBreak()
        while let byte = peek {
            if skipClosing("\"\"\"", quote: UInt8(ascii: "\""), into: &result) {
                return String(decoding: result, as: UTF8.self)
            }
            if byte == UInt8(ascii: "\\") {
                if !skipLineContinuation() { try parseEscape(into: &result) }
            } else {
                try appendMultilineByte(byte, to: &result)
            }
        }
        throw TOMLProblem(line: firstLine, message: "text is not closed: \"\"\" is missing")
    }

    private mutating func parseMultilineLiteralString() throws(TOMLProblem) -> String {
        let firstLine = line
        var result: [UInt8] = []
        skipLineBreak()
        while let byte = peek {
            if skipClosing("'''", quote: UInt8(ascii: "'"), into: &result) {
                return String(decoding: result, as: UTF8.self)
            }
            try appendMultilineByte(byte, to: &result)
        }
        throw TOMLProblem(line: firstLine, message: "text is not closed: ''' is missing")
    }

    private mutating func appendMultilineByte(
        _ byte: UInt8, to result: inout [UInt8]
    ) throws(TOMLProblem) {
        if skipLineBreak() {
            result.append(UInt8(ascii: "\n"))
            return
        }
        try rejectControlCharacter(byte)
        result.append(byte)
        position += 1
    }

    // Up to two quotation marks may stand right before the closing three.
    private mutating func skipClosing(
        _ closing: StaticString, quote: UInt8, into result: inout [UInt8]
    ) -> Bool {
        guard skip(closing) else { return false }
        for _ in 0..<2 where peek == quote {
            result.append(quote)
            position += 1
        }
        return true
    }

    // A backslash at the line's end joins the next line that is not blank.
    private mutating func skipLineContinuation() -> Bool {
        let start = position
        position += 1
        skipBlanks()
        guard skipLineBreak() else {
            position = start
            return false
        }
        repeat { skipBlanks() } while skipLineBreak()
        return true
    }

    private mutating func parseEscape(into result: inout [UInt8]) throws(TOMLProblem) {
        position += 1
        let letter = peek
        position += 1
        switch letter {
        case UInt8(ascii: "b"): result.append(0x08)
        case UInt8(ascii: "t"): result.append(0x09)
        case UInt8(ascii: "n"): result.append(0x0A)
        case UInt8(ascii: "f"): result.append(0x0C)
        case UInt8(ascii: "r"): result.append(0x0D)
        case UInt8(ascii: "\""), UInt8(ascii: "\\"): result.append(bytes[position - 1])
        case UInt8(ascii: "u"): try parseCodePoint(digitCount: 4, into: &result)
        case UInt8(ascii: "U"): try parseCodePoint(digitCount: 8, into: &result)
        default:
            position -= 1
            throw problem("\\ before \(excerpt()) means nothing; write \\\\ for a backslash")
        }
    }

    private mutating func parseCodePoint(
        digitCount: Int, into result: inout [UInt8]
    ) throws(TOMLProblem) {
        let digits = bytes[position...].prefix(digitCount)
        // A sign is no digit, though UInt32 would take it.
        guard digits.count == digitCount,
            digits.allSatisfy({ Self.isLetter($0) || Self.isDigit($0) }),
            let code = UInt32(String(decoding: digits, as: UTF8.self), radix: 16),
            let scalar = Unicode.Scalar(code)
        else {
            throw problem("\\u and \\U need 4 and 8 hexadecimal digits of a Unicode character")
        }
        position += digitCount
        result.append(contentsOf: UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter)
    }
}
