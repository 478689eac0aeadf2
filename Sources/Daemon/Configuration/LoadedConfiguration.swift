// A configuration together with where it comes from, and both as text. Control plane.

internal import Models

/// What `Configuration.load` found.
public struct LoadedConfiguration: Sendable {
    /// The settings.
    public let configuration: Configuration
    /// The file that was read; `nil` if none was found.
    public let file: String?
    let origins: [String: ConfigurationOrigin]
    /// Keys of the file to which the command line has given another value, and the option that did.
    var overruled: [String: String] = [:]

    /// Where the value of a key comes from, for example of `camera.width`.
    public func origin(of key: String) -> ConfigurationOrigin { origins[key] ?? .default }

    /// Runs `body`. If there is no such model, or it cannot draw what `[transform]` asks for, the error
    /// says where that is asked for, as for any other value that is not allowed.
    public func placing<Result>(_ body: () throws -> Result) throws -> Result {
        do {
            return try body()
        } catch let error as ModelError {
            throw problem(error).map { ConfigurationError(problems: [$0]) } ?? error
        } catch let error as UnknownModel {
            let message = "there is no such model; \(error.advice)"
            throw ConfigurationError(problems: [problem("transform.model", message)])
        }
    }

    private func problem(_ error: ModelError) -> ConfigurationProblem? {
        switch error {
        case .style(let file, let style, let known):
            let hint = suggestion(for: style, among: known).map { "did you mean \($0)? " } ?? ""
            return problem(
                "transform.style",
                "\(printable(file)) has no style \(quoted(style)); \(hint)allowed: "
                    + known.joined(separator: ", ")
                    + (known.count > 1 ? ", or several with weights" : ""))
        case .look(_, let key, _): return problem(key, error.description)
        default: return nil
        }
    }

    /// What nobody set is wrong because of the model that somebody set.
    private func problem(_ key: String, _ message: String) -> ConfigurationProblem {
        let own = origin(of: key)
        let origin = own == .default ? self.origin(of: "transform.model") : own
        let value = ConfigurationSchema.key(named: key)?.read(configuration).description ?? ""
        let text =
            "\(key) is \(printable(value))\(own == .default ? " by default" : ""): \(message)"
        switch origin {
        case .default: return ConfigurationProblem(place: key, line: nil, message: text)
        case .option(let name): return ConfigurationProblem(place: name, line: nil, message: text)
        case .file(let path, let line):
            return ConfigurationProblem(place: path, line: line, message: text)
        }
    }
}

extension LoadedConfiguration: CustomStringConvertible {
    /// The whole effective configuration as TOML, every value followed by where it comes from:
    /// what `lucida check-config` prints.
    public var description: String {
        var lines = ["# " + (file.map { "From \(printable($0))" } ?? "No file: the defaults") + "."]
        for section in ConfigurationSchema.sections {
            let rows = rows(of: section)
            if rows.isEmpty { continue }
            lines += ["", "[\(section)]"]
            let width = min(48, rows.map(\.setting.count).max() ?? 0)
            for row in rows {
                let padding = String(repeating: " ", count: max(0, width - row.setting.count))
                lines.append("\(row.setting)\(padding)  # \(row.origin)")
            }
        }
        return lines.joined(separator: "\n") + "\n"
    }

    private func rows(of section: String) -> [(setting: String, origin: String)] {
        if section == ConfigurationSchema.controlsSection {
            return configuration.camera.controls.map {
                (
                    "\(tomlKey($0.name)) = \($0.value)",
                    origin(of: "\(section).\($0.name)").description
                )
            }
        }
        return ConfigurationSchema.keys.filter { $0.section == section }.map { key in
            let value = key.read(configuration)
            let setting = value == .unset ? "# \(key.leaf) is not set" : "\(key.leaf) = \(value)"
            return (setting, origin(of: key.name).description)
        }
    }
}

extension CameraControl.Value: CustomStringConvertible {
    /// As TOML.
    public var description: String {
        switch self {
        case .integer(let value): "\(value)"
        case .boolean(let value): "\(value)"
        case .text(let value): tomlString(value)
        }
    }
}

// A name as a TOML key: bare if it may be.
private func tomlKey(_ name: String) -> String {
    let isBare = name.utf8.allSatisfy {
        switch $0 {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"):
            true
        default: false
        }
    }
    return isBare && !name.isEmpty ? name : tomlString(name)
}

extension ConfigurationSchema {
    /// The annotated default file, `Config/lucida.toml`: every key with its meaning, commented out
    /// at its default, so that a later version can improve a default that nobody changed.
    public static var annotatedFile: String {
        var text = fileHead
        for section in sections {
            text += "\n[\(section)]\n"
            if section == controlsSection { text += controlsExample }
            var isFirst = true
            for key in keys where key.section == section {
                let value = key.example ?? key.defaultValue.description
                // A key without a text of its own is told with the one before it.
                if !key.documentation.isEmpty {
                    text += (isFirst ? "" : "\n") + comment(documentation(of: key))
                }
                isFirst = false
                text += "#\(key.leaf) = \(value)\n"
            }
        }
        return text
    }

    private static let fileHead = """
        # Lucida: settings.
        #
        # Every setting stands here with its default. To change one, remove the # in front of it.
        # Lucida reads the first of these that exists:
        #     the file named by --config
        #     ~/.config/lucida/lucida.toml
        #     /etc/lucida/lucida.toml
        # `lucida check-config` shows what is wrong with a file, or what is in force and why.
        # On the command line, `--set section.key=value` goes before any file.
        #
        # A running Lucida reads its file again when that is saved. [transform] and log.level change from
        # one frame to the next; for [camera], [performance] and another model it is back after a
        # moment; [output], [control], [report] and camera.pace count from the next start on.

        """

    private static let controlsExample = """
        # Further controls of the camera, by the names that `v4l2-ctl --list-ctrls-menus` lists. They
        # are set in the order in which they stand here, which matters where one unlocks another.
        #
        # Examples:
        #     brightness = 128
        #     auto_exposure = "Manual Mode"
        #     exposure_time_absolute = 250

        """

    private static func documentation(of key: ConfigurationKey) -> String {
        key.documentation + (key.showsAllowed ? "\nAllowed: \(key.allowed)." : "")
    }

    private static func comment(_ text: String) -> String {
        text.split(separator: "\n").map { "# \($0)\n" }.joined()
    }
}
