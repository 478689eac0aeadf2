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
    private static let budgetNanoseconds: Int64 = 1_500_000_000

    /// Choices by problem, instruction set, threads and processor: those given and those measured.
    public private(set) var choices: [String: String]
    /// Whether `choices` holds anything that was not given.
    public private(set) var hasMeasured = false

    /// Measures nothing: Winograd with tiles of 4 × 4 where it can be, direct elsewhere.
    public init() {
        mode = .preferred
        processor = ""
        choices = [:]
    }

    /// Measures what `choices` does not know.
    ///
    /// - Parameters:
    ///   - processor: what CPU this is; choices made on another one are not taken.
    ///   - choices: as `choices` was on an earlier run; what makes no sense is measured anew.
    public init(processor: String, choices: [String: String]) {
        mode = .measured
        self.processor = processor
        self.choices = choices
    }

    /// Everything that can be computed by `method` is; the rest is direct.
    init(fixed method: ConvolutionMethod) {
        mode = .fixed(method)
        processor = ""
        choices = [:]
    }

    /// Tiles of a piece where nothing was measured: a multiple of what every register tile takes.
    private static let usualTiles = 24
    private static let tileCounts = [12, 18, 24, 30, 36, 48, 60]

    func method(
        for problem: ConvolutionProblem, backend: Backend, pool: WorkerPool
    ) throws(EngineError) -> ConvolutionMethod {
        switch mode {
        case .preferred:
            return preferred(problem)
        case .fixed(let method):
            return ConvolutionMethod(
                algorithm: problem.allows(method.algorithm) ? method.algorithm : .direct,
                tiles: method.tiles)
        case .measured:
            return try known(problem, backend, pool)
        }
    }

    private func preferred(_ problem: ConvolutionProblem) -> ConvolutionMethod {
        let algorithm = [ConvolutionMethod.Algorithm.winograd4, .winogradStride2]
            .first(where: problem.allows)
        return ConvolutionMethod(algorithm: algorithm ?? .direct, tiles: Self.usualTiles)
    }

    private func known(
        _ problem: ConvolutionProblem, _ backend: Backend, _ pool: WorkerPool
    ) throws(EngineError) -> ConvolutionMethod {
        let key =
            "\(processor), \(backend.instructionSet.rawValue), BLAS \(backend.blasCore), "
            + "\(pool.threads) threads: \(problem.key)"
        let algorithms = ConvolutionMethod.Algorithm.allCases.filter(problem.allows)
        if let choice = choices[key].flatMap(ConvolutionMethod.init(text:)),
            algorithms.contains(choice.algorithm)
        {
            return choice
        }
        let end = deadline ?? MonotonicClock.nowNanoseconds + Self.budgetNanoseconds
        deadline = end
        let race = Race(
            problem: problem.shortened, backend: backend, pool: pool, deadline: end)
        // First the algorithm, then how much of the picture is a piece.
        guard
            let winner = try race.fastest(
                of: algorithms.map { ConvolutionMethod(algorithm: $0, tiles: Self.usualTiles) }),
            let choice = try race.fastest(
                of: Self.tileCounts.map {
                    ConvolutionMethod(algorithm: winner.algorithm, tiles: $0)
                })
        else { return preferred(problem) }
        choices[key] = choice.text
        hasMeasured = true
        return choice
    }
}

extension ConvolutionMethod {
    /// For people and for `init(text:)`: `winograd6, 24 tiles`.
    var text: String { "\(algorithm.rawValue), \(tiles) tiles" }

    /// What `text` said; nil if it is something else.
    init?(text: String) {
        let words = text.split(separator: " ")
        guard words.count == 3, words[0].last == ",", words[2] == "tiles",
            let algorithm = Algorithm(rawValue: String(words[0].dropLast())),
            let tiles = Int(words[1]), (1...4096).contains(tiles)
        else { return nil }
        self.init(algorithm: algorithm, tiles: tiles)
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
