// Finds and reads the configuration file. Control plane: blocks on the file system.

internal import Glibc

extension Configuration {
    /// Largest file that is read.
    static let fileBytesMax = 1 << 20

    /// Loads the configuration and lays the command line over it.
    ///
    /// The first of these that exists counts, and it alone: `explicitPath`;
    /// `$XDG_CONFIG_HOME/lucida/lucida.toml` (by default `~/.config/lucida/lucida.toml`);
    /// `/etc/lucida/lucida.toml`; the defaults.
    ///
    /// - Parameters:
    ///   - explicitPath: the argument of `--config`; this file must exist.
    ///   - environment: the process's environment.
    ///   - overrides: in the order of the command line; later ones win.
    /// - Throws: everything that is wrong with file and overrides, in one error.
    public static func load(
        explicitPath: String?, environment: [String: String],
        overrides: [ConfigurationOverride] = []
    ) throws(ConfigurationError) -> LoadedConfiguration {
        let paths =
            explicitPath.map { [$0] } ?? userPath(environment).map { [$0, systemPath] }
            ?? [systemPath]
        return try load(
            firstOf: paths, mustExist: explicitPath != nil, overrides: overrides)
    }

    /// Reads `bytes` as if they stood in `file`; otherwise as `load`.
    public static func parse(
        _ bytes: [UInt8], file: String, overrides: [ConfigurationOverride] = []
    ) throws(ConfigurationError) -> LoadedConfiguration {
        var reader = ConfigurationReader()
        reader.read(bytes, file: file)
        for override in overrides { reader.apply(override) }
        return try reader.finish(file: file)
    }

    static func load(
        firstOf paths: [String], mustExist: Bool, overrides: [ConfigurationOverride]
    ) throws(ConfigurationError) -> LoadedConfiguration {
        var reader = ConfigurationReader()
        var file: String?
        for path in paths {
            switch readFile(path) {
            case .success(let bytes): reader.read(bytes, file: path)
            case .failure(let problem) where problem.isAbsent && !mustExist: continue
            case .failure(let problem): reader.report(problem.message, place: path)
            }
            file = path
            break
        }
        for override in overrides { reader.apply(override) }
        return try reader.finish(file: file)
    }

    private static let systemPath = "/etc/lucida/lucida.toml"

    // Relative paths in XDG_CONFIG_HOME are to be ignored: XDG Base Directory Specification 0.8,
    // "Basics".
    private static func userPath(_ environment: [String: String]) -> String? {
        if let directory = environment["XDG_CONFIG_HOME"], directory.hasPrefix("/") {
            return directory + "/lucida/lucida.toml"
        }
        guard let home = environment["HOME"], home.hasPrefix("/") else { return nil }
        return home + "/.config/lucida/lucida.toml"
    }

    // MARK: Reading

    private struct FileProblem: Error {
        let message: String
        let isAbsent: Bool

        init(errno code: Int32) {
            message = "cannot be read: \(String(cString: strerror(code)))"
            isAbsent = code == ENOENT || code == ENOTDIR
        }

        init(_ message: String) {
            self.message = message
            isAbsent = false
        }
    }

    private static func readFile(_ path: String) -> Result<[UInt8], FileProblem> {
        guard isText(path) else { return .failure(FileProblem("not a path")) }
        // Non-blocking: opening a pipe would wait for its writer.
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { return .failure(FileProblem(errno: errno)) }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { return .failure(FileProblem(errno: errno)) }
        switch status.st_mode & S_IFMT {
        case S_IFREG: break
        case S_IFDIR: return .failure(FileProblem("is a directory; name the file in it"))
        default: return .failure(FileProblem("is not a regular file"))
        }
        return readAll(descriptor)
    }

    private static func readAll(_ descriptor: Int32) -> Result<[UInt8], FileProblem> {
        var bytes = [UInt8](repeating: 0, count: fileBytesMax + 1)
        var count = 0
        while count < bytes.count {
            let result = bytes.withUnsafeMutableBytes { buffer in
                Glibc.read(
                    descriptor, buffer.baseAddress?.advanced(by: count), buffer.count - count)
            }
            if result == 0 { return .success(Array(bytes[..<count])) }
            if result > 0 {
                count += result
            } else if errno != EINTR {
                return .failure(FileProblem(errno: errno))
            }
        }
        return .failure(
            FileProblem("larger than 1 MiB: this is no configuration file of Lucida"))
    }
}
