// Finds a model on disk. Control thread.

internal import FoundationEssentials
internal import Models

/// Where models are looked for: `$LUCIDA_MODELS`, `../share/lucida/models` beside the program (as
/// `make install` lays it out), and `Models` of a source tree that the program was built in.
struct ModelLocator {
    let environment: [String: String]

    /// The model file to load.
    ///
    /// - Parameters:
    ///   - model: the name of a shipped model, or a path: what holds a `/` or ends in
    ///     `.safetensors`.
    /// - Throws: `UnknownModel`.
    func path(model: String) throws -> String {
        if model.contains("/") || model.hasSuffix(".safetensors") { return model }
        let candidates = directories.map { "\($0)/\(model).safetensors" }
        if let found = candidates.first(where: { FileManager.default.fileExists(atPath: $0) }) {
            return found
        }
        throw UnknownModel(name: model, candidates: candidates, available: available)
    }

    private var directories: [String] {
        var result: [String] = []
        if let directory = environment["LUCIDA_MODELS"] { result.append(directory) }
        let program = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe"))
        if let bin = program.map({ URL(filePath: $0).deletingLastPathComponent() }) {
            result.append(bin.appending(path: "../share/lucida/models").standardized.path)
            // .build/<target>/release/lucida → the source tree
            result.append(bin.appending(path: "../../../Models").standardized.path)
        }
        return result
    }

    private var available: [String] {
        let files = directories.flatMap {
            (try? FileManager.default.contentsOfDirectory(atPath: $0)) ?? []
        }
        let suffix = ".safetensors"
        return Set(files.filter { $0.hasSuffix(suffix) }.map { String($0.dropLast(suffix.count)) })
            .sorted()
    }
}

/// No model has the name that somebody has given.
struct UnknownModel: Error, CustomStringConvertible {
    let name: String
    /// Where it was looked for.
    let candidates: [String]
    /// The names there are.
    let available: [String]

    var description: String { "no model \(quoted(name)); \(advice)" }

    /// What to do, for a sentence that names the model.
    var advice: String {
        guard !available.isEmpty else {
            return "looked for \(candidates.joined(separator: ", ")); name a file, or set "
                + "LUCIDA_MODELS"
        }
        let hint = suggestion(for: name, among: available).map { "did you mean \($0)? " } ?? ""
        return "\(hint)available: \(available.joined(separator: ", ")), or a file"
    }
}

extension LoadedConfiguration {
    /// Finds and reads the model that the configuration names, as a run would.
    ///
    /// - Throws: what a run would throw.
    public func checkModel(environment: [String: String]) throws {
        let transform = configuration.transform
        try placing {
            let path = try ModelLocator(environment: environment).path(model: transform.model)
            try loadModel(file: path).check(transform.look)
        }
    }
}
