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
    /// In what the convolutions were multiplied, for example `int8 (12), f32 (6)`.
    public let precision: String
    /// Why in these.
    public let precisionReason: String
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
    ///   - wanted: precision; nil: the fastest that the model's calibration allows.
    ///   - look: of the pictures; nil: the model's first style.
    ///   - check: compared with what the network answers.
    ///   - betweenRounds: called on the thread that measures, a few times between the frames of
    ///     which steps are timed: for what is to be measured under the same conditions.
    public static func run(
        model file: String, width: Int, height: Int, frameWidth: Int? = nil,
        frameHeight: Int? = nil, threads: Int, iterations: Int,
        tuning: ConvolutionTuning = ConvolutionTuning(), wanted: Precision? = .f32,
        look: Look? = nil, check: NetworkCheck? = nil, betweenRounds: (@Sendable () -> Void)? = nil
    ) throws(ModelError) -> EngineBenchmark {
        let model = try loadModel(file: file)
        let backend: Backend
        do throws(EngineError) {
            backend = try Backend.shared()
        } catch {
            throw .engine(error)
        }
        let choice = PrecisionChoice(
            wanted: wanted, file: model.file, supported: backend.precisions)
        var request = SessionRequest(
            width: width, height: height, threads: threads, look: look ?? model.file.firstLook)
        request.frameWidth = frameWidth ?? width
        request.frameHeight = frameHeight ?? height
        request.tuning = tuning
        request.precisions = choice.allowed
        let session = try model.prepare(request)
        let relativeError = try check?.relativeError(of: session)
        let frames = BenchmarkFrames(session, iterations: max(iterations, 1))
        do throws(EngineError) {
            try frames.measure(betweenRounds: betweenRounds)
        } catch {
            throw .engine(error)
        }
        return EngineBenchmark(
            runsMilliseconds: frames.milliseconds, steps: steps(of: session, frames),
            instructionSet: backend.instructionSet.rawValue, blasCore: backend.blasCore,
            precision: session.precision, precisionReason: choice.reason, threads: threads,
            arenaBytes: session.byteCount, allocations: frames.allocations,
            relativeError: relativeError)
    }

    private static func steps(of session: any FrameSession, _ frames: BenchmarkFrames) -> [Step] {
        zip(session.stepNames, session.stepCosts).enumerated().map { index, step in
            let sorted = frames.sortedMilliseconds(ofStep: index)
            return Step(
                name: step.0, minimumMilliseconds: sorted[0],
                medianMilliseconds: sorted[sorted.count / 2], cost: step.1)
        }
    }
}
