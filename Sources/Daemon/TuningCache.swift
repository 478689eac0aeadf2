// Keeps on disk which convolution method is fastest on this CPU, so that only the first start measures.

internal import FoundationEssentials
internal import Glibc
internal import Logging
internal import NeuralEngine

/// The file `tuning.json`: choices by processor, Lucida's version and layer. What cannot be read is
/// measured anew; what cannot be written is measured again next time. Control thread.
///
/// Any number of processes may share the file. It is replaced as a whole, so that readers need no
/// lock; writers take the lock of `tuning.json.lock` and keep what others have written meanwhile.
/// Nothing is locked while it is measured: two that start together disturb each other no more than
/// anything else that a machine does at boot, and neither camera waits for the other.
final class TuningCache {
    private let path: String?
    private let processor: String
    // The file as `load` found it: what differs from that was measured here.
    private var loaded: [String: String] = [:]

    /// - Parameters:
    ///   - environment: `CACHE_DIRECTORY` (systemd sets it), else `XDG_CACHE_HOME`, else `HOME` say
    ///     where.
    ///   - processor: choices made on another one, or by another version, are not taken.
    init(
        environment: [String: String],
        processor: String = "\(Processor.shared.identity), Lucida \(lucidaVersion)"
    ) {
        path = Self.folder(environment: environment).map { $0 + "/tuning.json" }
        self.processor = processor
    }

    /// The cache folder; nil if the environment names none.
    static func folder(environment: [String: String]) -> String? {
        func folder(_ key: String, _ suffix: String) -> String? {
            environment[key].flatMap { $0.hasPrefix("/") ? $0 + suffix : nil }
        }
        return folder("CACHE_DIRECTORY", "") ?? folder("XDG_CACHE_HOME", "/lucida")
            ?? folder("HOME", "/.cache/lucida")
    }

    private struct Contents: Codable {
        // Raised whenever kernels change enough, between two versions of Lucida, for old choices to
        // be wrong.
        static let currentVersion = 2
        var version = Self.currentVersion
        let choices: [String: String]
    }

    /// More than this is no file of ours.
    static let byteLimit = 1 << 20

    /// What is known already.
    func load(log: Logger) -> ConvolutionTuning {
        if let path { loaded = read(path, log: log) }
        return ConvolutionTuning(processor: processor, choices: loaded)
    }

    /// Writes what has been measured since `load`.
    func save(_ tuning: ConvolutionTuning, log: Logger) {
        guard tuning.hasMeasured else { return }
        guard let path else {
            log.info(
                """
                the engine's measurements are not kept, and every start takes them again: set HOME \
                or XDG_CACHE_HOME to an absolute path
                """)
            return
        }
        do throws(WriteProblem) {
            try write(tuning.choices.filter { loaded[$0.key] != $0.value }, to: path)
            log.debug("the engine's measurements are in \(path)")
        } catch {
            log.info(
                """
                the engine's measurements cannot be kept in \(path), and every start takes them \
                again: \(error.message). Make its folder writable, or set XDG_CACHE_HOME to another
                """)
        }
    }

    // MARK: The file

    /// Empty if the file is absent, of another version, or not one of ours.
    private func read(_ path: String, log: Logger?) -> [String: String] {
        do throws(FileProblem) {
            let bytes = try readRegularFile(
                path, bytesMax: Self.byteLimit, kind: "file of measurements")
            guard let contents = try? JSONDecoder().decode(Contents.self, from: Data(bytes)) else {
                throw FileProblem("is damaged")
            }
            return contents.version == Contents.currentVersion ? contents.choices : [:]
        } catch {
            if !error.isAbsent {
                log?.info("\(path) \(error.message); the engine measures anew: remove it")
            }
            return [:]
        }
    }

    /// What went wrong, and what to do.
    private struct WriteProblem: Error {
        let message: String

        init(_ message: String) { self.message = message }

        init(_ what: String, errno code: Int32) {
            message = "\(what): \(String(cString: strerror(code)))"
        }
    }

    private func write(_ measured: [String: String], to path: String) throws(WriteProblem) {
        let folder = String(path.dropLast("/tuning.json".count))
        do {
            try FileManager.default.createDirectory(
                atPath: folder, withIntermediateDirectories: true)
        } catch {
            throw WriteProblem("\(folder) cannot be made")
        }
        let lock = try takeLock(path + ".lock")
        defer { close(lock) }
        var bytes = try encoded(read(path, log: nil).merging(measured) { $1 })
        // Machines and versions of years: start again.
        if bytes.count > Self.byteLimit { bytes = try encoded(measured) }
        try replace(path, with: bytes)
    }

    private func encoded(_ choices: [String: String]) throws(WriteProblem) -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        guard let data = try? encoder.encode(Contents(choices: choices)) else {
            throw WriteProblem("they are no JSON")
        }
        return [UInt8](data)
    }

    /// Locks the file `path` for this process; closing it unlocks.
    private func takeLock(_ path: String) throws(WriteProblem) -> Int32 {
        let descriptor = open(
            path, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW, 0o644)
        guard descriptor >= 0 else { throw WriteProblem("cannot open \(path)", errno: errno) }
        // A write takes a millisecond. Whoever holds the lock for longer has been stopped, and must
        // not stop this start as well.
        for _ in 0..<50 {
            if flock(descriptor, LOCK_EX | LOCK_NB) == 0 { return descriptor }
            guard errno == EWOULDBLOCK || errno == EINTR else { break }
            usleep(20_000)
        }
        let code = errno
        close(descriptor)
        throw code == EWOULDBLOCK
            ? WriteProblem("another lucida has held \(path) for a second")
            : WriteProblem("cannot lock \(path)", errno: code)
    }

    /// The lock is held: nobody else writes the new file.
    private func replace(_ path: String, with bytes: [UInt8]) throws(WriteProblem) {
        let new = path + ".new"
        // Left behind by a process that was killed, or never ours.
        unlink(new)
        let descriptor = open(new, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw WriteProblem("cannot make \(new)", errno: errno) }
        defer { close(descriptor) }
        var written = 0
        while written < bytes.count {
            let count = bytes[written...].withUnsafeBytes {
                Glibc.write(descriptor, $0.baseAddress, $0.count)
            }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else {
                let problem = WriteProblem("cannot write \(new)", errno: errno)
                unlink(new)
                throw problem
            }
            written += count
        }
        guard rename(new, path) == 0 else {
            let problem = WriteProblem("cannot replace it", errno: errno)
            unlink(new)
            throw problem
        }
    }
}
