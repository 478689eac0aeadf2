// The choice of methods: measured, remembered, and never taken from nonsense.

import Testing

@testable import NeuralEngine

struct ConvolutionTuningTests {
    private let problem = ConvolutionProblem(
        source: TensorShape(channels: 16, height: 9, width: 13),
        target: TensorShape(channels: 32, height: 9, width: 13), kernel: 3, stride: 1,
        isUpsampled: false)

    private func context(_ precisions: Set<Precision>) throws -> ConvolutionTuning.Context {
        ConvolutionTuning.Context(
            precisions: precisions, backend: try Backend.shared(), threads: 2)
    }

    /// Builds a plan of one convolution: what the tuning chose for it.
    private func choose(
        _ tuning: ConvolutionTuning, _ problem: ConvolutionProblem,
        _ precisions: Set<Precision> = []
    ) throws -> ConvolutionMethod {
        let builder = PlanBuilder(
            backend: try Backend.shared(), pool: try WorkerPool(threads: 2), tuning: tuning,
            precisions: precisions)
        let count =
            problem.source.channels * problem.target.channels * problem.kernel * problem.kernel
        let y = try builder.convolution(
            "", builder.input(problem.source),
            ConvolutionWeights(
                outputs: problem.target.channels, inputs: problem.source.channels,
                kernel: problem.kernel, values: [Float](repeating: 0.01, count: count)),
            stride: problem.stride)
        let plan = try builder.build(outputs: [y])
        let method = tuning.method(for: problem, try context(precisions))
        #expect(plan.precisions == [method.precision])
        return method
    }

    private func tuning(
        _ choices: [String: String] = [:], processor: String = "a CPU",
        budget: Int64 = 600_000_000_000
    ) -> ConvolutionTuning {
        ConvolutionTuning(processor: processor, choices: choices, budgetNanoseconds: budget)
    }

    @Test("What is measured is remembered, and then not measured again")
    func remembered() throws {
        let first = tuning()
        let method = try choose(first, problem)
        #expect(first.hasMeasured)
        #expect(first.choices.count == 1)
        let second = tuning(first.choices)
        #expect(try choose(second, problem) == method)
        #expect(!second.hasMeasured)
    }

    @Test("A choice that was kept is taken, whatever a measurement would say")
    func taken() throws {
        let first = tuning()
        _ = try choose(first, problem)
        let (key, found) = try #require(first.choices.first)
        let tried = try #require(found.split(separator: "; ").last)
        for method in problem.methods(try context([])) {
            let kept = tuning([key: "\(method.text); \(tried)"])
            #expect(try choose(kept, problem) == method)
            #expect(!kept.hasMeasured)
        }
    }

    @Test("Another CPU, size or nonsense is measured anew")
    func measuredAnew() throws {
        let first = tuning()
        _ = try choose(first, problem)
        let other = tuning(first.choices, processor: "another")
        _ = try choose(other, problem)
        #expect(other.hasMeasured)
        let (key, found) = try #require(first.choices.first)
        let count = problem.methods(try context([])).count
        #expect(found.hasSuffix("; \(count) of \(count) tried"))
        for nonsense in [
            "", "winograd4", "winograd4 f32, 24 tiles", "winograd4 f32, 24 tiles; ",
            "winograd4 f32, 0 tiles; \(count) of \(count) tried",
            "winograd9 f32, 24 tiles; \(count) of \(count) tried",
            "winograd4 f16, 24 tiles; \(count) of \(count) tried",
            "direct int8, 24 tiles; \(count) of \(count) tried",
            "winograd4 int8, 24 tiles; \(count) of \(count) tried",
            "winogradStride2 f32, 24 tiles; \(count) of \(count) tried",
            "winograd4 f32, 24 tiles; 0 of \(count) tried",
            "winograd4 f32, 24 tiles; -3 of \(count) tried",
            "winograd4 f32, 24 tiles; \(count + 1) of \(count) tried",
            "winograd4 f32, 24 tiles; \(count) of \(count + 1) tried",
            "winograd4 f32, 24 tiles; 99999999999999999999 of \(count) tried",
            "winograd4 f32, 24 tiles; \(count) of \(count) tried; and more",
        ] {
            let tuning = tuning([key: nonsense])
            _ = try choose(tuning, problem)
            #expect(tuning.hasMeasured, "\(nonsense)")
            #expect(tuning.choices[key]?.hasSuffix("\(count) of \(count) tried") ?? false)
        }
    }

    @Test("A convolution with a stride is computed by what can compute it")
    func onlyWherePossible() throws {
        let strided = ConvolutionProblem(
            source: problem.source, target: TensorShape(channels: 32, height: 5, width: 7),
            kernel: 3, stride: 2, isUpsampled: false)
        let possible: [ConvolutionMethod.Algorithm] = [.direct, .winogradStride2]
        #expect(possible.contains(try choose(tuning(), strided).algorithm))
        #expect(try choose(ConvolutionTuning(), strided).algorithm == .winogradStride2)
    }

    @Test("A precision that is forced is taken, and each set of precisions has a choice of its own")
    func precisions() throws {
        let fast = try Backend.shared().precisions.filter { $0 != .f32 }
        let tuning = tuning()
        for precision in fast {
            #expect(try choose(tuning, problem, [precision]).precision == precision)
        }
        _ = try choose(tuning, problem, Set(fast + [.f32]))
        #expect(try choose(tuning, problem, []).precision == .f32)
        // This layer is so small that a forced precision leaves nothing to choose.
        let open = try ([[], Set(fast + [.f32])] + fast.map { [$0] }).filter {
            try problem.methods(context($0)).count > 1
        }
        #expect(tuning.choices.count == Set(open).count && !open.isEmpty)
        // A 1 × 1 convolution knows f32 alone.
        let small = ConvolutionProblem(
            source: problem.source, target: problem.target, kernel: 1, stride: 1,
            isUpsampled: false)
        #expect(try choose(tuning, small, Set(fast)).precision == .f32)
    }

    @Test("Without time to measure, the cheapest allowed precision is taken")
    func late() throws {
        let tuning = tuning(budget: 0)
        let backend = try Backend.shared()
        let cheapest = try #require(backend.precisions.min())
        let usual = backend.instructionSet == .scalar ? "winograd4BLAS" : "winograd4"
        #expect(
            try choose(tuning, problem, Set(backend.precisions)).text
                == "\(usual) \(cheapest.rawValue), 24 tiles")
        #expect(try choose(tuning, problem, [.f32]).precision == .f32)
        #expect(!tuning.hasMeasured)
    }

    @Test("However little time there is, each start tries another method, and then it is over")
    func progress() throws {
        let context = try context([])
        let pool = try WorkerPool(threads: 1)
        let count = problem.methods(context).count
        #expect(count > 3)
        var choices: [String: String] = [:]
        for tried in 2...count {
            let tuning = tuning(choices, budget: 1)
            let candidates = try #require(tuning.candidates(for: [problem], context))
            let time = Time()
            let steps = candidates[0].map { _ in Waiting(time, nanoseconds: 100) }
            tuning.race(
                [steps], of: [problem], candidates, pool: pool, context,
                clock: { time.nanoseconds })
            #expect(steps.filter { $0.runs > 0 }.count == 2)
            #expect(tuning.hasMeasured)
            choices = tuning.choices
            #expect(choices.values.first?.hasSuffix("; \(tried) of \(count) tried") ?? false)
        }
        #expect(tuning(choices, budget: 1).candidates(for: [problem], context) == nil)
    }

    @Test("Where frames take so long that no two methods can be compared, none is")
    func tooSlow() throws {
        #expect(tuning(budget: 401).hasTime(forFrames: 100))
        #expect(!tuning(budget: 400).hasTime(forFrames: 100))
        let tuning = tuning(budget: 1)
        _ = try choose(tuning, problem)
        #expect(!tuning.hasMeasured)
    }

    @Test("Methods that divide a small picture into the same pieces are tried once")
    func duplicates() throws {
        let methods = problem.methods(try context([]))
        let pieces = methods.map {
            "\($0.algorithm) \(problem.tilesPerPiece($0, threads: 2))"
        }
        #expect(Set(pieces).count == methods.count)
    }

    /// A clock that only work moves.
    private final class Time {
        var nanoseconds: Int64 = 0
    }

    private final class Waiting: ParallelWork {
        private let time: Time
        private let nanoseconds: [Int64]
        private(set) var runs = 0

        convenience init(_ time: Time, nanoseconds: Int64...) { self.init(time, nanoseconds) }

        /// Takes each of `nanoseconds` in turn, the last one from then on.
        init(_ time: Time, _ nanoseconds: [Int64]) {
            self.time = time
            self.nanoseconds = nanoseconds
            super.init(name: "waiting", pieces: 1)
        }

        override func perform(piece: Int, worker: Int) {
            time.nanoseconds += nanoseconds[min(runs, nanoseconds.count - 1)]
            runs += 1
        }
    }

    @Test("Steps with fewer methods run along; of each method the shortest warm run counts")
    func race() throws {
        let time = Time()
        let single = Waiting(time, nanoseconds: 5)
        let several = [
            Waiting(time, nanoseconds: 1, 90, 70, 60, 80), Waiting(time, nanoseconds: 1, 30),
            Waiting(time, nanoseconds: 900),
        ]
        var race = MethodRace(
            steps: [[single], several], pool: try WorkerPool(threads: 1),
            clock: { time.nanoseconds })
        race.run(budgetNanoseconds: 1_000_000)
        #expect(race.tried == 3)
        #expect(single.runs == several.reduce(0) { $0 + $1.runs })
        #expect(Set(several.map(\.runs)).count == 1)
        #expect(race.best == [[5], [60, 30, 900]])
    }

    @Test("A step with fewer methods gets no more chances than others")
    func raceIsFair() throws {
        let time = Time()
        // Each run of the second is shorter than the one before; it would win with more of them.
        let falling = (0..<200).map { Int64(1000 - $0) }
        let short = [Waiting(time, nanoseconds: 900), Waiting(time, falling)]
        let long = (0..<6).map { _ in Waiting(time, nanoseconds: 10) }
        var race = MethodRace(
            steps: [short, long], pool: try WorkerPool(threads: 1), clock: { time.nanoseconds })
        race.run(budgetNanoseconds: 1_000_000_000)
        // Eight rounds, in each of which it runs ten times and is timed for itself once.
        #expect(race.best[0] == [900, 1000 - (7 * 10 + 1)])
    }

    @Test("When time is up, what has not had its turn has not run")
    func raceEnds() throws {
        let time = Time()
        let steps = (0..<4).map { _ in Waiting(time, nanoseconds: 100) }
        var race = MethodRace(
            steps: [steps], pool: try WorkerPool(threads: 1), clock: { time.nanoseconds })
        race.run(budgetNanoseconds: 500)
        #expect(race.tried == 3)
        #expect(steps.map(\.runs) == [2, 2, 2, 0])
        #expect(race.best == [[100, 100, 100, .max]])
    }
}
