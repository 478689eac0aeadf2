// What a configuration asks a benchmark to measure.

internal import FoundationEssentials
internal import Logging
internal import Models
internal import NeuralEngine

/// Model, size, threads and precision of `lucida bench`. Control thread.
struct BenchSubject {
    let model: String
    let look: Look
    let width: Int
    let height: Int
    let threads: Int
    // nil: what the model's calibration allows.
    let precision: Precision?

    /// - Throws: if there is no such model.
    init(_ configuration: Configuration) throws {
        let settings = configuration.transform
        model = try ModelLocator(environment: ProcessInfo.processInfo.environment)
            .path(model: settings.model)
        look = settings.look
        let (output, camera) = (configuration.output, configuration.camera)
        // A size that is named is measured; else the one at which a network runs by default.
        let size =
            output.width > 0 && output.height > 0
            ? FrameSize(width: output.width, height: output.height)
            : settings.networkSize(
                for: FrameSize(width: camera.width, height: camera.height), isLive: true)
        width = size.width
        height = size.height
        let wanted = configuration.performance.threads
        threads = wanted > 0 ? wanted : Processor.shared.threadCount
        precision = configuration.performance.precision.precision
    }

    /// Times the model; how its layers are computed is looked up, or measured first and kept.
    func measure(
        iterations: Int, check: NetworkCheck? = nil, log: Logger,
        betweenRounds: (@Sendable () -> Void)? = nil
    ) throws -> EngineBenchmark {
        let cache = TuningCache(environment: ProcessInfo.processInfo.environment)
        let tuning = cache.load(log: log)
        let result = try EngineBenchmark.run(
            model: model, width: width, height: height, threads: threads, iterations: iterations,
            tuning: tuning, wanted: precision, look: look, check: check,
            betweenRounds: betweenRounds)
        cache.save(tuning, log: log)
        return result
    }

    /// For people.
    var size: String { "\(width)×\(height)" }
}

/// A value of which JSON is printed for programs.
extension Encodable {
    /// Sorted keys, one a line.
    func jsonText() throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(self), as: UTF8.self) + "\n"
    }
}

/// Thousandths are as fine as a figure of milliseconds or megabytes need be.
func thousandths(_ value: Double) -> Double { (value * 1000).rounded() / 1000 }
