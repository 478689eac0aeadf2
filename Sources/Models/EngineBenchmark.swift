// How long the engine takes for a frame: what `lucida bench engine` prints.

public import NeuralEngine

/// Times of a model at one size, measured on this machine now.
public struct EngineBenchmark: Sendable {
    /// A step of the network and its times.
    public struct Step: Sendable {
        /// For example `enc0.0.a`.
        public let name: String
        /// Fastest of all runs: on a busy machine, what the step costs when nothing interferes.
        public let minimumMilliseconds: Double
        /// Middle of all runs.
        public let medianMilliseconds: Double
        /// What it has to do at least.
        public let cost: StepCost
    }

    /// Time of every frame, in the order in which they ran.
    public let runsMilliseconds: [Double]
    /// Times of each step, measured in runs of their own.
    public let steps: [Step]
    /// Instruction set of the kernels: `scalar`, `avx2` or `avx512`.
    public let instructionSet: String
    /// Kernel family of OpenBLAS, for example `SkylakeX`.
    public let blasCore: String
    /// Threads used.
    public let threads: Int
    /// Bytes of activations, packed weights and scratch memory.
    public let arenaBytes: Int
    /// Heap allocations during all measured frames; nil in a program that does not count them.
    public let allocations: Int64?
    /// How far the network's answer is from the one that was given for comparison; nil without.
    public let relativeError: Double?

    /// Fastest frame.
    public var minimumMilliseconds: Double { percentile(0) }
    /// Middle frame.
    public var medianMilliseconds: Double { percentile(0.5) }
    /// 99 of 100 frames are at least as fast.
    public var p99Milliseconds: Double { percentile(0.99) }

    /// The smallest time that the share `quantile` (0…1) of the frames does not exceed.
    public func percentile(_ quantile: Double) -> Double {
        let sorted = runsMilliseconds.sorted()
        let rank = Int((quantile * Double(sorted.count)).rounded(.up)) - 1
        return sorted.isEmpty ? 0 : sorted[min(max(rank, 0), sorted.count - 1)]
    }

    /// Runs `iterations` frames of noise through a model, after some to warm up. Takes as long as
    /// they take; control thread.
    ///
    /// - Parameters:
    ///   - file: the model.
    ///   - width: at which the network works.
    ///   - height: likewise.
    ///   - frameWidth: of the frames; the network's if nil.
    ///   - frameHeight: likewise.
    ///   - threads: of the engine, the calling one included.
    ///   - iterations: frames to measure; at least one is.
    ///   - tuning: chooses how convolutions are computed.
    ///   - check: compared with what the network answers.
    public static func run(
        model file: String, width: Int, height: Int, frameWidth: Int? = nil,
        frameHeight: Int? = nil, threads: Int, iterations: Int,
        tuning: ConvolutionTuning = ConvolutionTuning(), check: NetworkCheck? = nil
    ) throws(ModelError) -> EngineBenchmark {
        let model = try DistilledUNet(file: file)
        let session = try model.prepare(
            frameWidth: frameWidth ?? width, frameHeight: frameHeight ?? height,
            modelWidth: width, modelHeight: height, threads: threads, tuning: tuning)
        let relativeError = try check?.relativeError(of: session)
        let frames = BenchmarkFrames(session, iterations: max(iterations, 1))
        let backend: Backend
        do throws(EngineError) {
            backend = try Backend.shared()
            try frames.measure()
        } catch {
            throw .engine(error)
        }
        return EngineBenchmark(
            runsMilliseconds: frames.milliseconds, steps: steps(of: session, frames),
            instructionSet: backend.instructionSet.rawValue, blasCore: backend.blasCore,
            threads: threads, arenaBytes: session.byteCount, allocations: frames.allocations,
            relativeError: relativeError)
    }

    private static func steps(of session: ModelSession, _ frames: BenchmarkFrames) -> [Step] {
        zip(session.stepNames, session.stepCosts).enumerated().map { index, step in
            let sorted = frames.sortedMilliseconds(ofStep: index)
            return Step(
                name: step.0, minimumMilliseconds: sorted[0],
                medianMilliseconds: sorted[sorted.count / 2], cost: step.1)
        }
    }
}
