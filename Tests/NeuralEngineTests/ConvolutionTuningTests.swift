// The choice of methods: measured, remembered, and never taken from nonsense.

import Testing

@testable import NeuralEngine

struct ConvolutionTuningTests {
    private let problem = ConvolutionProblem(
        source: TensorShape(channels: 16, height: 9, width: 13),
        target: TensorShape(channels: 32, height: 9, width: 13), kernel: 3, stride: 1,
        isUpsampled: false)

    private func choose(
        _ tuning: ConvolutionTuning, _ problem: ConvolutionProblem
    ) throws -> ConvolutionMethod {
        try tuning.method(
            for: problem, backend: Backend.shared(), pool: WorkerPool(threads: 2))
    }

    @Test("What is measured is remembered, and then not measured again")
    func remembered() throws {
        let first = ConvolutionTuning(processor: "a CPU", choices: [:])
        let method = try choose(first, problem)
        #expect(first.hasMeasured)
        #expect(first.choices.count == 1)
        let second = ConvolutionTuning(processor: "a CPU", choices: first.choices)
        #expect(try choose(second, problem) == method)
        #expect(!second.hasMeasured)
    }

    @Test("A choice that was kept is taken, whatever a measurement would say")
    func taken() throws {
        let first = ConvolutionTuning(processor: "a CPU", choices: [:])
        _ = try choose(first, problem)
        let key = try #require(first.choices.keys.first)
        let kept = ConvolutionTuning(processor: "a CPU", choices: [key: "winograd2, 7 tiles"])
        let method = try choose(kept, problem)
        #expect(method == ConvolutionMethod(algorithm: .winograd2, tiles: 7))
    }

    @Test("Another CPU, size or nonsense is measured anew")
    func measuredAnew() throws {
        let first = ConvolutionTuning(processor: "a CPU", choices: [:])
        _ = try choose(first, problem)
        let other = ConvolutionTuning(processor: "another", choices: first.choices)
        _ = try choose(other, problem)
        #expect(other.hasMeasured)
        let key = try #require(first.choices.keys.first)
        for nonsense in [
            "", "winograd4", "winograd4, 0 tiles", "winograd4, 5000 tiles", "winograd9, 4 tiles",
            "winograd4, x tiles", "winograd4, 24 tiles and more",
        ] {
            let tuning = ConvolutionTuning(processor: "a CPU", choices: [key: nonsense])
            _ = try choose(tuning, problem)
            #expect(tuning.hasMeasured, "\(nonsense)")
        }
    }

    @Test("A Winograd choice is not taken for a convolution with a stride")
    func onlyWherePossible() throws {
        let strided = ConvolutionProblem(
            source: problem.source, target: TensorShape(channels: 32, height: 5, width: 7),
            kernel: 3, stride: 2, isUpsampled: false)
        let first = ConvolutionTuning(processor: "a CPU", choices: [:])
        #expect(try choose(first, strided).algorithm == .direct)
        let key = try #require(first.choices.keys.first)
        let kept = ConvolutionTuning(
            processor: "a CPU", choices: [key: "winograd4, 24 tiles"])
        #expect(try choose(kept, strided).algorithm == .direct)
    }
}
