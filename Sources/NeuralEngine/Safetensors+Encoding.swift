// Writes a safetensors file anew with other metadata. Control thread.

internal import FoundationEssentials

extension Safetensors {
    /// A checksum of all tensors' bytes (64-bit FNV-1a), as 16 hexadecimal digits: tells weights
    /// apart, not friend from foe.
    public var checksum: String {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in data { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        let digits = String(hash, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }

    /// The same file with other metadata; the tensors' bytes are unchanged.
    ///
    /// - Throws: if the metadata make the header larger than a file may have.
    public func encoded(metadata: [String: String]) throws(SafetensorsError) -> [UInt8] {
        var fields = entries.mapValues(HeaderField.tensor)
        fields["__metadata__"] = .metadata(metadata)
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard var header = (try? encoder.encode(fields)).map(Array.init),
            header.count <= Limits.headerBytes - 8
        else { throw SafetensorsError(file: file, reason: "its metadata are too large to write") }
        // Data begin at a multiple of 8, as the format's own library writes them.
        header += [UInt8](repeating: UInt8(ascii: " "), count: -header.count & 7)
        let length = (0..<8).map { UInt8(truncatingIfNeeded: header.count >> (8 * $0)) }
        return length + header + data
    }
}

/// A value of the header.
private enum HeaderField: Encodable {
    case metadata([String: String])
    case tensor(Safetensors.Entry)

    private enum Key: String, CodingKey {
        case dtype, shape
        case offsets = "data_offsets"
    }

    func encode(to encoder: any Encoder) throws {
        switch self {
        case .metadata(let pairs): try pairs.encode(to: encoder)
        case .tensor(let entry):
            var fields = encoder.container(keyedBy: Key.self)
            try fields.encode(entry.type.rawValue, forKey: .dtype)
            try fields.encode(entry.shape, forKey: .shape)
            try fields.encode([entry.range.lowerBound, entry.range.upperBound], forKey: .offsets)
        }
    }
}
