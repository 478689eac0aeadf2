// Frames of noise through a session, timed on a thread of the data plane.

internal import NeuralEngine
internal import Realtime

/// The memory and the loops of a benchmark. Control thread, but for what `measure` starts, which it
/// waits for.
final class BenchmarkFrames: @unchecked Sendable {
    private let session: any FrameSession
    private let iterations: Int
    // In turn: for a network that remembers everything has moved each time.
    private let inputs: [UnsafeMutablePointer<UInt8>]
    private var turn = 0
    private let output: UnsafeMutablePointer<UInt8>
    private let stepCount: Int
    // Nanoseconds of each frame, and of each step of each frame of a second round.
    private let runs: UnsafeMutableBufferPointer<Int64>
    private let steps: UnsafeMutableBufferPointer<Int64>

    /// Heap allocations while the frames were timed; nil in a program that does not count them.
    private(set) var allocations: Int64?

    /// - Parameter iterations: frames to measure, at least one.
    init(_ session: any FrameSession, iterations: Int) {
        self.session = session
        self.iterations = iterations
        stepCount = session.stepNames.count
        let count = 3 * session.geometry.frameWidth * session.geometry.frameHeight
        inputs = (0..<2).map { _ in .allocate(capacity: count) }
        output = .allocate(capacity: count)
        // Noise, so that no branch or cache line profits from a flat picture.
        var state: UInt32 = 1
        for index in 0..<count {
            state = state &* 1_664_525 &+ 1_013_904_223
            inputs[0][index] = UInt8(state >> 24)
            output[index] = 0
        }
        let (columns, rows) = (4, 2)
        let shift = 3 * (rows * session.geometry.frameWidth + columns)
        for index in 0..<count { inputs[1][index] = inputs[0][(index + shift) % count] }
        runs = .allocate(capacity: iterations)
        runs.initialize(repeating: 0)
        steps = .allocate(capacity: iterations * stepCount)
        steps.initialize(repeating: 0)
    }

    deinit {
        for input in inputs { input.deallocate() }
        output.deallocate()
        runs.deallocate()
        steps.deallocate()
    }

    private static let roundCount = 8

    /// Runs everything, some frames to warm up first, and returns when all is measured.
    ///
    /// - Parameter betweenRounds: called before each of several parts of the frames of which steps
    ///   are timed, and after the last.
    func measure(betweenRounds: (@Sendable () -> Void)? = nil) throws(EngineError) {
        do throws(RealtimeThreadError) {
            try RealtimeThread(name: "lucida-bench") { [self] in
                for _ in 0..<min(iterations, 5) { process(nil) }
                let before = AllocationCount.current
                for index in 0..<iterations {
                    let start = MonotonicClock.nowNanoseconds
                    process(nil)
                    runs[index] = MonotonicClock.nowNanoseconds - start
                }
                if let before, let after = AllocationCount.current { allocations = after - before }
                let framesPerRound = (iterations + Self.roundCount - 1) / Self.roundCount
                for index in 0..<iterations {
                    if let betweenRounds, index % framesPerRound == 0 {
                        betweenRounds()
                        // Caches and clock as they are within a run of frames.
                        for _ in 0..<2 { process(nil) }
                    }
                    process(steps.baseAddress.map { $0 + index * stepCount })
                }
                betweenRounds?()
            }.join()
        } catch {
            throw .thread(error.description)
        }
    }

    private func process(_ stepNanoseconds: UnsafeMutablePointer<Int64>?) {
        let stride = 3 * session.geometry.frameWidth
        turn = 1 - turn
        _ = session.transform(
            FramePointers(
                frame: inputs[turn], frameStride: stride, output: output, outputStride: stride,
                strength: 1),
            stepNanoseconds: stepNanoseconds)
    }

    /// Time of every frame, in the order in which they ran.
    var milliseconds: [Double] { runs.map { Double($0) / 1e6 } }

    /// Times of one step in all frames, fastest first.
    func sortedMilliseconds(ofStep step: Int) -> [Double] {
        (0..<iterations).map { Double(steps[$0 * stepCount + step]) / 1e6 }.sorted()
    }
}
