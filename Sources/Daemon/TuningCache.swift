// Keeps on disk which convolution method is fastest on this CPU, so that only the first start measures.

internal import FoundationEssentials
internal import Logging
internal import NeuralEngine

/// The file `tuning.json`: choices by processor and layer. What cannot be read is measured anew;
/// what cannot be written is measured again next time.
struct TuningCache {
    private let path: String?

    /// - Parameter environment: `CACHE_DIRECTORY` (systemd sets it), else `XDG_CACHE_HOME`, else
    ///   `HOME` say where.
    init(environment: [String: String]) {
        func folder(_ key: String, _ suffix: String) -> String? {
            environment[key].flatMap { $0.hasPrefix("/") ? $0 + suffix : nil }
        }
        path =
            (folder("CACHE_DIRECTORY", "") ?? folder("XDG_CACHE_HOME", "/lucida")
            ?? folder("HOME", "/.cache/lucida")).map { $0 + "/tuning.json" }
    }

    private struct Contents: Codable {
        // Raised whenever kernels change enough for old choices to be wrong.
        static let currentVersion = 1
        var version = Self.currentVersion
        let choices: [String: String]
    }

    /// More than this is no file of ours.
    private static let byteLimit = 1 << 20

    /// What is known already.
    func load() -> ConvolutionTuning {
        let contents = path.flatMap { try? Data(contentsOf: URL(filePath: $0)) }
            .flatMap { $0.count <= Self.byteLimit ? $0 : nil }
            .flatMap { try? JSONDecoder().decode(Contents.self, from: $0) }
        let isCurrent = contents?.version == Contents.currentVersion
        return ConvolutionTuning(
            processor: ProcessStatistics.processorName,
            choices: isCurrent ? contents?.choices ?? [:] : [:])
    }

    /// Writes what has been measured since `load`.
    func save(_ tuning: ConvolutionTuning, log: Logger) {
        guard tuning.hasMeasured else { return }
        guard let path else {
            log.info("HOME is not set: the engine's measurements are not kept")
            return
        }
        do {
            try FileManager.default.createDirectory(
                atPath: String(path.dropLast("/tuning.json".count)),
                withIntermediateDirectories: true)
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
            // Atomic: another process may be reading it.
            try encoder.encode(Contents(choices: tuning.choices)).write(
                to: URL(filePath: path), options: .atomic)
            log.debug("the engine's measurements are in \(path)")
        } catch {
            log.info("the engine's measurements cannot be kept in \(path): \(error)")
        }
    }
}
