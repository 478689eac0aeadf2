// Which method computes a convolution fastest here: found by a short measurement, then remembered.

internal import Realtime

/// Chooses the method of every convolution of a plan. Control thread, one at a time.
///
/// What is fastest depends on caches, core count and how wide the CPU multiplies, so it is measured
/// and not computed: in the network itself, since a layer alone finds other things in the caches
/// than one whose input has just been written. Results are texts under textual keys, for the caller to
/// keep on disk.
public final class ConvolutionTuning {
    private enum Mode {
        case usual
        case fixed(ConvolutionMethod)
        case measured
    }

    /// What besides the layer decides which method is fastest, and which are allowed.
    struct Context {
        /// f32 always may be used if this is empty.
        let precisions: Set<Precision>
        let backend: Backend
        let threads: Int
    }

    private let mode: Mode
    private let processor: String
    // What is left for measurements.
    private var budgetNanoseconds: Int64

    /// Choices by problem, instruction set, threads and processor: those given and those measured.
    public private(set) var choices: [String: String]
    /// Whether `choices` holds anything that was not given.
    public private(set) var hasMeasured = false

    /// Measures nothing: Winograd with tiles of 4 × 4 where it can be, direct elsewhere.
    public init() {
        mode = .usual
        processor = ""
        budgetNanoseconds = 0
        choices = [:]
    }

    /// Measures what `choices` does not know.
    ///
    /// - Parameters:
    ///   - processor: what CPU this is; choices made on another one are not taken.
    ///   - choices: as `choices` was on an earlier run; what makes no sense is measured anew.
    ///   - budgetNanoseconds: for all measurements. A camera must not be late because of them: what
    ///     has not had its turn by then has it on the next start, and at least one method more has
    ///     it each time. Where not even two can be compared, nothing is.
    public init(
        processor: String, choices: [String: String], budgetNanoseconds: Int64 = 1_500_000_000
    ) {
        mode = .measured
        self.budgetNanoseconds = budgetNanoseconds
        self.processor = processor
        self.choices = choices
    }

    /// What is known now, for plans that are made later and on other threads; it measures nothing.
    public var found: @Sendable () -> ConvolutionTuning {
        guard case .measured = mode else { return { ConvolutionTuning() } }
        return { [processor, choices] in
            ConvolutionTuning(processor: processor, choices: choices, budgetNanoseconds: 0)
        }
    }

    /// Everything that can be computed by `method` is; the rest is direct.
    init(fixed method: ConvolutionMethod) {
        mode = .fixed(method)
        processor = ""
        budgetNanoseconds = 0
        choices = [:]
    }

    /// The best known, or what is usually best.
    func method(for problem: ConvolutionProblem, _ context: Context) -> ConvolutionMethod {
        switch mode {
        case .usual: return problem.methods(context)[0]
        case .fixed(let method):
            return problem.allows(method.algorithm)
                ? method : ConvolutionMethod(algorithm: .direct, tiles: method.tiles)
        case .measured:
            return known(problem, context)?.method ?? problem.methods(context)[0]
        }
    }

    /// What has been found about a layer.
    private struct Choice {
        var method: ConvolutionMethod
        /// How many of `problem.methods` have been compared.
        var tried: Int
    }

    private func known(_ problem: ConvolutionProblem, _ context: Context) -> Choice? {
        let methods = problem.methods(context)
        let words = choices[key(problem, context)]?.split(separator: "; ") ?? []
        guard words.count == 2, let method = ConvolutionMethod(text: String(words[0])),
            let position = methods.firstIndex(of: method)
        else { return nil }
        let numbers = words[1].split(separator: " ")
        guard numbers.count == 4, let tried = Int(numbers[0]), numbers[1] == "of",
            Int(numbers[2]) == methods.count, numbers[3] == "tried", tried > position,
            tried <= methods.count
        else { return nil }
        return Choice(method: method, tried: tried)
    }

    private func key(_ problem: ConvolutionProblem, _ context: Context) -> String {
        let types = context.allowed.sorted(by: >).map(\.rawValue).joined(separator: "/")
        return "\(processor), \(context.backend.instructionSet.rawValue), "
            + "BLAS \(context.backend.blasCore), \(context.threads) threads, \(types): "
            + problem.text
    }

    /// What is left to try, the best so far first: of each problem at least one method. nil where
    /// nothing is left of any.
    func candidates(
        for problems: [ConvolutionProblem], _ context: Context
    ) -> [[ConvolutionMethod]]? {
        guard case .measured = mode, budgetNanoseconds > 0 else { return nil }
        let candidates = problems.map { problem in
            let methods = problem.methods(context)
            guard let known = known(problem, context) else { return methods }
            return [known.method] + methods[known.tried...]
        }
        return candidates.contains { $0.count > 1 } ? candidates : nil
    }

    /// Whether two methods can be compared in the time that is left, if a frame takes so long.
    func hasTime(forFrames nanoseconds: Int64) -> Bool { 4 * nanoseconds < budgetNanoseconds }

    /// Runs a network by one method of each layer after the other, and notes the fastest.
    ///
    /// - Parameters:
    ///   - steps: of all nodes in order, by method; more than one only where `candidates` has more.
    ///   - problems: those of the convolutions among the nodes, in order.
    ///   - candidates: what `candidates(for:)` said.
    func race(
        _ steps: [[ParallelWork]], of problems: [ConvolutionProblem],
        _ candidates: [[ConvolutionMethod]], pool: WorkerPool, _ context: Context,
        clock: @escaping () -> Int64 = { MonotonicClock.nowNanoseconds }
    ) {
        var race = MethodRace(steps: steps, pool: pool, clock: clock)
        let start = clock()
        race.run(budgetNanoseconds: budgetNanoseconds)
        budgetNanoseconds -= min(budgetNanoseconds, clock() - start)
        // Elementwise steps have one method, as settled convolutions have: their times are left out.
        let open = race.best.filter { $0.count > 1 }
        var results: [ConvolutionProblem: (methods: [ConvolutionMethod], times: [Int64])] = [:]
        for ((problem, methods), times) in zip(
            zip(problems, candidates).filter({ $0.1.count > 1 }), open)
        {
            let known = results[problem]?.times ?? [Int64](repeating: 0, count: times.count)
            results[problem] = (
                methods,
                zip(known, times).map { $0.addingReportingOverflow($1) }
                    .map { $0.overflow ? .max : $0.partialValue }
            )
        }
        for (problem, result) in results {
            note(problem, context, result.methods, result.times, tried: race.tried)
        }
    }

    /// A lead smaller than this is as likely noise, and would be another one next time.
    private static let lead = 0.98

    private func note(
        _ problem: ConvolutionProblem, _ context: Context, _ methods: [ConvolutionMethod],
        _ times: [Int64], tried: Int
    ) {
        let count = min(tried, methods.count)
        guard count > 1 else { return }
        var best = 0
        for index in 1..<count where times[index] < times[best] { best = index }
        if Double(times[best]) > Self.lead * Double(times[0]) { best = 0 }
        let all = problem.methods(context).count
        let before = all - methods.count
        choices[key(problem, context)] =
            "\(methods[best].text); \(before + count) of \(all) tried"
        hasMeasured = true
    }
}

/// Times every step of a network by every method.
struct MethodRace {
    private let steps: [[ParallelWork]]
    private let pool: WorkerPool
    private let clock: () -> Int64
    /// Nanoseconds of each step by each method, the least of several rounds. The largest integer: not run.
    private(set) var best: [[Int64]]
    /// How many methods have been run at least once by every step that has as many.
    private(set) var tried = 0

    private static let rounds = 8

    init(
        steps: [[ParallelWork]], pool: WorkerPool,
        clock: @escaping () -> Int64
    ) {
        self.steps = steps
        self.pool = pool
        self.clock = clock
        best = steps.map { [Int64](repeating: .max, count: $0.count) }
    }

    /// Two methods in any case, and all of them several times while there is time: interleaved, so that
    /// what disturbs the machine disturbs all of them.
    mutating func run(budgetNanoseconds: Int64) {
        let count = steps.map(\.count).max() ?? 0
        let end = clock() + budgetNanoseconds
        for round in 0..<Self.rounds {
            for method in 0..<count {
                let isNeeded = round == 0 && method < 2
                if !isNeeded && clock() > end { return }
                // Weights and tensors of another method are in the caches.
                runAll(method)
                time(method)
                tried = max(tried, method + 1)
            }
        }
    }

    private func step(_ node: Int, _ method: Int) -> ParallelWork {
        steps[node][min(method, steps[node].count - 1)]
    }

    private func runAll(_ method: Int) {
        for node in steps.indices { pool.run(step(node, method)) }
    }

    private mutating func time(_ method: Int) {
        for node in steps.indices {
            let start = clock()
            pool.run(step(node, method))
            let time = clock() - start
            // One that merely runs along has had its turns: more would be more chances.
            if method < steps[node].count { best[node][method] = min(best[node][method], time) }
        }
    }
}

extension ConvolutionTuning.Context {
    /// What is multiplied in: of what was asked for, what this CPU does fast.
    fileprivate var allowed: Set<Precision> {
        let fast = precisions.intersection(backend.precisions)
        return fast.isEmpty ? [.f32] : fast
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
            let tiles = Int(words[2])
        else { return nil }
        self.init(algorithm: algorithm, precision: precision, tiles: tiles)
    }
}

extension ConvolutionProblem {
    fileprivate var text: String {
        "\(kernel)×\(kernel)/\(stride)\(isUpsampled ? "×2" : ""), "
            + "\(source.paddedChannels)×\(source.height)×\(source.width) to "
            + "\(target.paddedChannels)"
    }

    /// What may compute it, the usual method first; at least one. Those that divide the picture into
    /// the same pieces count once.
    func methods(_ context: ConvolutionTuning.Context) -> [ConvolutionMethod] {
        var result: [ConvolutionMethod] = []
        for method in allMethods(context) where allows(method.algorithm) {
            let isKnown = result.contains {
                $0.sharesWeights(with: method)
                    && tilesPerPiece($0, threads: context.threads)
                        == tilesPerPiece(method, threads: context.threads)
            }
            if !isKnown { result.append(method) }
        }
        return result
    }

    /// By how likely they are to win. Tiles in a piece: a multiple of what every register tile takes,
    /// and fewer where a tile needs more memory.
    private func allMethods(_ context: ConvolutionTuning.Context) -> [ConvolutionMethod] {
        typealias Method = ConvolutionMethod
        let allowed = context.allowed
        let narrow = allowed.filter { $0 != .f32 }.sorted()
        var methods = [24, 12, 48].flatMap { tiles in
            narrow.flatMap { precision in
                Method.Algorithm.narrow.map {
                    Method(algorithm: $0, precision: precision, tiles: tiles)
                }
            }
        }
        let canNarrow = !narrow.isEmpty && Method.Algorithm.narrow.contains(where: allows)
        if canNarrow && !allowed.contains(.f32) { return methods }
        // Without kernels of ours OpenBLAS is faster.
        if context.backend.instructionSet == .scalar {
            methods.append(Method(algorithm: .winograd4BLAS, tiles: 24))
        }
        methods += [
            Method(algorithm: .winograd4, tiles: 24),
            Method(algorithm: .winogradStride2, tiles: 24),
            Method(algorithm: .winograd6, tiles: 24), Method(algorithm: .winograd4, tiles: 12),
            Method(algorithm: .winograd6, tiles: 12),
            Method(algorithm: .winogradStride2, tiles: 12),
            Method(algorithm: .winograd4, tiles: 48),
        ]
        // Beside a narrow type these have never come near, and every method takes time to try.
        if canNarrow { return methods }
        return methods + [
            Method(algorithm: .direct, tiles: 24), Method(algorithm: .winograd6, tiles: 6),
            Method(algorithm: .winograd4BLAS, tiles: 24),
            Method(algorithm: .winogradStride2, tiles: 6),
            Method(algorithm: .direct, tiles: 12), Method(algorithm: .direct, tiles: 60),
            Method(algorithm: .winograd2, tiles: 24), Method(algorithm: .winograd4BLAS, tiles: 60),
        ]
    }
}
