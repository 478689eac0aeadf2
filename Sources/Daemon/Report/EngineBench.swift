// `lucida bench engine`: the network alone, for people and for programs. Control thread.

public import Logging
internal import Models
internal import NeuralEngine

/// Times of one model at one size.
public struct EngineBench: Codable {
    private let model: String
    private let size: String
    private let threads: Int
    private let instructionSet: String
    private let blasCore: String
    private let precision: String
    private let precisionReason: String
    private let processor: String
    private let iterations: Int
    private let minimumMilliseconds: Double
    private let medianMilliseconds: Double
    private let p99Milliseconds: Double
    private let arenaMB: Double
    private let allocationsPerFrame: Double?
    private let relativeError: Double?
    private let steps: [Step]

    private struct Step: Codable {
        let name: String
        let operand: String?
        let minimumMilliseconds: Double
        let medianMilliseconds: Double
    }

    /// Runs the benchmark: as many frames as told, after some to warm up.
    ///
    /// - Parameters:
    ///   - configuration: model, output or camera size, and threads are taken from it.
    ///   - iterations: frames to measure.
    ///   - check: a safetensors file with an `input` of the network and the `output` to expect.
    ///   - log: told if the choice of methods cannot be kept.
    /// - Throws: what the loaders of model and check say.
    public init(
        configuration: Configuration, iterations: Int, check: String? = nil, log: Logger
    ) throws {
        let subject = try BenchSubject(configuration)
        let result = try subject.measure(
            iterations: iterations, check: try check.map { try NetworkCheck(file: $0) }, log: log)
        model = subject.model
        size = subject.size
        threads = result.threads
        instructionSet = result.instructionSet
        blasCore = result.blasCore
        precision = result.precision
        precisionReason = result.precisionReason
        processor = Processor.shared.name
        self.iterations = iterations
        minimumMilliseconds = thousandths(result.minimumMilliseconds)
        medianMilliseconds = thousandths(result.medianMilliseconds)
        p99Milliseconds = thousandths(result.p99Milliseconds)
        arenaMB = thousandths(Double(result.arenaBytes) / 1e6)
        allocationsPerFrame = result.allocations.map { Double($0) / Double(iterations) }
        relativeError = result.relativeError
        steps = result.steps.map {
            Step(
                name: $0.name, operand: $0.cost.multipliedMACs > 0 ? $0.cost.operand.rawValue : nil,
                minimumMilliseconds: thousandths($0.minimumMilliseconds),
                medianMilliseconds: thousandths($0.medianMilliseconds))
        }
    }

    /// The figures as JSON.
    ///
    /// - Throws: `EncodingError`.
    public func json() throws -> String { try jsonText() }

    /// The figures for a terminal.
    public var text: String {
        let rows = steps.map {
            [
                $0.name, $0.operand ?? "", decimalText($0.minimumMilliseconds, 3),
                decimalText($0.medianMilliseconds, 3),
            ]
        }
        let frame = [
            "a frame (p99 \(decimalText(p99Milliseconds, 3)))", "",
            decimalText(minimumMilliseconds, 3), decimalText(medianMilliseconds, 3),
        ]
        let allocations =
            allocationsPerFrame.map { "\(decimalText($0, 2)) allocations per frame" }
            ?? "allocations not counted"
        let error = relativeError.map { ", relative error \(scientificText($0))" } ?? ""
        return """
            \(model) at \(size), \(threadText(threads)), \(instructionSet), BLAS \(blasCore), \
            \(processor)
            \(precision): \(precisionReason)
            \(iterations) frames, \(allocations), arena \(decimalText(arenaMB, 1)) MB\(error)
            \(tableText([["step", "operand", "minimum ms", "median ms"]] + rows + [frame], left: [1]))
            """
    }
}
