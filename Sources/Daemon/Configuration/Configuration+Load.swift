// Finds and reads the configuration file. Control plane: blocks on the file system.

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
        try ConfigurationSource(
            explicitPath: explicitPath, environment: environment, overrides: overrides
        ).load()
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
            do throws(FileProblem) {
                let bytes = try readRegularFile(
                    path, bytesMax: fileBytesMax, kind: "configuration file")
                reader.read(bytes, file: path)
            } catch {
                if error.isAbsent && !mustExist { continue }
                reader.report(error.message, place: path)
            }
            file = path
            break
        }
        for override in overrides { reader.apply(override) }
        return try reader.finish(file: file)
    }

    /// This configuration with one more setting over it.
    ///
    /// - Throws: what is wrong with the setting.
    func setting(
        _ override: ConfigurationOverride
    ) throws(ConfigurationError) -> LoadedConfiguration {
        var reader = ConfigurationReader(over: self)
        reader.apply(override)
        return try reader.finish(file: nil)
    }

    fileprivate static let systemPath = "/etc/lucida/lucida.toml"

    // Relative paths in XDG_CONFIG_HOME are to be ignored: XDG Base Directory Specification 0.8,
    // "Basics".
    fileprivate static func userPath(_ environment: [String: String]) -> String? {
        if let directory = environment["XDG_CONFIG_HOME"], directory.hasPrefix("/") {
            return directory + "/lucida/lucida.toml"
        }
        guard let home = environment["HOME"], home.hasPrefix("/") else { return nil }
        return home + "/.config/lucida/lucida.toml"
    }
}

/// Where a configuration comes from, so that it can be read again.
public struct ConfigurationSource: Sendable {
    /// The argument of `--config`; this file must exist.
    public let explicitPath: String?
    /// The process's environment.
    public let environment: [String: String]
    /// In the order of the command line; later ones win, and all go before the file.
    public let overrides: [ConfigurationOverride]

    /// Reads nothing yet.
    public init(
        explicitPath: String?, environment: [String: String],
        overrides: [ConfigurationOverride] = []
    ) {
        self.explicitPath = explicitPath
        self.environment = environment
        self.overrides = overrides
    }

    /// Where the file may be; the first that exists counts.
    var paths: [String] {
        explicitPath.map { [$0] }
            ?? Configuration.userPath(environment).map { [$0, Configuration.systemPath] }
            ?? [Configuration.systemPath]
    }

    /// As `Configuration.load`.
    public func load() throws(ConfigurationError) -> LoadedConfiguration {
        try Configuration.load(
            firstOf: paths, mustExist: explicitPath != nil, overrides: overrides)
    }
}
