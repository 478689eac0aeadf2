// The parser's hands: bytes, blanks, comments, line breaks. Any thread.

extension TOMLParser {
    var isAtEnd: Bool { position >= bytes.count }

    /// The byte at hand, `nil` at the end.
    var peek: UInt8? { position < bytes.count ? bytes[position] : nil }

    /// Whether a line feed, or carriage return and line feed, is at hand.
    var isAtLineBreak: Bool { startsWith("\n") || startsWith("\r\n") }

    func startsWith(_ text: StaticString) -> Bool {
        guard position + text.utf8CodeUnitCount <= bytes.count else { return false }
        for index in 0..<text.utf8CodeUnitCount
        where bytes[position + index] != text.utf8Start[index] { return false }
        return true
    }

    /// Steps over `text` if it is at hand.
    mutating func skip(_ text: StaticString) -> Bool {
        guard startsWith(text) else { return false }
        position += text.utf8CodeUnitCount
        return true
    }

    /// Steps over spaces and tabs.
    mutating func skipBlanks() {
        while let byte = peek, byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") {
            position += 1
        }
    }

    @discardableResult mutating func skipLineBreak() -> Bool {
        guard skip("\n") || skip("\r\n") else { return false }
        line += 1
        return true
    }

    /// Steps over a comment, up to the line break.
    mutating func skipComment() throws(TOMLProblem) {
        guard skip("#") else { return }
        while let byte = peek, !isAtLineBreak {
            try rejectControlCharacter(byte)
            position += 1
        }
    }

    /// Steps over all that may stand between the values of an array.
    mutating func skipBlanksCommentsAndLineBreaks() throws(TOMLProblem) {
        repeat {
            skipBlanks()
            try skipComment()
        } while skipLineBreak()
    }

    func rejectControlCharacter(_ byte: UInt8) throws(TOMLProblem) {
        guard byte >= 0x20 && byte != 0x7F || byte == UInt8(ascii: "\t") else {
            throw problem(
                "a control character (code \(byte)) is not allowed; write it as an escape")
        }
    }

    func text(from start: Int) -> String {
        String(decoding: bytes[start..<position], as: UTF8.self)
    }

    func problem(_ message: String) -> TOMLProblem { TOMLProblem(line: line, message: message) }

    var tooDeep: TOMLProblem { problem("nested more than \(Self.nestingMax) deep") }

    /// What is at hand, for messages: up to a blank or the line's end.
    func excerpt() -> String {
        let word = bytes[position...].prefix { $0 > 0x20 && $0 != 0x7F }
        return word.isEmpty ? "the end of the line" : quoted(String(decoding: word, as: UTF8.self))
    }

    static func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")) ~= byte }

    static func isLetter(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "a")...UInt8(ascii: "z")) ~= byte | 0x20
    }
}

/// `text` for messages: on one line, without control characters, at most 200 characters.
func printable(_ text: String, scalarCountMax: Int = 200) -> String {
    var result = ""
    for scalar in text.unicodeScalars.prefix(scalarCountMax) {
        let isControl = scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value)
        result.unicodeScalars.append(isControl ? "\u{FFFD}" : scalar)
    }
    return text.unicodeScalars.count > scalarCountMax ? result + "…" : result
}

/// `text` for messages in quotation marks, shortened to 60 characters.
func quoted(_ text: String) -> String { "\"" + printable(text, scalarCountMax: 60) + "\"" }
