// Reads TOML 1.0.0 numbers, booleans, dates and times. Any thread.

extension TOMLParser {
    /// Parses `true`, a number, a date or a time.
    mutating func parseScalar() throws(TOMLProblem) -> TOMLValue {
        let start = position
        skipScalarBytes()
        let word = Array(bytes[start..<position])
        if let value = Self.booleanOrNumber(word) { return value }
        if Self.isDate(word[...]), let time = timeAfterBlank() {
            position = time
            return .dateTime(text(from: start))
        }
        if Self.isDateTime(word[...]) { return .dateTime(text(from: start)) }
        position = start
        if isAtEnd || isAtLineBreak || peek == UInt8(ascii: "#") {
            throw problem("a value is missing")
        }
        throw problem(
            "\(excerpt()) is not a value: text needs quotation marks, "
                + "numbers look like 30 or 0.5, switches are true or false")
    }

    private mutating func skipScalarBytes() {
        while let byte = peek,
            Self.isLetter(byte) || Self.isDigit(byte) || "+-_.:".utf8.contains(byte)
        {
            position += 1
        }
    }

    // A blank may stand instead of the T between date and time. Where the time ends.
    private func timeAfterBlank() -> Int? {
        var ahead = self
        guard ahead.skip(" ") else { return nil }
        let start = ahead.position
        ahead.skipScalarBytes()
        return Self.isTimeAndOffset(bytes[start..<ahead.position]) ? ahead.position : nil
    }

    private static func booleanOrNumber(_ word: [UInt8]) -> TOMLValue? {
        switch word {
        case Array("true".utf8): return .boolean(true)
        case Array("false".utf8): return .boolean(false)
        case Array("inf".utf8), Array("+inf".utf8): return .float(.infinity)
        case Array("-inf".utf8): return .float(-.infinity)
        case Array("nan".utf8), Array("+nan".utf8), Array("-nan".utf8): return .float(.nan)
        default: break
        }
        if let integer = integer(word) { return .integer(integer) }
        return float(word).map { .float($0) }
    }

    // MARK: Numbers

    private static func integer(_ word: [UInt8]) -> Int64? {
        for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)]
        where word.starts(with: prefix.utf8) {
            // A sign is not allowed here; Int64 would take one.
            guard let first = word.dropFirst(2).first, isDigit(first) || isLetter(first) else {
                return nil
            }
            return withoutUnderscores(word.dropFirst(2)).flatMap { Int64($0, radix: radix) }
        }
        guard isDecimal(unsigned(word[...])) else { return nil }
        return withoutUnderscores(word[...]).flatMap { Int64($0) }
    }

    private static func float(_ word: [UInt8]) -> Double? {
        let mantissaEnd = word.firstIndex { $0 | 0x20 == UInt8(ascii: "e") } ?? word.endIndex
        let exponent = word[mantissaEnd...].dropFirst()
        if mantissaEnd < word.endIndex, !isDigits(unsigned(exponent)) { return nil }
        let mantissa = unsigned(word[..<mantissaEnd])
        let pointAt = mantissa.firstIndex(of: UInt8(ascii: "."))
        // Without point and exponent it is an integer, or one too large.
        guard pointAt != nil || mantissaEnd < word.endIndex,
            isDecimal(mantissa[..<(pointAt ?? mantissa.endIndex)])
        else { return nil }
        if let pointAt, !isDigits(mantissa[(pointAt + 1)...]) { return nil }
        return withoutUnderscores(word[...]).flatMap { Double($0) }
    }

    private static func unsigned(_ word: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        word.first == UInt8(ascii: "+") || word.first == UInt8(ascii: "-") ? word.dropFirst() : word
    }

    // Digits with single underscores between them.
    private static func isDigits(_ word: ArraySlice<UInt8>) -> Bool {
        guard let first = word.first, isDigit(first), withoutUnderscores(word) != nil else {
            return false
        }
        return word.allSatisfy { isDigit($0) || $0 == UInt8(ascii: "_") }
    }

    // Digits without a zero in front.
    private static func isDecimal(_ word: ArraySlice<UInt8>) -> Bool {
        isDigits(word) && (word.count == 1 || word.first != UInt8(ascii: "0"))
    }

    // nil if an underscore does not stand between two letters or digits.
    private static func withoutUnderscores(_ word: ArraySlice<UInt8>) -> String? {
        var result: [UInt8] = []
        for index in word.indices {
            if word[index] != UInt8(ascii: "_") {
                result.append(word[index])
                continue
            }
            guard index > word.startIndex, index + 1 < word.endIndex,
                isLetter(word[index - 1]) || isDigit(word[index - 1]),
                isLetter(word[index + 1]) || isDigit(word[index + 1])
            else { return nil }
        }
        return String(decoding: result, as: UTF8.self)
    }

    // MARK: Dates and times (RFC 3339)

    private static func isDateTime(_ word: ArraySlice<UInt8>) -> Bool {
        if isDate(word) || isTime(word) { return true }
        guard word.count > 11, isDate(word.prefix(10)),
            word[word.startIndex + 10] | 0x20 == UInt8(ascii: "t")
        else { return false }
        return isTimeAndOffset(word.dropFirst(11))
    }

    private static func isDate(_ word: ArraySlice<UInt8>) -> Bool {
        guard let fields = fields(word, shape: "0000-00-00") else { return false }
        let (year, month, day) = (fields[0], fields[1], fields[2])
        let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
        let days = [31, isLeap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        return (1...12).contains(month) && (1...days[month - 1]).contains(day)
    }

    private static func isTimeAndOffset(_ word: ArraySlice<UInt8>) -> Bool {
        if isTime(word) { return true }
        if let last = word.last, last | 0x20 == UInt8(ascii: "z") { return isTime(word.dropLast()) }
        guard word.count > 6, let sign = word.suffix(6).first,
            sign == UInt8(ascii: "+") || sign == UInt8(ascii: "-"),
            let offset = fields(word.suffix(5), shape: "00:00")
        else { return false }
        return offset[0] < 24 && offset[1] < 60 && isTime(word.dropLast(6))
    }

    private static func isTime(_ word: ArraySlice<UInt8>) -> Bool {
        guard let fields = fields(word.prefix(8), shape: "00:00:00") else { return false }
        let fraction = word.dropFirst(8)
        let hasGoodFraction =
            fraction.isEmpty
            || fraction.count > 1 && fraction.first == UInt8(ascii: ".")
                && fraction.dropFirst().allSatisfy(isDigit)
        return fields[0] < 24 && fields[1] < 60 && fields[2] <= 60 && hasGoodFraction
    }

    // The numbers in `word` if it has the shape: 0 stands for a digit.
    private static func fields(_ word: ArraySlice<UInt8>, shape: String) -> [Int]? {
        guard word.count == shape.utf8.count else { return nil }
        var numbers = [0]
        for (byte, expected) in zip(word, shape.utf8) {
            if expected != UInt8(ascii: "0") {
                guard byte == expected else { return nil }
                numbers.append(0)
            } else {
                guard isDigit(byte) else { return nil }
                numbers[numbers.count - 1] = numbers[numbers.count - 1] * 10 + Int(byte) - 48
            }
        }
        return numbers
    }
}
