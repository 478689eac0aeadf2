// Fills a configuration from files and options by the schema, noting whatever is wrong.
// Control plane.

/// Collects values, their origins and all problems; `finish` tells the outcome.
struct ConfigurationReader {
    private var configuration = Configuration()
    private var origins: [String: ConfigurationOrigin] = [:]
    private var problems: [ConfigurationProblem] = []
    // Keys of the file to which an option has given another value, and the option.
    private var overruled: [String: String] = [:]
    // Keys that were given a value that is not allowed.
    private var refused: Set<String> = []

    /// Begins with the defaults, or with what is in force.
    init(over configuration: Configuration = Configuration()) {
        self.configuration = configuration
    }

    /// Reads a file's contents.
    mutating func read(_ bytes: [UInt8], file: String) {
        let firstOfFile = problems.count
        do {
            let document = try TOMLTable(parsing: bytes)
            for entry in document.entries { readSection(entry.key, entry.node, file: file) }
        } catch {
            report(error.message, .file(file, line: error.line))
        }
        problems[firstOfFile...].sort { ($0.line ?? 0) < ($1.line ?? 0) }
    }

    /// Applies an option.
    mutating func apply(_ override: ConfigurationOverride) {
        let origin = ConfigurationOrigin.option(override.option)
        let parsed = TOMLValue(parsing: override.value)
        let controls = ConfigurationSchema.controlsSection + "."
        if override.key.hasPrefix(controls) {
            let name = String(override.key.dropFirst(controls.count))
            setControl(name, parsed ?? .string(override.value), origin)
            return
        }
        guard let key = ConfigurationSchema.key(named: override.key) else {
            report(unknownKey(override.key), origin)
            return
        }
        // As TOML first, so that lists and numbers work; then as text, so that quotation marks
        // can be left out.
        let before = key.read(configuration)
        for value in [parsed.flatMap(ConfigurationValue.init), .text(override.value)] {
            if let value, key.write(value, &configuration) {
                if case .file = origins[key.name], key.read(configuration) != before {
                    overruled[key.name] = override.option
                }
                origins[key.name] = origin
                return
            }
        }
        let value = parsed.flatMap(ConfigurationValue.init)
        if case .list(let texts)? = value {
            reportNotAllowed(key, shown(.list(texts)), of: texts, origin)
        } else {
            reportNotAllowed(key, quoted(override.value), of: [override.value], origin)
        }
    }

    /// Adds a problem that has nothing to do with a key.
    mutating func report(_ message: String, place: String) {
        problems.append(ConfigurationProblem(place: place, line: nil, message: message))
    }

    /// The outcome, after checks of keys that go together.
    ///
    /// - Parameter file: the file that was read, if one was.
    /// - Throws: everything that is wrong.
    consuming func finish(file: String?) throws(ConfigurationError) -> LoadedConfiguration {
        checkPair(
            "output.width", "output.height", configuration.output.width, configuration.output.height
        )
        checkPair(
            "transform.model_width", "transform.model_height",
            configuration.transform.modelWidth, configuration.transform.modelHeight)
        guard problems.isEmpty else { throw ConfigurationError(problems: problems) }
        return LoadedConfiguration(
            configuration: configuration, file: file, origins: origins, overruled: overruled)
    }

    // MARK: Sections and keys

    private mutating func readSection(_ name: String, _ node: TOMLNode, file: String) {
        let origin = ConfigurationOrigin.file(file, line: node.line)
        guard ConfigurationSchema.keys.contains(where: { $0.section == name }) else {
            report(unknownKey(name), origin)
            return
        }
        guard case .table(let table) = node.value else {
            report("\(name) is a section: write [\(name)], once, and its keys below", origin)
            return
        }
        for entry in table.entries {
            let (leaf, node) = (entry.key, entry.node)
            let origin = ConfigurationOrigin.file(file, line: node.line)
            let fullName = name + "." + leaf
            if fullName == ConfigurationSchema.controlsSection {
                readControls(node, file: file)
            } else if let key = ConfigurationSchema.key(named: fullName) {
                set(key, node.value, origin)
            } else {
                report(unknownKey(fullName), origin)
            }
        }
    }

    private mutating func set(
        _ key: ConfigurationKey, _ value: TOMLValue, _ origin: ConfigurationOrigin
    ) {
        guard let plain = ConfigurationValue(value) else {
            reportNotAllowed(key, value.typeName, origin)
            return
        }
        guard key.write(plain, &configuration) else {
            reportNotAllowed(key, shown(plain), of: plain.texts, origin)
            return
        }
        origins[key.name] = origin
    }

    private func shown(_ value: ConfigurationValue) -> String {
        switch value {
        case .text(let text): quoted(text)
        case .list(let texts) where texts.count == 1: quoted(texts[0])
        case .list(let texts): "[" + texts.prefix(9).map(quoted).joined(separator: ", ") + "]"
        default: value.description
        }
    }

    // MARK: Camera controls

    private mutating func readControls(_ node: TOMLNode, file: String) {
        let name = ConfigurationSchema.controlsSection
        guard case .table(let table) = node.value else {
            report(
                "\(name) is a section: write [\(name)], once, and the controls below",
                .file(file, line: node.line))
            return
        }
        for entry in table.entries {
            setControl(entry.key, entry.node.value, .file(file, line: entry.node.line))
        }
    }

    private mutating func setControl(
        _ name: String, _ value: TOMLValue, _ origin: ConfigurationOrigin
    ) {
        let fullName = ConfigurationSchema.controlsSection + "." + name
        let control: CameraControl.Value
        switch value {
        case .integer(let value): control = .integer(Int(value))
        case .boolean(let value): control = .boolean(value)
        case .string(let value) where isText(value): control = .text(value)
        default:
            report(
                "\(printable(fullName)) is \(value.typeName); allowed: an integer, true, false, "
                    + "or the name of a menu entry", origin)
            return
        }
        guard !name.isEmpty, name.utf8.count <= 64, isText(name) else {
            report("\(quoted(name)) cannot be the name of a camera control", origin)
            return
        }
        configuration.camera.controls.removeAll { $0.name == name }
        guard configuration.camera.controls.count < ConfigurationSchema.controlCountMax else {
            report("more than \(ConfigurationSchema.controlCountMax) camera controls", origin)
            return
        }
        configuration.camera.controls.append(CameraControl(name: name, value: control))
        origins[fullName] = origin
    }

    // MARK: Problems

    private mutating func report(_ message: String, _ origin: ConfigurationOrigin) {
        switch origin {
        case .default: report(message, place: "default")
        case .option(let name): report(message, place: name)
        case .file(let path, let line):
            problems.append(ConfigurationProblem(place: path, line: line, message: message))
        }
    }

    private mutating func reportNotAllowed(
        _ key: ConfigurationKey, _ value: String, of texts: [String] = [],
        _ origin: ConfigurationOrigin
    ) {
        refused.insert(key.name)
        let hint =
            switch key.name {
            case "camera.source": nameHint(texts) { SourceName($0)?.description }
            case "output.sinks": nameHint(texts) { SinkName($0)?.description }
            default: String?.none
            }
        report(
            "\(key.name) is \(value); \(hint.map { $0 + " " } ?? "")allowed: \(key.allowed)", origin
        )
    }

    private mutating func checkPair(_ first: String, _ second: String, _ a: Int, _ b: Int) {
        guard (a == 0) != (b == 0) else { return }
        let (set, unset) = a == 0 ? (second, first) : (first, second)
        // It was set, and the reason why it does not count has been reported.
        if refused.contains(unset) { return }
        report("\(set) needs \(unset): set both, or leave both at 0", origins[set] ?? .default)
    }
}

// MARK: Did you mean

/// Says that there is no such key, what may have been meant, and what there is.
private func unknownKey(_ name: String) -> String {
    let section = name.split(separator: ".", maxSplits: 1).first.map(String.init) ?? ""
    let leaf = String(name.dropFirst(section.count + 1))
    let siblings = ConfigurationSchema.keys.filter { $0.section == section }
    let isSection = !name.contains(".")
    let closest =
        isSection && !siblings.isEmpty
        ? nil : closestName(to: leaf.isEmpty ? name : leaf, in: section)
    let hint = closest.map { "did you mean \($0)? " } ?? ""
    let choices =
        siblings.isEmpty
        ? (hint.isEmpty ? "the" : "The") + " sections are "
            + ConfigurationSchema.sections.map { "[\($0)]" }.joined(separator: ", ")
        : "[\(section)] takes " + siblings.map(\.leaf).joined(separator: ", ")
    return "\(printable(name)) is not a setting; \(hint)\(choices)"
}

// The nearest key or section, own section first; nil if nothing is near.
private func closestName(to name: String, in section: String) -> String? {
    guard name.utf8.count <= 64 else { return nil }
    let limit = slipsMax(in: name)
    var best: (distance: Int, name: String)?
    func consider(_ word: String, _ handicap: Int, _ result: String) {
        // The lengths alone rule most words out.
        guard abs(word.utf8.count - name.utf8.count) <= limit else { return }
        let distance = editDistance(name, word)
        guard distance <= limit, distance * 2 + handicap < best?.distance ?? .max else { return }
        best = (distance * 2 + handicap, result)
    }
    for key in ConfigurationSchema.keys {
        consider(key.leaf, key.section == section ? 0 : 1, key.name)
    }
    for candidate in ConfigurationSchema.sections {
        // Whoever has named a section hardly means another as its key.
        consider(candidate, section == name ? 0 : 3, "[\(candidate)]")
    }
    // In [camera], "control".
    consider("controls", 0, "[\(ConfigurationSchema.controlsSection)]")
    return best?.name
}
