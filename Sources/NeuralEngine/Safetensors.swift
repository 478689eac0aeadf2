// Reads weights from safetensors files. Files come from strangers: nothing in them is trusted.

internal import CKernels
internal import Glibc

/// Why a safetensors file was refused.
public struct SafetensorsError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The file, as it was named.
    public let file: String
    /// What is wrong with it.
    public let reason: String

    /// A sentence for the user.
    public var description: String { "\(file): not a usable safetensors file: \(reason)" }
}

/// A safetensors file in memory: 8 bytes header length (little-endian), a JSON header, the tensors'
/// bytes one after another without gaps (https://github.com/huggingface/safetensors#format).
/// F32, F16 and BF16 are read as f32, U8 as bytes. NaN and infinities are passed on: what they mean is
/// for the model to say.
public struct Safetensors: Sendable {
    /// Bounds on what a file may ask for; generous for models of a few megabytes. In memory a file
    /// of half-precision numbers grows eightfold: twofold as f32, more than fourfold for Winograd.
    public enum Limits {
        /// Bytes of the whole file.
        public static let fileBytes = 1 << 26
        /// Bytes of the JSON header.
        public static let headerBytes = 1 << 20
        /// Tensors in a file.
        public static let tensors = 4096
        /// Dimensions of a tensor.
        public static let rank = 8
    }

    /// How a number is stored.
    enum ElementType: String {
        case f32 = "F32"
        case f16 = "F16"
        case bf16 = "BF16"
        case u8 = "U8"

        var byteCount: Int {
            switch self {
            case .f32: 4
            case .f16, .bf16: 2
            case .u8: 1
            }
        }
    }

    /// A tensor's place in the data.
    struct Entry {
        let type: ElementType
        let shape: [Int]
        let range: Range<Int>
    }

    /// The file, for messages.
    public let file: String
    /// The header's `__metadata__`.
    public let metadata: [String: String]

    let entries: [String: Entry]
    private let bytes: [UInt8]
    private let dataStart: Int

    /// The tensors' bytes.
    var data: ArraySlice<UInt8> { bytes[dataStart...] }

    /// Reads and checks a whole file.
    public init(file: String) throws(SafetensorsError) {
        try self.init(bytes: try readFile(file), file: file)
    }

    /// Checks a file that is in memory already; `file` names it in messages.
    public init(bytes: [UInt8], file: String) throws(SafetensorsError) {
        func refuse(_ reason: String) -> SafetensorsError {
            SafetensorsError(file: file, reason: reason)
        }
        guard bytes.count >= 8 else {
            throw refuse("it has \(bytes.count) bytes, too few for a header")
        }
        let length = (0..<8).reduce(UInt64(0)) { $0 | UInt64(bytes[$1]) << UInt64(8 * $1) }
        guard length <= UInt64(Limits.headerBytes) else {
            throw refuse("its header claims \(length) bytes, more than \(Limits.headerBytes)")
        }
        guard Int(length) <= bytes.count - 8 else {
            throw refuse("its header claims \(length) bytes, but the file ends before that")
        }
        dataStart = 8 + Int(length)
        do throws(SafetensorsHeader.Problem) {
            let header = try SafetensorsHeader(json: bytes[8..<dataStart])
            try header.checkLayout(dataBytes: bytes.count - dataStart)
            metadata = header.metadata
            entries = header.entries
        } catch {
            throw refuse(error.reason)
        }
        self.bytes = bytes
        self.file = file
    }

    /// The tensors' names, sorted.
    public var names: [String] { entries.keys.sorted() }

    /// Dimensions of a tensor, outermost first; nil if there is none of that name.
    public func shape(of name: String) -> [Int]? { entries[name]?.shape }

    /// The numbers of an F32, F16 or BF16 tensor in row-major order.
    public func values(of name: String) throws(SafetensorsError) -> [Float] {
        let (entry, range) = try find(name)
        guard entry.type != .u8 else {
            throw SafetensorsError(
                file: file, reason: "tensor \"\(name)\" has dtype \"U8\", not numbers of a layer")
        }
        let count = range.count / entry.type.byteCount
        if entry.type == .f32 { return copy(range, count: count, zero: 0) }
        let halves: [UInt16] = copy(range, count: count, zero: 0)
        return [Float](unsafeUninitializedCapacity: count) { target, initialized in
            halves.withUnsafeBufferPointer { source in
                guard let kernels = ck_kernels_for(ck_best_isa()), let to = target.baseAddress,
                    let from = source.baseAddress
                else { return }
                entry.type == .f16
                    ? kernels.pointee.f16_to_f32(from, count, to)
                    : kernels.pointee.bf16_to_f32(from, count, to)
                initialized = count
            }
        }
    }

    /// A U8 tensor's bytes in row-major order.
    public func bytes(of name: String) throws(SafetensorsError) -> [UInt8] {
        let (entry, range) = try find(name)
        guard entry.type == .u8 else {
            throw SafetensorsError(
                file: file,
                reason: "tensor \"\(name)\" has dtype \"\(entry.type.rawValue)\", not \"U8\"")
        }
        return Array(bytes[range])
    }

    private func find(_ name: String) throws(SafetensorsError) -> (Entry, Range<Int>) {
        guard let entry = entries[name] else {
            throw SafetensorsError(file: file, reason: "it has no tensor \"\(name)\"")
        }
        return (entry, entry.range.lowerBound + dataStart..<entry.range.upperBound + dataStart)
    }

    // Tensors need not be aligned in the file.
    private func copy<Number>(_ range: Range<Int>, count: Int, zero: Number) -> [Number] {
        var numbers = [Number](repeating: zero, count: count)
        numbers.withUnsafeMutableBytes { target in
            bytes.withUnsafeBytes { target.copyMemory(from: .init(rebasing: $0[range])) }
        }
        return numbers
    }
}

/// The bytes of a regular file, which may shrink or grow meanwhile.
private func readFile(_ file: String) throws(SafetensorsError) -> [UInt8] {
    func failed(_ operation: String) -> SafetensorsError {
        SafetensorsError(
            file: file, reason: "cannot \(operation) it: \(String(cString: strerror(errno)))")
    }
    // Non-blocking, so that a FIFO does not hold the daemon up before it is refused.
    let descriptor = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { throw failed("open") }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw failed("examine") }
    guard status.st_mode & S_IFMT == S_IFREG else {
        throw SafetensorsError(file: file, reason: "it is not a regular file")
    }
    guard status.st_size <= Safetensors.Limits.fileBytes else {
        throw SafetensorsError(
            file: file,
            reason: "it has \(status.st_size) bytes, more than \(Safetensors.Limits.fileBytes)")
    }
    var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
    var filled = 0
    while filled < bytes.count {
        let count = bytes.withUnsafeMutableBytes {
            read(descriptor, $0.baseAddress?.advanced(by: filled), $0.count - filled)
        }
        if count < 0 && errno == EINTR { continue }
        if count < 0 { throw failed("read") }
        if count == 0 { break }
        filled += count
    }
    bytes.removeLast(bytes.count - filled)
    return bytes
}
