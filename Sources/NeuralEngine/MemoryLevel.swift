// The caches of this machine, as the kernel describes them.

internal import Glibc

/// Where data can lie.
public enum MemoryLevel: String, Sendable, Codable, CaseIterable {
    /// First-level data cache, one a core.
    case l1 = "L1"
    /// Second-level cache, one a core.
    case l2 = "L2"
    /// Third-level cache, shared by cores.
    case l3 = "L3"
    /// Main memory.
    case dram = "DRAM"
}

/// Bytes of the caches that core 0 sees.
public struct CacheSizes: Sendable, Equatable {
    /// Of the caches that there are: virtual machines hide some.
    public let bytes: [MemoryLevel: Int]

    init(bytes: [MemoryLevel: Int]) { self.bytes = bytes }

    /// - Parameter folder: of `index0`, `index1`, …, each with the files `level`, `type` and `size`.
    ///   What cannot be read there is taken to be 32 KiB for L1 and absent for the others.
    public init(folder: String = "/sys/devices/system/cpu/cpu0/cache") {
        var bytes: [MemoryLevel: Int] = [:]
        for index in 0..<16 {
            let cache = "\(folder)/index\(index)"
            guard
                let level = readLine(cache + "/level").flatMap({ MemoryLevel(rawValue: "L\($0)") }),
                readLine(cache + "/type") != "Instruction",
                let size = readLine(cache + "/size").flatMap(Self.bytes)
            else { continue }
            bytes[level] = size
        }
        if bytes[.l1] == nil { bytes[.l1] = 32 << 10 }
        self.bytes = bytes
    }

    /// The levels from near to far; main memory is always one.
    public var levels: [MemoryLevel] {
        MemoryLevel.allCases.filter { $0 == .dram || bytes[$0] != nil }
    }

    /// The nearest level that could hold `count` bytes spread over `threads` cores.
    public func level(holding count: Int, threads: Int) -> MemoryLevel {
        levels.first { level in
            guard let size = bytes[level] else { return true }
            return count <= size * (level == .l3 ? 1 : threads)
        } ?? .dram
    }

    /// `48K` or `2M` in bytes; nil for what is not of this kind.
    static func bytes(_ text: String) -> Int? {
        let unit = ["K": 1 << 10, "M": 1 << 20, "G": 1 << 30][text.suffix(1)]
        guard let number = Int(unit == nil ? text[...] : text.dropLast()), number > 0,
            number <= 1 << 20
        else { return nil }
        return number * (unit ?? 1)
    }
}

/// The first line of a small file; nil if it cannot be read.
private func readLine(_ path: String) -> String? {
    guard let file = fopen(path, "re") else { return nil }
    defer { fclose(file) }
    var line = [CChar](repeating: 0, count: 64)
    guard fgets(&line, Int32(line.count), file) != nil else { return nil }
    return String(decoding: line.prefix { $0 != 0 && $0 != 10 }.map(UInt8.init), as: UTF8.self)
}
