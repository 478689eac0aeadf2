// How long the engine takes for a frame: what `lucida bench engine` prints.

public import NeuralEngine
internal import Realtime

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
    /// Threads used.
    public let threads: Int
    /// Bytes of activations, packed weights and scratch memory.
    public let arenaBytes: Int

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
    public static func run(
        model file: String, width: Int, height: Int, frameWidth: Int? = nil,
        frameHeight: Int? = nil, threads: Int, iterations: Int,
        tuning: ConvolutionTuning = ConvolutionTuning(), wanted: Precision? = .f32
    ) throws(ModelError) -> EngineBenchmark {
        let model = try DistilledUNet(file: file)
        let backend: Backend
        do throws(EngineError) {
            backend = try Backend.shared()
        } catch {
            throw .engine(error)
        }
        let choice = PrecisionChoice(
            wanted: wanted, file: model.file, supported: backend.precisions)
        let session = try model.prepare(
            frameWidth: frameWidth ?? width, frameHeight: frameHeight ?? height,
            modelWidth: width, modelHeight: height, threads: threads, tuning: tuning,
            precisions: choice.allowed)
        let stride = 3 * session.geometry.frameWidth
        let count = stride * session.geometry.frameHeight
        let input = UnsafeMutablePointer<UInt8>.allocate(capacity: count)
        let output = UnsafeMutablePointer<UInt8>.allocate(capacity: count)
        defer {
            input.deallocate()
            output.deallocate()
        }
        // Noise, so that no branch or cache line profits from a flat picture.
        var state: UInt32 = 1
        for index in 0..<count {
            state = state &* 1_664_525 &+ 1_013_904_223
            input[index] = UInt8(state >> 24)
            output[index] = 0
        }
        let pointers = FramePointers(
            frame: input, frameStride: stride, output: output, outputStride: stride, strength: 1)
        let runs = measureRuns(session, pointers, iterations)
        return EngineBenchmark(
            runsMilliseconds: runs, steps: measureSteps(session, pointers, iterations),
            instructionSet: backend.instructionSet.rawValue, blasCore: backend.blasCore,
            precision: session.precision, threads: threads, arenaBytes: session.byteCount)
    }

    private static func measureRuns(
        _ session: ModelSession, _ pointers: FramePointers, _ iterations: Int
    ) -> [Double] {
        for _ in 0..<min(iterations, 5) { _ = session.process(pointers, stepNanoseconds: nil) }
        return (0..<max(iterations, 1)).map { _ in
            let start = MonotonicClock.nowNanoseconds
            _ = session.process(pointers, stepNanoseconds: nil)
            return Double(MonotonicClock.nowNanoseconds - start) / 1e6
        }
    }

    private static func measureSteps(
        _ session: ModelSession, _ pointers: FramePointers, _ iterations: Int
    ) -> [Step] {
        let names = session.stepNames
        let runs = max(iterations, 1)
        // Run after run, the steps of each in order.
        var times = [Int64](repeating: 0, count: names.count * runs)
        times.withUnsafeMutableBufferPointer { buffer in
            guard let base = buffer.baseAddress else { return }
            for run in 0..<runs {
                _ = session.process(pointers, stepNanoseconds: base + run * names.count)
            }
        }
        return names.enumerated().map { index, name in
            let sorted = (0..<runs).map { times[$0 * names.count + index] }.sorted()
            return Step(
                name: name, minimumMilliseconds: Double(sorted[0]) / 1e6,
                medianMilliseconds: Double(sorted[runs / 2]) / 1e6)
        }
    }
}
