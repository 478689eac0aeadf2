// Which processor this is, and how many of its cores this process may use. Control thread.

internal import FoundationEssentials
internal import NeuralEngine
internal import Realtime

/// What Linux says of the processor.
struct Processor {
    /// For example `AMD Ryzen 7 5800U`; `unknown` where /proc hides it. For people: virtual machines
    /// give very different processors the same name.
    let name: String
    /// What kernels run alike on: vendor, family, model, stepping, caches and cores.
    let identity: String
    /// Cores that this process may run on: two hardware threads of one core share its multipliers
    /// and its caches, and an engine that keeps both busy gains nothing by the second.
    let coreCount: Int

    /// More threads than this only wait for each other at these sizes.
    private static let threadCountMax = 64

    /// Threads of the network where nobody has said how many.
    var threadCount: Int { min(coreCount, Self.threadCountMax) }

    /// The processor of this machine.
    static let shared = Processor()

    /// - Parameters:
    ///   - information: a file like /proc/cpuinfo.
    ///   - system: a folder like /sys/devices/system/cpu.
    ///   - allowed: the processors that this process may run on; nil: not known.
    init(
        information: String = "/proc/cpuinfo", system: String = "/sys/devices/system/cpu",
        allowed: Set<Int>? = ProcessorAffinity.current
    ) {
        let fields = Self.fields(information)
        name = fields["model name"] ?? "unknown"
        let known =
            allowed.flatMap { Self.cores(of: $0, system: system) } ?? allowed?.count
            ?? ProcessInfo.processInfo.activeProcessorCount
        coreCount = max(known, 1)
        let caches = CacheSizes(folder: system + "/cpu0/cache").bytes
        let sizes = caches.sorted { $0.key.rawValue < $1.key.rawValue }
            .map { "\($0.key.rawValue) \($0.value >> 10) KiB" }
        identity = ([Self.model(fields)] + sizes + ["\(coreCount) cores"])
            .joined(separator: ", ")
    }

    /// The first value of every field, which is that of the first processor.
    private static func fields(_ path: String) -> [Substring: String] {
        // On machines with hundreds of processors it is long; all is said at its beginning.
        guard let bytes = try? readRegularFile(path, bytesMax: 16 << 20, kind: "description")
        else { return [:] }
        var fields: [Substring: String] = [:]
        for line in String(decoding: bytes.prefix(1 << 16), as: UTF8.self).split(separator: "\n") {
            let parts = line.split(separator: ":", maxSplits: 1)
            guard parts.count == 2 else { continue }
            let key = parts[0].trimmingWhitespace
            if fields[key] == nil { fields[key] = String(parts[1].trimmingWhitespace) }
        }
        return fields
    }

    /// x86 gives one set of fields, ARM another, others none.
    private static func model(_ fields: [Substring: String]) -> String {
        for keys: [Substring] in [
            ["vendor_id", "cpu family", "model", "stepping"],
            ["CPU implementer", "CPU architecture", "CPU variant", "CPU part", "CPU revision"],
        ] where fields[keys[0]] != nil {
            return keys.map { fields[$0] ?? "?" }.joined(separator: "/")
        }
        return fields["model name"] ?? "unknown"
    }

    /// How many cores `processors` belong to; nil if that is not known of all of them.
    static func cores(of processors: Set<Int>, system: String) -> Int? {
        guard !processors.isEmpty else { return nil }
        var cores: Set<Set<Int>> = []
        for processor in processors {
            let path = "\(system)/cpu\(processor)/topology/thread_siblings_list"
            guard let bytes = try? readRegularFile(path, bytesMax: 1 << 20, kind: "list"),
                let siblings = list(String(decoding: bytes, as: UTF8.self)),
                siblings.contains(processor)
            else { return nil }
            cores.insert(siblings)
        }
        return cores.count
    }

    /// `0-3,8` as a set of numbers; nil for what is not of this kind.
    static func list(_ text: String) -> Set<Int>? {
        var result: Set<Int> = []
        for part in Substring(text).trimmingWhitespace.split(
            separator: ",", omittingEmptySubsequences: false)
        {
            let ends = part.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
            guard ends.count <= 2, let first = ends[0], let last = ends[ends.count - 1],
                (0...last).contains(first), last < 1 << 16
            else { return nil }
            result.formUnion(first...last)
        }
        return result
    }
}

extension Substring {
    fileprivate var trimmingWhitespace: Substring {
        var result = drop { $0.isWhitespace }
        while result.last?.isWhitespace == true { result.removeLast() }
        return result
    }
}
