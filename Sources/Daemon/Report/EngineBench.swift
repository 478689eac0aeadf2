// `lucida bench engine`: the network alone, for people and for programs. Control thread.

internal import FoundationEssentials
public import Logging
internal import Models

/// Times of one model at one size.
public struct EngineBench: Codable {
    private let model: String
    private let size: String
    private let threads: Int
    private let instructionSet: String
    private let blasCore: String
    private let precision: String
    private let processor: String
    private let iterations: Int
    private let minimumMilliseconds: Double
    private let medianMilliseconds: Double
    private let p99Milliseconds: Double
    private let arenaMB: Double
    private let steps: [Step]

    private struct Step: Codable {
        let name: String
        let minimumMilliseconds: Double
        let medianMilliseconds: Double
    }

    /// Runs the benchmark: as many frames as told, after some to warm up.
    ///
    /// - Parameter configuration: model, output or camera size, and threads are taken from it.
    /// - Throws: what the model loader says.
    public init(configuration: Configuration, iterations: Int, log: Logger) throws {
        let settings = configuration.transform
        let path = try ModelLocator(environment: ProcessInfo.processInfo.environment)
            .path(model: settings.model, style: settings.style)
        let output = configuration.output
        let width = output.width > 0 ? output.width : configuration.camera.width
        let height = output.height > 0 ? output.height : configuration.camera.height
        let wanted = configuration.performance.threads
        let cache = TuningCache(environment: ProcessInfo.processInfo.environment)
        let tuning = cache.load()
        let result = try EngineBenchmark.run(
            model: path, width: width, height: height,
            threads: wanted > 0 ? wanted : ProcessStatistics.coreCount, iterations: iterations,
            tuning: tuning, wanted: configuration.performance.precision.precision)
        cache.save(tuning, log: log)
        model = path
        size = "\(width)×\(height)"
        threads = result.threads
        instructionSet = result.instructionSet
        blasCore = result.blasCore
        precision = result.precision
        processor = ProcessStatistics.processorName
        self.iterations = iterations
        minimumMilliseconds = Self.rounded(result.minimumMilliseconds)
        medianMilliseconds = Self.rounded(result.medianMilliseconds)
        p99Milliseconds = Self.rounded(result.p99Milliseconds)
        arenaMB = Self.rounded(Double(result.arenaBytes) / 1e6)
        steps = result.steps.map {
            Step(
                name: $0.name, minimumMilliseconds: Self.rounded($0.minimumMilliseconds),
                medianMilliseconds: Self.rounded($0.medianMilliseconds))
        }
    }

    private static func rounded(_ value: Double) -> Double { (value * 1000).rounded() / 1000 }

    /// The figures as JSON.
    ///
    /// - Throws: `EncodingError`.
    public func json() throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(self), as: UTF8.self) + "\n"
    }

    /// The figures for a terminal.
    public var text: String {
        let width = steps.map(\.name.count).max() ?? 0
        let rows = steps.map { step in
            "  " + step.name + String(repeating: " ", count: width - step.name.count)
                + "  minimum \(step.minimumMilliseconds) ms, median \(step.medianMilliseconds) ms"
        }
        return """
            \(model) at \(size), \(threads) threads, \(instructionSet), BLAS \(blasCore), \
            \(precision), \(processor)
              minimum \(minimumMilliseconds) ms, median \(medianMilliseconds) ms, \
            p99 \(p99Milliseconds) ms over \(iterations) frames; arena \(arenaMB) MB
            \(rows.joined(separator: "\n"))

            """
    }
}
