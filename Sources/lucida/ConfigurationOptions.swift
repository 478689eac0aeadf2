// Options that several commands share: each stands for a key of the configuration.

internal import ArgumentParser
internal import Daemon
internal import FoundationEssentials
internal import Logging

/// Where the configuration comes from and what goes before it.
struct ConfigurationOptions: ParsableArguments {
    @Option(
        name: .long,
        help: ArgumentHelp(
            "Configuration file; else ~/.config/lucida/lucida.toml, /etc/lucida/lucida.toml.",
            valueName: "file"), completion: .file(extensions: ["toml"]))
    var config: String?

    @Option(
        name: .long, parsing: .singleValue,
        help: ArgumentHelp(
            "Override any key, for example --set camera.mirror=true. May be repeated.",
            valueName: "key=value"),
        completion: .list(ConfigurationSchema.keys.map { $0.name + "=" }))
    var set: [String] = []

    @Option(
        name: .long,
        help: ArgumentHelp(
            "base, small, ink, or a model file (transform.model).", valueName: "model"),
        completion: .file(extensions: ["safetensors"]))
    var model: String?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "ink, oil, watercolour, pencil, neon or clear, or a mix: ink:0.7,oil:0.3 "
                + "(transform.style).", valueName: "name"),
        completion: .list(["ink", "oil", "watercolour", "pencil", "neon", "clear"]))
    var style: String?

    // Unconditional, as wherever a number is expected: -1 is a value out of range, no option.
    @Option(
        name: .long, parsing: .unconditional,
        help: ArgumentHelp(
            "0 (the camera as it is) to 1 (the full style) (transform.strength).",
            valueName: "0…1"))
    var strength: String?

    @Option(
        name: .long, parsing: .unconditional,
        help: ArgumentHelp(
            "Threads of the network, 0 for one a physical core (performance.threads).",
            valueName: "count"))
    var threads: String?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "auto, f32, int16, bf16 or int8 (performance.precision).", valueName: "name"),
        completion: .list(PrecisionName.allCases.map(\.rawValue)))
    var precision: String?

    @Option(
        name: .long,
        help: ArgumentHelp("Size of the picture (camera and output size).", valueName: "WxH"))
    var size: String?

    @Flag(name: [.customShort("v"), .long], help: "Log more (log.level = \"debug\").")
    var verbose = false

    /// The overrides that these options stand for, in the order in which they count.
    func overrides() throws -> [ConfigurationOverride] {
        var result: [ConfigurationOverride] = []
        result.add("--model", "transform.model", model)
        result.add("--style", "transform.style", style)
        result.add("--strength", "transform.strength", strength)
        result.add("--threads", "performance.threads", threads)
        result.add("--precision", "performance.precision", precision)
        if let size {
            let (width, height) = try parseSize(size)
            for section in ["camera", "output"] {
                result.add("--size", "\(section).width", width)
                result.add("--size", "\(section).height", height)
            }
        }
        if verbose { result.add("--verbose", "log.level", "debug") }
        for argument in set { result.append(try ConfigurationOverride(set: argument)) }
        return result
    }

    /// Loads the configuration with these and further overrides over it.
    func load(_ further: [ConfigurationOverride] = []) throws -> LoadedConfiguration {
        try source(further).load()
    }

    /// Where the configuration comes from, to be read once or again and again.
    func source(_ further: [ConfigurationOverride] = []) throws -> ConfigurationSource {
        ConfigurationSource(
            explicitPath: config, environment: ProcessInfo.processInfo.environment,
            overrides: try further + overrides())
    }
}

/// The option that says whether work is reused, for commands that transform one frame after another.
struct ReuseOption: ParsableArguments {
    @Option(
        name: .long,
        help: ArgumentHelp(
            "Whether to compute only what changed since the last frame "
                + "(performance.temporal_reuse).",
            valueName: "true|false"),
        completion: .list(["true", "false"]))
    var reuse: String?

    var overrides: [ConfigurationOverride] {
        var result: [ConfigurationOverride] = []
        result.add("--reuse", "performance.temporal_reuse", reuse)
        return result
    }
}

/// For commands to which `ReuseOption` means nothing: whoever gives it is told so.
struct NoReuseOption: ParsableArguments {
    @Option(name: .long, help: .hidden)
    var reuse: String?

    func validate() throws {
        guard reuse == nil else {
            throw ValidationError(
                "--reuse means nothing here, leave it out: whole frames are measured. "
                    + "`lucida bench engine --clip FILE` runs a video with temporal reuse and "
                    + "without")
        }
    }
}

extension [ConfigurationOverride] {
    /// Adds the key that an option stands for; an option that was not given adds nothing.
    mutating func add(_ option: String, _ key: String, _ value: String?) {
        guard let value else { return }
        append(ConfigurationOverride(option: option, key: key, value: value))
    }
}

/// `640x360` as two numbers in text; the configuration checks their range.
func parseSize(_ text: String) throws -> (width: String, height: String) {
    let parts = text.lowercased().split(separator: "x", omittingEmptySubsequences: false)
    guard parts.count == 2, parts.allSatisfy({ Int($0) != nil }) else {
        throw ValidationError("--size: a size looks like 640x360, not \"\(text)\"")
    }
    return (String(parts[0]), String(parts[1]))
}

/// The logger that a configuration asks for.
func makeLogger(_ configuration: Configuration) -> Logger {
    startLogging(
        level: configuration.log.level, environment: ProcessInfo.processInfo.environment)
}
