// Which method computes a convolution fastest here: found by a short measurement, then remembered.

internal import Realtime

/// Chooses the method of every convolution of a plan. Control thread, one at a time.
///
/// What is fastest depends on caches, core count and how wide the CPU multiplies, so it is measured
/// and not computed. Results are texts under textual keys, for the caller to keep on disk.
public final class ConvolutionTuning {
    private enum Mode {
        case preferred
        case fixed(ConvolutionMethod)
        case measured
    }

    private let mode: Mode
    private let processor: String
    // When to stop measuring; set by the first measurement.
    private var deadline: Int64?

    /// A camera must not be late because of this: what is left after so long is measured on the
    /// next start, and computed by the usual method until then.
    private let budgetNanoseconds: Int64

    /// Choices by problem, instruction set, threads and processor: those given and those measured.
    public private(set) var choices: [String: String]
    /// Whether `choices` holds anything that was not given.
    public private(set) var hasMeasured = false

    /// Measures nothing: Winograd with tiles of 4 × 4 where it can be, direct elsewhere.
    public init() {
        mode = .preferred
        processor = ""
        budgetNanoseconds = 0
        choices = [:]
    }

    /// Measures what `choices` does not know.
    ///
    /// - Parameters:
    ///   - processor: what CPU this is; choices made on another one are not taken.
    ///   - choices: as `choices` was on an earlier run; what makes no sense is measured anew.
    ///   - budgetNanoseconds: for all measurements together.
    public init(
        processor: String, choices: [String: String], budgetNanoseconds: Int64 = 1_500_000_000
    ) {
        mode = .measured
        self.budgetNanoseconds = budgetNanoseconds
        self.processor = processor
        self.choices = choices
    }

    /// Everything that can be computed by `method` is; the rest is direct.
    init(fixed method: ConvolutionMethod) {
        mode = .fixed(method)
        processor = ""
        budgetNanoseconds = 0
        choices = [:]
    }

    /// Tiles of a piece where nothing was measured: a multiple of what every register tile takes.
    private static let usualTiles = 24
    private static let tileCounts = [12, 18, 24, 30, 36, 48, 60]

    func method(
        for problem: ConvolutionProblem, precisions: Set<Precision>, backend: Backend,
        pool: WorkerPool
    ) throws(EngineError) -> ConvolutionMethod {
        switch mode {
        case .preferred:
            return preferred(problem, precisions)
        case .fixed(let method):
            return problem.allows(method.algorithm)
                ? method : ConvolutionMethod(algorithm: .direct, tiles: method.tiles)
        case .measured:
            let fast = precisions.intersection(backend.precisions)
            return try known(problem, fast, backend, pool)
        }
    }

    /// What is usually fastest: the cheapest precision, by Winograd.
    private func preferred(
        _ problem: ConvolutionProblem, _ precisions: Set<Precision>
    ) -> ConvolutionMethod {
        let algorithm = ConvolutionMethod.Algorithm.narrow.first(where: problem.allows)
        return ConvolutionMethod(
            algorithm: algorithm ?? .direct,
            precision: algorithm == nil ? .f32 : precisions.min() ?? .f32,
            tiles: Self.usualTiles)
    }

    private func known(
        _ problem: ConvolutionProblem, _ precisions: Set<Precision>, _ backend: Backend,
        _ pool: WorkerPool
    ) throws(EngineError) -> ConvolutionMethod {
        let candidates = candidates(problem, precisions)
        let types = Set(candidates.map(\.precision)).sorted(by: >).map(\.rawValue)
        let key =
            "\(processor), \(backend.instructionSet.rawValue), BLAS \(backend.blasCore), "
            + "\(pool.threads) threads, \(types.joined(separator: "/")): \(problem.key)"
        if let choice = choices[key].flatMap(ConvolutionMethod.init(text:)),
            candidates.contains(where: {
                $0.algorithm == choice.algorithm && $0.precision == choice.precision
            })
        {
            return choice
        }
        let end = deadline ?? MonotonicClock.nowNanoseconds + budgetNanoseconds
        deadline = end
        let race = Race(
            problem: problem.shortened, backend: backend, pool: pool, deadline: end)
        // First the algorithm, then how much of the picture is a piece.
        guard
            let winner = try race.fastest(of: candidates),
            let choice = try race.fastest(
                of: Self.tileCounts.map {
                    ConvolutionMethod(
                        algorithm: winner.algorithm, precision: winner.precision, tiles: $0)
                })
        else { return preferred(problem, precisions) }
        choices[key] = choice.text
        hasMeasured = true
        return choice
    }

    /// Where something narrower is allowed, f32 takes part by its two fastest sizes alone: the others
    /// have never come near, and a first start must not take longer for having more to choose from.
    private func candidates(
        _ problem: ConvolutionProblem, _ precisions: Set<Precision>
    ) -> [ConvolutionMethod] {
        let narrow = precisions.filter { $0 != .f32 }.sorted().flatMap { precision in
            ConvolutionMethod.Algorithm.narrow.filter(problem.allows).map {
                ConvolutionMethod(algorithm: $0, precision: precision, tiles: Self.usualTiles)
            }
        }
        let inF32: [ConvolutionMethod.Algorithm] =
            narrow.isEmpty
            ? ConvolutionMethod.Algorithm.allCases
            : precisions.contains(.f32) ? [.winograd4, .winograd6, .winogradStride2] : []
        return narrow
            + inF32.filter(problem.allows).map {
                ConvolutionMethod(algorithm: $0, tiles: Self.usualTiles)
            }
    }
}

extension ConvolutionMethod.Algorithm {
    /// Those that can multiply other types than f32.
    static let narrow: [Self] = [.winograd4, .winogradStride2]
}

extension ConvolutionMethod {
    /// For people and for `init(text:)`: `winograd4 bf16, 24 tiles`.
    var text: String { "\(algorithm.rawValue) \(precision.rawValue), \(tiles) tiles" }

    /// What `text` said; nil if it is something else.
    init?(text: String) {
        let words = text.split(separator: " ")
        guard words.count == 4, words[1].last == ",", words[3] == "tiles",
            let algorithm = Algorithm(rawValue: String(words[0])),
            let precision = Precision(rawValue: String(words[1].dropLast())),
            let tiles = Int(words[2]), (1...4096).contains(tiles),
            precision == .f32 || Algorithm.narrow.contains(algorithm)
        else { return nil }
        self.init(algorithm: algorithm, precision: precision, tiles: tiles)
    }
}

extension ConvolutionProblem {
    fileprivate var key: String {
        "\(kernel)×\(kernel)/\(stride)\(isUpsampled ? "×2" : ""), "
            + "\(source.paddedChannels)×\(source.height)×\(source.width) to "
            + "\(target.paddedChannels)"
    }

    /// The same with fewer rows: large pictures would take memory and time to measure, and their
    /// further rows tell nothing new.
    fileprivate var shortened: ConvolutionProblem {
        let floats = 1 << 20
        let perRow = max(source.paddedChannels, target.paddedChannels) * source.width
        let rows = min(source.height, max(24, floats / perRow / 24 * 24))
        let source = TensorShape(
            channels: source.channels, height: rows, width: source.width)
        return ConvolutionProblem(
            source: source,
            target: TensorShape(
                channels: target.channels,
                height: isUpsampled ? 2 * rows : (rows - 1) / stride + 1, width: target.width),
            kernel: kernel, stride: stride, isUpsampled: isUpsampled)
    }
}

/// Methods of one problem, run in turn.
private struct Race {
    let problem: ConvolutionProblem
    let backend: Backend
    let pool: WorkerPool
    let deadline: Int64

    private var isLate: Bool { MonotonicClock.nowNanoseconds > deadline }

    /// Minima of interleaved rounds: what disturbs the machine disturbs all of them. The second of
    /// two runs counts, because in a network the layer before has just left its result in the
    /// caches; cold runs all cost the same, and more. Nil: not finished before the deadline.
    func fastest(of methods: [ConvolutionMethod]) throws(EngineError) -> ConvolutionMethod? {
        var plans: [Plan] = []
        for method in methods {
            if isLate { return nil }
            plans.append(try plan(method))
        }
        var best = [Int64](repeating: .max, count: plans.count)
        let rounds = 8
        for _ in 0..<rounds {
            for (index, plan) in plans.enumerated() {
                if isLate { return nil }
                plan.run()
                let start = MonotonicClock.nowNanoseconds
                plan.run()
                best[index] = min(best[index], MonotonicClock.nowNanoseconds - start)
            }
        }
        let winner = best.indices.min { best[$0] < best[$1] } ?? 0
        return methods[winner]
    }

    private func plan(_ method: ConvolutionMethod) throws(EngineError) -> Plan {
        let builder = PlanBuilder(
            backend: backend, pool: pool, tuning: ConvolutionTuning(fixed: method))
        let x = builder.input(problem.source)
        let weights = try ConvolutionWeights(
            outputs: problem.target.channels, inputs: problem.source.channels,
            kernel: problem.kernel,
            values: [Float](
                repeating: 0.01,
                count: problem.target.channels * problem.source.channels * problem.kernel
                    * problem.kernel))
        let y =
            problem.isUpsampled
            ? try builder.convolutionUpsampled2("tuning", x, weights)
            : try builder.convolution("tuning", x, weights, stride: problem.stride)
        return try builder.build(outputs: [y])
    }
}
