// What is wrong with a configuration, all of it at once. Control plane.

/// A configuration that cannot be used.
public struct ConfigurationError: Error, CustomStringConvertible {
    /// Everything that is wrong, at least one; of a file in the order of its lines.
    public let problems: [ConfigurationProblem]

    /// One line a problem: `/etc/lucida/lucida.toml:12: camera.width is 5; allowed: …`.
    public var description: String {
        var lines = problems.prefix(20).map(\.description)
        if problems.count > 20 { lines.append("… and \(problems.count - 20) more") }
        return lines.joined(separator: "\n")
    }
}

/// One thing that is wrong.
public struct ConfigurationProblem: Sendable, Equatable, CustomStringConvertible {
    /// The file or option that it stands in.
    public let place: String
    /// In a file, where known; the first line is 1.
    public let line: Int?
    /// What is wrong and what is allowed, naming the key.
    public let message: String

    /// `place:line: message`.
    public var description: String {
        line.map { "\(printable(place)):\($0): \(message)" } ?? "\(printable(place)): \(message)"
    }
}

/// Where a value comes from.
public enum ConfigurationOrigin: Sendable, Equatable, CustomStringConvertible {
    /// Nobody set it.
    case `default`
    /// A line of a file.
    case file(String, line: Int)
    /// A command-line option, for example `--set`.
    case option(String)

    /// `default`, `/etc/lucida/lucida.toml:12`, `--set`.
    public var description: String {
        switch self {
        case .default: "default"
        case .file(let path, let line): "\(printable(path)):\(line)"
        case .option(let name): name
        }
    }
}

/// A setting given on the command line.
public struct ConfigurationOverride: Sendable, Equatable {
    /// For messages: the option that it came by.
    public let option: String
    /// With its section: `camera.width`.
    public let key: String
    /// A TOML value, or text without quotation marks.
    public let value: String

    /// A setting with an option of its own, such as `--style`.
    public init(option: String, key: String, value: String) {
        self.option = option
        self.key = key
        self.value = value
    }

    /// The same for a key that takes a list, such as `--sink` given several times.
    public init(option: String, key: String, values: [String]) {
        self.init(option: option, key: key, value: ConfigurationValue.list(values).description)
    }

    /// The argument of `--set`: `section.key=value`.
    ///
    /// - Throws: `ConfigurationError` if there is no `=`.
    public init(set argument: String) throws(ConfigurationError) {
        guard let equals = argument.firstIndex(of: "=") else {
            throw ConfigurationError(problems: [
                ConfigurationProblem(
                    place: "--set", line: nil,
                    message: "\(quoted(argument)) has no =; write --set section.key=value")
            ])
        }
        self.init(
            option: "--set", key: argument[..<equals].trimmed,
            value: argument[argument.index(after: equals)...].trimmed)
    }
}

extension Substring {
    fileprivate var trimmed: String {
        var text = self
        while text.first == " " { text.removeFirst() }
        while text.last == " " { text.removeLast() }
        return String(text)
    }
}
