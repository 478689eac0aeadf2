// The choice of methods: measured, remembered, and never taken from nonsense.

import Testing

@testable import NeuralEngine

struct ConvolutionTuningTests {
    private let problem = ConvolutionProblem(
        source: TensorShape(channels: 16, height: 9, width: 13),
        target: TensorShape(channels: 32, height: 9, width: 13), kernel: 3, stride: 1,
        isUpsampled: false)

    /// One that measures to the end however busy the machine is.
    private func unhurried(_ processor: String, _ choices: [String: String]) -> ConvolutionTuning {
        ConvolutionTuning(
            processor: processor, choices: choices, budgetNanoseconds: 600_000_000_000)
    }

    private func choose(
        _ tuning: ConvolutionTuning, _ problem: ConvolutionProblem,
        _ precisions: Set<Precision> = []
    ) throws -> ConvolutionMethod {
        try tuning.method(
            for: problem, precisions: precisions, backend: Backend.shared(),
            pool: WorkerPool(threads: 2))
    }

    @Test("What is measured is remembered, and then not measured again")
    func remembered() throws {
        let first = unhurried("a CPU", [:])
        let method = try choose(first, problem)
        #expect(first.hasMeasured)
        #expect(first.choices.count == 1)
        let second = unhurried("a CPU", first.choices)
        #expect(try choose(second, problem) == method)
        #expect(!second.hasMeasured)
    }

    @Test("A choice that was kept is taken, whatever a measurement would say")
    func taken() throws {
        let first = unhurried("a CPU", [:])
        _ = try choose(first, problem)
        let key = try #require(first.choices.keys.first)
        let kept = unhurried("a CPU", [key: "winograd2 f32, 7 tiles"])
        let method = try choose(kept, problem)
        #expect(method == ConvolutionMethod(algorithm: .winograd2, tiles: 7))
    }

    @Test("Another CPU, size or nonsense is measured anew")
    func measuredAnew() throws {
        let first = unhurried("a CPU", [:])
        _ = try choose(first, problem)
        let other = unhurried("another", first.choices)
        _ = try choose(other, problem)
        #expect(other.hasMeasured)
        let key = try #require(first.choices.keys.first)
        for nonsense in [
            "", "winograd4", "winograd4 f32, 0 tiles", "winograd4 f32, 5000 tiles",
            "winograd9 f32, 4 tiles", "winograd4 f32, x tiles", "winograd4 f32, 24 tiles and more",
            "winograd4 f16, 24 tiles", "direct int8, 24 tiles", "winograd4 int8, 24 tiles",
        ] {
            let tuning = unhurried("a CPU", [key: nonsense])
            _ = try choose(tuning, problem)
            #expect(tuning.hasMeasured, "\(nonsense)")
        }
    }

    @Test("A Winograd choice is not taken for a convolution with a stride")
    func onlyWherePossible() throws {
        let strided = ConvolutionProblem(
            source: problem.source, target: TensorShape(channels: 32, height: 5, width: 7),
            kernel: 3, stride: 2, isUpsampled: false)
        let first = unhurried("a CPU", [:])
        #expect(try choose(first, strided).algorithm != .winograd4)
        let key = try #require(first.choices.keys.first)
        let kept = unhurried("a CPU", [key: "winograd4 f32, 24 tiles"])
        #expect(try choose(kept, strided).algorithm != .winograd4)
    }

    @Test("A precision that is forced is taken, and each set of precisions has a choice of its own")
    func precisions() throws {
        let fast = try Backend.shared().precisions.filter { $0 != .f32 }
        let tuning = unhurried("a CPU", [:])
        for precision in fast {
            #expect(try choose(tuning, problem, [precision]).precision == precision)
        }
        _ = try choose(tuning, problem, Set(fast + [.f32]))
        #expect(try choose(tuning, problem, []).precision == .f32)
        #expect(tuning.choices.count == fast.count + (fast.isEmpty ? 1 : 2))
        // A 1 × 1 convolution knows f32 alone.
        let small = ConvolutionProblem(
            source: problem.source, target: problem.target, kernel: 1, stride: 1,
            isUpsampled: false)
        #expect(try choose(tuning, small, Set(fast)).precision == .f32)
    }

    @Test("Where the time for measuring is over, the cheapest allowed precision is taken")
    func late() throws {
        let tuning = ConvolutionTuning(processor: "a CPU", choices: [:], budgetNanoseconds: 0)
        let cheapest = try #require(Backend.shared().precisions.min())
        let method = try choose(tuning, problem, Set(Backend.shared().precisions))
        #expect(
            method == ConvolutionMethod(algorithm: .winograd4, precision: cheapest, tiles: 24))
        #expect(try choose(tuning, problem, [.f32]).precision == .f32)
        #expect(!tuning.hasMeasured)
    }
}
