// Checks of files: configuration, model, and the folders that are written to.

internal import FoundationEssentials
internal import Glibc
internal import Models
internal import NeuralEngine

extension Doctor {
    /// Can the configuration be used?
    static func configuration(_ machine: Machine) -> [Finding] {
        switch machine.configuration {
        case .success(let loaded):
            let isOwn = loaded.file != nil && loaded.file != Machine.systemConfiguration
            return [
                .ok(
                    "config", "the configuration is " + (loaded.file ?? "the defaults"),
                    isOwn ? "The service has one of its own, \(Machine.systemConfiguration)." : "")
            ]
        case .failure(let error):
            let path = error.problems.first?.place ?? Machine.systemConfiguration
            let more = error.problems.count - 1
            return [
                .problem(
                    "config.invalid", "the configuration cannot be used",
                    (error.problems.first?.description ?? "")
                        + (more > 0 ? " (and \(more) more: lucida check-config)" : ""),
                    command: editing(path))
            ]
        }
    }

    /// The command that opens a configuration in an editor.
    static func editing(_ path: String) -> String {
        (path.hasPrefix("/etc/") ? "sudoedit " : "${EDITOR:-nano} ") + shellWord(path)
    }

    // MARK: The model

    /// Is the network there, can it be loaded, and does it draw the style?
    static func model(_ machine: Machine) -> [Finding] {
        // Of a configuration that cannot be read nobody knows what model it wants.
        guard let loaded = try? machine.configuration.get() else { return [] }
        let transform = loaded.configuration.transform
        let path: String
        do {
            path = try ModelLocator(environment: machine.environment).path(model: transform.model)
        } catch {
            return [
                .problem(
                    "model.missing", "the model \"\(transform.model)\" is not there", "\(error)",
                    command: "sudo make install  # in Lucida's source folder")
            ]
        }
        let model: any FrameModel
        do throws(ModelError) {
            model = try loadModel(file: path)
        } catch {
            return [
                .problem(
                    "model.unusable", "the model \(path) cannot be used", "\(error)",
                    command: path == transform.model
                        ? "lucida run --model base  # or set transform.model, or copy the file again"
                        : "sudo make install  # in Lucida's source folder")
            ]
        }
        do {
            try loaded.placing { try model.check(transform.look) }
        } catch {
            // Older models draw one style in one step.
            let option =
                transform.steps > 1
                    && transform.style.parts.allSatisfy {
                        model.file.styles.contains($0.name)
                    }
                ? "--set transform.steps=1"
                : "--style \(shellWord(model.file.styles.first ?? "ink"))"
            return [
                .problem(
                    "model.style", "the model cannot draw what [transform] asks for", "\(error)",
                    command: "lucida run \(option)  # or in " + machine.configurationPath)
            ]
        }
        return [calibration(model.file, machine)]
    }

    private static func calibration(_ file: ModelFile, _ machine: Machine) -> Finding {
        guard file.calibration == nil, machine.settings.performance.precision == .auto,
            !machine.dotProducts.isEmpty
        else {
            return .ok("model", "the model is \(file.file)", styles(file))
        }
        return .warning(
            "model.not_calibrated", "the model \(file.file) runs in f32 alone",
            "Nobody has measured what the faster 8 and 16 bits of this processor cost it"
                + (file.calibrationProblem.map { ": \($0)." } ?? "."),
            command: "lucida calibrate --model \(shellWord(file.file))")
    }

    private static func styles(_ file: ModelFile) -> String {
        let precisions = Precision.allCases.filter {
            file.calibration?.figures($0)?.meetsRule ?? false
        }
        return "It draws \(file.styles.prefix(20).joined(separator: ", "))"
            + (precisions.isEmpty
                ? "."
                : ", by its figures also in "
                    + precisions.map(\.rawValue).joined(separator: ", ") + ".")
    }

    // MARK: Folders

    /// Can be written what is to be written?
    static func folders(_ machine: Machine) -> [Finding] {
        outputs(machine) + [cache(machine)]
    }

    private static func outputs(_ machine: Machine) -> [Finding] {
        machine.settings.outputPaths.compactMap { path in
            // A folder of pictures is made where it is missing, so the one above it counts.
            let isFolder = path.hasSuffix("/")
            let folder =
                isFolder && access(path, F_OK) == 0
                ? path : URL(filePath: path).deletingLastPathComponent().path
            guard access(folder.isEmpty ? "." : folder, W_OK | X_OK) != 0 || !isDirectory(folder)
            else { return nil }
            return .problem(
                "output.folder", "\(path) cannot be written",
                "Its folder is not there, or not yours.", command: mending(folder, machine))
        }
    }

    private static func mending(_ folder: String, _ machine: Machine) -> String {
        if access(folder, F_OK) != 0 { return "mkdir -p \(shellWord(folder))" }
        if machine.mayHave(folder) {
            return "sudo chown \(shellWord(machine.user.name)) \(shellWord(folder))"
        }
        return editing(machine.configurationPath) + "  # name another folder"
    }

    private static func cache(_ machine: Machine) -> Finding {
        let meaning = "Every start measures anew which method is fastest here, which takes a while."
        guard let folder = TuningCache.folder(environment: machine.environment) else {
            return .warning(
                "cache.none", "there is no folder for the engine's measurements", meaning,
                command: "export XDG_CACHE_HOME=/var/tmp")
        }
        // The first one that exists decides whether the others can be made.
        var existing = folder
        while access(existing, F_OK) != 0, existing.count > 1 {
            existing = URL(filePath: existing).deletingLastPathComponent().path
        }
        let elsewhere = "export XDG_CACHE_HOME=/var/tmp"
        guard isDirectory(existing) else {
            return .warning(
                "cache.not_writable", "\(existing) is in the way of the folder \(folder)", meaning,
                command: existing == machine.environment["XDG_CACHE_HOME"]
                    || machine.mayHave(existing)
                    ? "mv \(shellWord(existing)) \(shellWord(existing + ".old"))" : elsewhere)
        }
        guard access(existing, W_OK | X_OK) == 0 else {
            return .warning(
                "cache.not_writable", "the engine's measurements cannot be kept in \(folder)",
                meaning,
                command: machine.mayHave(existing)
                    ? "sudo chown -R \(shellWord(machine.user.name)) \(shellWord(existing))"
                    : elsewhere)
        }
        return .ok("cache", "the engine's measurements are kept in \(folder)")
    }

    private static func isDirectory(_ path: String) -> Bool {
        var status = stat()
        return stat(path.isEmpty ? "." : path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }
}

extension Configuration {
    /// What is written beside virtual cameras; folders end in a slash.
    var outputPaths: [String] {
        let sinks = output.sinks.compactMap { sink -> String? in
            switch sink {
            case .file(let path) where !path.contains("://"): path
            case .frames(let path): path.hasSuffix("/") ? path : path + "/"
            default: nil
            }
        }
        return sinks + (report.path.isEmpty ? [] : [report.path])
    }

    /// Of sinks and source that are somewhere in a network.
    var addresses: [String] {
        let sinks = output.sinks.compactMap { if case .file(let path) = $0 { path } else { nil } }
        let source = if case .file(let path) = camera.source { [path] } else { [String]() }
        return (sinks + source).filter { $0.contains("://") }
    }
}

extension Machine {
    static let systemConfiguration = "/etc/lucida/lucida.toml"

    /// Whether a folder is this user's affair: below a home that is theirs. What lies elsewhere may be the
    /// system's, or somebody's, and nobody is told to take that.
    func mayHave(_ folder: String) -> Bool {
        // Where links lead to: chown follows them.
        guard let home = environment["HOME"].flatMap(Self.realPath), home != "/",
            let folder = Self.realPath(folder), folder.hasPrefix(home + "/")
        else { return false }
        var status = stat()
        return stat(home, &status) == 0 && status.st_uid == user.id
    }

    private static func realPath(_ path: String) -> String? {
        guard let real = realpath(path.isEmpty ? "." : path, nil) else { return nil }
        defer { free(real) }
        return String(cString: real)
    }

    /// Where a setting is to be changed.
    var configurationPath: String {
        (try? configuration.get())?.file ?? Self.systemConfiguration
    }
}
