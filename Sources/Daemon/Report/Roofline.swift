// `lucida bench roofline`: how near each layer comes to what this machine can do. Control thread.

public import Logging
internal import Models
internal import NeuralEngine

/// The machine's measured ceilings, and the layers of a model beneath them.
///
/// A layer takes at least as long as its multiply-accumulates at the peak of their instruction, and
/// as its bytes from the nearest memory that could hold all of them. The larger of the two is its
/// roof; the share of the roof is that time over the measured one (Williams, Waterman and Patterson,
/// "Roofline", 2009).
public struct Roofline: Codable {
    let model: String
    let size: String
    let threads: Int
    let instructionSet: String
    let blasCore: String
    let processor: String
    let iterations: Int
    let arithmetic: [Arithmetic]
    let bandwidths: [Bandwidth]
    let layers: [Layer]
    let frame: Frame

    struct Arithmetic: Codable {
        let operand: String
        let threads: Int
        let gigaMACsPerSecond: Double
    }

    struct Bandwidth: Codable {
        let level: String
        let threads: Int
        let workingSetKiB: Int
        let readGBPerSecond: Double
        let copyGBPerSecond: Double
    }

    struct Layer: Codable {
        let name: String
        let milliseconds: Double
        let directMACs: Int
        let multipliedMACs: Int
        let operand: String
        let algorithm: String
        let weightBytes: Int
        let activationBytes: Int
        /// Multiply-accumulates done, a second.
        let gigaMACsPerSecond: Double
        /// Multiply-accumulates done for each byte touched.
        let macsPerByte: Double
        /// `compute`, or the memory whose bandwidth is the roof.
        let bound: String
        let roofMilliseconds: Double
        let share: Double
    }

    struct Frame: Codable {
        /// Sum of the layers, each at its fastest.
        let milliseconds: Double
        let directMACs: Int
        let multipliedMACs: Int
        let roofMilliseconds: Double
        let share: Double
        /// The fastest whole frame.
        let minimumMilliseconds: Double
    }

    /// Measures the machine, then the model on it.
    ///
    /// - Parameters:
    ///   - configuration: model, output or camera size, and threads are taken from it.
    ///   - iterations: frames to measure; the fastest run of each layer counts.
    ///   - log: told if the choice of methods cannot be kept.
    /// - Throws: what the model loader says, or that memory or threads were refused.
    public init(configuration: Configuration, iterations: Int, log: Logger) throws {
        let subject = try BenchSubject(configuration)
        // The model first: a bad file is then refused without a wait.
        let result = try subject.measure(iterations: iterations, log: log)
        let peak = try MachinePeak.measure(threads: subject.threads)
        model = subject.model
        size = subject.size
        threads = subject.threads
        instructionSet = result.instructionSet
        blasCore = result.blasCore
        processor = Processor.shared.name
        self.iterations = iterations
        arithmetic = peak.arithmetic.map(Arithmetic.init)
        bandwidths = peak.bandwidths.map(Bandwidth.init)
        layers = result.steps.map { Layer($0, peak, threads: subject.threads) }
        frame = Frame(layers, minimumMilliseconds: result.minimumMilliseconds)
    }

    /// The figures as JSON.
    ///
    /// - Throws: `EncodingError`.
    public func json() throws -> String { try jsonText() }
}

extension Roofline.Arithmetic {
    init(_ peak: MachinePeak.Arithmetic) {
        operand = peak.operand.rawValue
        threads = peak.threads
        gigaMACsPerSecond = thousandths(peak.macsPerSecond / 1e9)
    }
}

extension Roofline.Bandwidth {
    init(_ peak: MachinePeak.Bandwidth) {
        level = peak.level.rawValue
        threads = peak.threads
        workingSetKiB = peak.workingSetBytes >> 10
        readGBPerSecond = thousandths(peak.readBytesPerSecond / 1e9)
        copyGBPerSecond = thousandths(peak.copyBytesPerSecond / 1e9)
    }
}

extension Roofline.Layer {
    init(_ step: EngineBenchmark.Step, _ peak: MachinePeak, threads: Int) {
        let cost = step.cost
        let level = peak.caches.level(holding: cost.bytes, threads: threads)
        // What was not measured bounds nothing.
        let arithmetic = peak.macsPerSecond(cost.operand, threads: threads)
        let bandwidth = peak.readBytesPerSecond(level, threads: threads)
        let compute = arithmetic > 0 ? Double(cost.multipliedMACs) / arithmetic : 0
        let memory = bandwidth > 0 ? Double(cost.bytes) / bandwidth : 0
        let roof = 1000 * max(compute, memory)
        let milliseconds = step.minimumMilliseconds
        name = step.name
        self.milliseconds = milliseconds
        directMACs = cost.directMACs
        multipliedMACs = cost.multipliedMACs
        operand = cost.operand.rawValue
        algorithm = cost.algorithm
        weightBytes = cost.weightBytes
        activationBytes = cost.bytesRead + cost.bytesWritten
        gigaMACsPerSecond =
            milliseconds > 0 ? thousandths(Double(cost.multipliedMACs) / milliseconds / 1e6) : 0
        macsPerByte =
            cost.bytes > 0 ? thousandths(Double(cost.multipliedMACs) / Double(cost.bytes)) : 0
        bound = compute >= memory ? "compute" : level.rawValue
        roofMilliseconds = roof
        share = milliseconds > 0 ? thousandths(roof / milliseconds) : 0
    }
}

extension Roofline.Frame {
    init(_ layers: [Roofline.Layer], minimumMilliseconds: Double) {
        let milliseconds = layers.reduce(0) { $0 + $1.milliseconds }
        let roof = layers.reduce(0) { $0 + $1.roofMilliseconds }
        self.milliseconds = milliseconds
        directMACs = layers.reduce(0) { $0 + $1.directMACs }
        multipliedMACs = layers.reduce(0) { $0 + $1.multipliedMACs }
        roofMilliseconds = roof
        share = milliseconds > 0 ? thousandths(roof / milliseconds) : 0
        self.minimumMilliseconds = minimumMilliseconds
    }
}
