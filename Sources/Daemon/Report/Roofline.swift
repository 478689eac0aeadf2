// `lucida bench roofline`: how near each layer comes to what this machine can do. Control thread.

public import Logging
internal import Models
internal import NeuralEngine

/// The machine's measured ceilings, and the layers of a model beneath them.
///
/// A layer takes at least as long as its multiply-accumulates at the peak of their instruction, and
/// as its bytes from the nearest memory that could hold all of them beside its scratch memory. The
/// larger of the two is its roof; the share of the roof is that time over the measured one (Williams,
/// Waterman and Patterson, "Roofline", 2009). An algorithm that multiplies more has a higher roof and
/// so an easier share: `shareOfBest` holds the layer against the algorithm that multiplies least.
///
/// Scratch memory bounds an implementation and not the layer: what its traffic would take, were it all
/// that happens, stands beside the roof and is no part of it.
public struct Roofline: Codable {
    let model: String
    let size: String
    let threads: Int
    let instructionSet: String
    let blasCore: String
    let processor: String
    let iterations: Int
    /// Share of all processors' time that the hypervisor took while this was measured; nil if not
    /// known.
    let stolenShare: Double?
    /// The same of other programs.
    let otherShare: Double?
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

        /// The ceiling, as `MachinePeak.Bandwidth` has it.
        var gigabytesPerSecond: Double { max(readGBPerSecond, copyGBPerSecond) }
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
        /// The roof of the algorithm that multiplies least.
        let bestRoofMilliseconds: Double
        let shareOfBest: Double
        /// Written to scratch memory and read from it.
        let scratchTrafficBytes: Int
        /// What that takes at least, by the nearest memory that could hold one worker's.
        let scratchMilliseconds: Double
    }

    struct Frame: Codable {
        /// Sum of the layers, each at its fastest.
        let milliseconds: Double
        let directMACs: Int
        let multipliedMACs: Int
        let roofMilliseconds: Double
        let share: Double
        let bestRoofMilliseconds: Double
        let shareOfBest: Double
        let scratchTrafficBytes: Int
        let scratchMilliseconds: Double
        /// The fastest whole frame.
        let minimumMilliseconds: Double
    }

    /// Measures the model, and the machine in turn with it.
    ///
    /// - Parameters:
    ///   - configuration: model, output or camera size, and threads are taken from it.
    ///   - iterations: frames to measure; the fastest run of each layer counts.
    ///   - log: told if the choice of methods cannot be kept.
    /// - Throws: what the model loader says, or that memory or threads were refused.
    public init(configuration: Configuration, iterations: Int, log: Logger) throws {
        let subject = try BenchSubject(configuration)
        let probes = try MachineProbes(threads: subject.threads)
        let before = MachineLoad.current
        let result = try subject.measure(iterations: iterations, log: log) { probes.sweep() }
        let peak = probes.peak
        let load = before.flatMap { before in MachineLoad.current?.shares(since: before) }
        stolenShare = (load?.stolen).map(thousandths)
        otherShare = (load?.others).map(thousandths)
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
    private static func milliseconds(_ amount: Int, at perSecond: Double) -> Double {
        perSecond > 0 ? 1000 * Double(amount) / perSecond : 0
    }

    init(_ step: EngineBenchmark.Step, _ peak: MachinePeak, threads: Int) {
        let cost = step.cost
        let level = peak.caches.level(
            holding: cost.bytes + threads * cost.scratchBytes, threads: threads)
        let scratchLevel = peak.caches.level(holding: cost.scratchBytes, threads: 1)
        // What was not measured bounds nothing: its figure is 0.
        let arithmetic = peak.macsPerSecond(cost.operand, threads: threads)
        let compute = Self.milliseconds(cost.multipliedMACs, at: arithmetic)
        let memory = Self.milliseconds(
            cost.bytes, at: peak.bytesPerSecond(level, threads: threads))
        let roof = max(compute, memory)
        let bestRoof = max(Self.milliseconds(cost.leastMACs, at: arithmetic), memory)
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
        bestRoofMilliseconds = bestRoof
        shareOfBest = milliseconds > 0 ? thousandths(bestRoof / milliseconds) : 0
        scratchTrafficBytes = cost.scratchTraffic
        scratchMilliseconds = Self.milliseconds(
            cost.scratchTraffic, at: peak.bytesPerSecond(scratchLevel, threads: threads))
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
        let bestRoof = layers.reduce(0) { $0 + $1.bestRoofMilliseconds }
        bestRoofMilliseconds = bestRoof
        shareOfBest = milliseconds > 0 ? thousandths(bestRoof / milliseconds) : 0
        scratchTrafficBytes = layers.reduce(0) { $0 + $1.scratchTrafficBytes }
        scratchMilliseconds = layers.reduce(0) { $0 + $1.scratchMilliseconds }
        self.minimumMilliseconds = minimumMilliseconds
    }
}
