// The JSON header of a safetensors file: a strict parser for just this shape of JSON.

/// What the header says, after every check that needs no data.
///
/// A parser of its own, because general ones drop duplicate keys silently, round large integers
/// and recurse as deep as the input likes. This one accepts
/// `{"__metadata__": {string: string}, name: {"dtype": …, "shape": […], "data_offsets": [a, b]}}`.
struct SafetensorsHeader {
    /// What is wrong with a header.
    struct Problem: Error {
        let reason: String
    }

    private(set) var metadata: [String: String] = [:]
    private(set) var entries: [String: Safetensors.Entry] = [:]

    private let json: ArraySlice<UInt8>
    private var position: Int

    init(json: ArraySlice<UInt8>) throws(Problem) {
        self.json = json
        position = json.startIndex
        try parseHeader()
    }

    /// The tensors lie one after another and fill the data exactly: no overlap, no hole.
    func checkLayout(dataBytes: Int) throws(Problem) {
        let ordered = entries.sorted {
            ($0.value.range.lowerBound, $0.value.range.upperBound)
                < ($1.value.range.lowerBound, $1.value.range.upperBound)
        }
        var end = 0
        for (name, entry) in ordered {
            guard entry.range.upperBound <= dataBytes else {
                throw Problem(
                    reason:
                        "tensor \(name.quotedForMessages) ends at byte \(entry.range.upperBound) of "
                        + "\(dataBytes): the file is truncated or its header is wrong")
            }
            guard entry.range.lowerBound >= end else {
                throw Problem(reason: "tensor \(name.quotedForMessages) overlaps another one")
            }
            guard entry.range.lowerBound == end else {
                throw Problem(reason: "there is a hole before tensor \(name.quotedForMessages)")
            }
            end = entry.range.upperBound
        }
        guard end == dataBytes else {
            throw Problem(reason: "\(dataBytes - end) bytes follow the last tensor")
        }
    }

    // Grammar.

    private mutating func parseHeader() throws(Problem) {
        var hasMetadata = false
        try parseObject { header, key throws(Problem) in
            if key == "__metadata__" {
                guard !hasMetadata else { throw header.problem("__metadata__ appears twice") }
                hasMetadata = true
                try header.parseMetadata()
                return
            }
            guard header.entries[key] == nil else {
                throw header.problem("tensor \(key.quotedForMessages) appears twice")
            }
            guard header.entries.count < Safetensors.Limits.tensors else {
                throw header.problem("it has more than \(Safetensors.Limits.tensors) tensors")
            }
            header.entries[key] = try header.parseEntry(name: key)
        }
        skipSpace()
        guard position == json.endIndex else {
            throw problem("something follows the header's closing brace")
        }
    }

    private mutating func parseMetadata() throws(Problem) {
        try parseObject { header, key throws(Problem) in
            guard header.metadata[key] == nil else {
                throw header.problem("metadata \(key.quotedForMessages) appears twice")
            }
            header.metadata[key] = try header.parseString()
        }
    }

    private mutating func parseEntry(name: String) throws(Problem) -> Safetensors.Entry {
        var type: Safetensors.ElementType?
        var shape: [Int]?
        var offsets: [Int]?
        try parseObject { header, key throws(Problem) in
            switch key {
            case "dtype" where type == nil:
                let text = try header.parseString()
                type = Safetensors.ElementType(rawValue: text)
                guard type != nil else {
                    throw header.problem(
                        "tensor \(name.quotedForMessages) has dtype \(text.quotedForMessages); "
                            + "F32, F16, BF16 and U8 are read")
                }
            case "shape" where shape == nil:
                shape = try header.parseIntegers(atMost: Safetensors.Limits.rank)
            case "data_offsets" where offsets == nil:
                offsets = try header.parseIntegers(atMost: 2)
            case "dtype", "shape", "data_offsets":
                throw header.problem(
                    "tensor \(name.quotedForMessages) has two entries \(key.quotedForMessages)")
            default:
                throw header.problem(
                    "tensor \(name.quotedForMessages) has an unknown entry "
                        + key.quotedForMessages)
            }
        }
        guard let type, let shape, let offsets, offsets.count == 2 else {
            throw problem("tensor \(name.quotedForMessages) lacks its dtype, shape or data_offsets")
        }
        guard offsets[0] <= offsets[1] else {
            throw problem("tensor \(name.quotedForMessages) ends before it begins")
        }
        var size = type.byteCount
        for dimension in shape {
            let (product, overflow) = size.multipliedReportingOverflow(by: dimension)
            guard !overflow else {
                throw problem("the shape of tensor \(name.quotedForMessages) overflows")
            }
            size = product
        }
        guard size == offsets[1] - offsets[0] else {
            throw problem(
                "tensor \(name.quotedForMessages) has \(offsets[1] - offsets[0]) bytes, "
                    + "its shape needs \(size)")
        }
        return Safetensors.Entry(type: type, shape: shape, range: offsets[0]..<offsets[1])
    }

    /// An object; `member` is called at each value and must consume it.
    private mutating func parseObject(
        _ member: (inout SafetensorsHeader, String) throws(Problem) -> Void
    ) throws(Problem) {
        try expect(UInt8(ascii: "{"))
        skipSpace()
        if next == UInt8(ascii: "}") {
            position += 1
            return
        }
        while true {
            let key = try parseString()
            try expect(UInt8(ascii: ":"))
            try member(&self, key)
            skipSpace()
            if next != UInt8(ascii: ",") { break }
            position += 1
        }
        try expect(UInt8(ascii: "}"))
    }

    private mutating func parseIntegers(atMost limit: Int) throws(Problem) -> [Int] {
        try expect(UInt8(ascii: "["))
        skipSpace()
        var values: [Int] = []
        if next == UInt8(ascii: "]") {
            position += 1
            return values
        }
        while true {
            guard values.count < limit else {
                throw problem("a list has more than \(limit) numbers")
            }
            values.append(try parseInteger())
            skipSpace()
            if next != UInt8(ascii: ",") { break }
            position += 1
        }
        try expect(UInt8(ascii: "]"))
        return values
    }

    /// A non-negative whole number without sign, leading zero, fraction or exponent.
    private mutating func parseInteger() throws(Problem) -> Int {
        skipSpace()
        let start = position
        var value = 0
        while let digit = next, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit) {
            let (product, overflow) = value.multipliedReportingOverflow(by: 10)
            let (sum, carry) = product.addingReportingOverflow(Int(digit - UInt8(ascii: "0")))
            guard !overflow && !carry else { throw problem("a number is too large") }
            value = sum
            position += 1
        }
        guard position > start else { throw problem("a whole number ≥ 0 is expected") }
        guard position - start == 1 || json[start] != UInt8(ascii: "0") else {
            throw problem("a number begins with 0")
        }
        return value
    }

    private mutating func parseString() throws(Problem) -> String {
        try expect(UInt8(ascii: "\""))
        var bytes: [UInt8] = []
        while let byte = next {
            position += 1
            switch byte {
            case UInt8(ascii: "\""):
                guard let text = String(validating: bytes, as: UTF8.self) else {
                    throw problem("a string is not valid UTF-8")
                }
                return text
            case UInt8(ascii: "\\"): bytes += try parseEscape()
            case 0..<0x20: throw problem("a string contains a control character")
            default: bytes.append(byte)
            }
        }
        throw problem("a string does not end")
    }

    /// What follows a backslash, as UTF-8.
    private mutating func parseEscape() throws(Problem) -> [UInt8] {
        guard let byte = next else { throw problem("a string does not end") }
        position += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return [byte]
        case UInt8(ascii: "b"): return [8]
        case UInt8(ascii: "f"): return [12]
        case UInt8(ascii: "n"): return [10]
        case UInt8(ascii: "r"): return [13]
        case UInt8(ascii: "t"): return [9]
        case UInt8(ascii: "u"): break
        default: throw problem("a string has an unknown escape")
        }
        var code = try parseHexadecimal()
        if (0xd800..<0xdc00).contains(code) {
            // RFC 8259, section 7: characters beyond the basic plane are surrogate pairs.
            try expectExactly("\\u")
            let low = try parseHexadecimal()
            guard (0xdc00..<0xe000).contains(low) else {
                throw problem("a string has half a surrogate pair")
            }
            code = 0x10000 + (code - 0xd800) << 10 + (low - 0xdc00)
        }
        guard let scalar = Unicode.Scalar(code) else {
            throw problem("a string has half a surrogate pair")
        }
        return Array(UTF8.encode(scalar).map { Array($0) } ?? [])
    }

    private mutating func parseHexadecimal() throws(Problem) -> UInt32 {
        var value: UInt32 = 0
        for _ in 0..<4 {
            guard let byte = next, let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
                throw problem("a \\u escape needs four hexadecimal digits")
            }
            value = value << 4 | UInt32(digit)
            position += 1
        }
        return value
    }

    // Bytes.

    private var next: UInt8? { position < json.endIndex ? json[position] : nil }

    private mutating func skipSpace() {
        while let byte = next, [0x20, 0x09, 0x0a, 0x0d].contains(byte) { position += 1 }
    }

    private mutating func expect(_ byte: UInt8) throws(Problem) {
        skipSpace()
        try expectExactly(String(Unicode.Scalar(byte)))
    }

    private mutating func expectExactly(_ text: String) throws(Problem) {
        for byte in text.utf8 {
            guard next == byte else { throw problem("\(text) is expected") }
            position += 1
        }
    }

    private func problem(_ reason: String) -> Problem {
        Problem(reason: "header, byte \(position - json.startIndex): \(reason)")
    }
}
