// Measures what this machine can do at best: multiply-accumulates without memory, and memory without
// arithmetic. Control thread; takes a few seconds.

internal import CKernels
internal import Realtime

/// The ceilings of a roofline, measured now: the best of several short rounds, because other
/// programs only ever make a round slower.
public struct MachinePeak: Sendable {
    /// Throughput of a multiply-accumulate instruction.
    public struct Arithmetic: Sendable {
        /// What is multiplied.
        public let operand: MultiplyOperand
        /// Threads that did so at once.
        public let threads: Int
        /// Of all threads together.
        public let macsPerSecond: Double
    }

    /// Throughput of one level of memory.
    public struct Bandwidth: Sendable {
        /// Where the working set fits.
        public let level: MemoryLevel
        /// Threads that read or copied at once.
        public let threads: Int
        /// Bytes that were gone through again and again, of all threads together.
        public let workingSetBytes: Int
        /// Bytes read by all threads together.
        public let readBytesPerSecond: Double
        /// Bytes read plus bytes written.
        public let copyBytesPerSecond: Double
    }

    /// Instruction set whose instructions were measured.
    public let instructionSet: InstructionSet
    /// For each operand that the CPU multiplies, with one thread and with all.
    public let arithmetic: [Arithmetic]
    /// For each level, with one thread and with all.
    public let bandwidths: [Bandwidth]
    /// Sizes of the caches.
    public let caches: CacheSizes

    /// Measures with one thread and with `threads`.
    ///
    /// - Throws: if threads or memory are refused.
    public static func measure(threads: Int) throws(EngineError) -> MachinePeak {
        try measure(threads: threads, caches: CacheSizes())
    }

    static func measure(threads: Int, caches: CacheSizes) throws(EngineError) -> MachinePeak {
        let set = try Backend.shared().instructionSet
        let memory = try PeakMemory(caches, set, threads: threads)
        var arithmetic: [Probe<MultiplyWork>] = []
        var reads: [Probe<MemoryWork>] = []
        var copies: [Probe<MemoryWork>] = []
        for count in threads > 1 ? [1, threads] : [1] {
            let pool = try WorkerPool(threads: count)
            for operand in MultiplyOperand.allCases {
                guard let work = MultiplyWork(operand, set, threads: count) else { continue }
                arithmetic.append(Probe(work, pool))
            }
            for level in caches.levels {
                func work(isCopy: Bool) -> MemoryWork {
                    MemoryWork(level, caches, memory, threads: count, isCopy: isCopy)
                }
                reads.append(Probe(work(isCopy: false), pool))
                copies.append(Probe(work(isCopy: true), pool))
            }
        }
        // In turn, so that what disturbs the machine for a while spoils one sweep of each alone.
        for _ in 0..<8 { (arithmetic as [any Sweeping] + reads + copies).forEach { $0.sweep() } }
        return MachinePeak(
            instructionSet: set, arithmetic: arithmetic.map(Arithmetic.init),
            bandwidths: zip(reads, copies).map(Bandwidth.init), caches: caches)
    }

    /// Multiply-accumulates a second; 0 if that was not measured.
    public func macsPerSecond(_ operand: MultiplyOperand, threads: Int) -> Double {
        arithmetic.first { $0.operand == operand && $0.threads == threads }?.macsPerSecond ?? 0
    }

    /// Bytes read a second; 0 if that was not measured.
    public func readBytesPerSecond(_ level: MemoryLevel, threads: Int) -> Double {
        bandwidths.first { $0.level == level && $0.threads == threads }?.readBytesPerSecond ?? 0
    }
}

extension MachinePeak.Arithmetic {
    fileprivate init(_ probe: Probe<MultiplyWork>) {
        operand = probe.work.operand
        threads = probe.pool.threads
        macsPerSecond = Double(probe.work.macs) / probe.seconds
    }
}

extension MachinePeak.Bandwidth {
    fileprivate init(_ read: Probe<MemoryWork>, _ copy: Probe<MemoryWork>) {
        level = read.work.level
        threads = read.pool.threads
        workingSetBytes = read.work.workingSetBytes
        readBytesPerSecond = Double(read.work.traffic) / read.seconds
        copyBytesPerSecond = Double(copy.work.traffic) / copy.seconds
    }
}

private protocol Sweeping {
    func sweep()
}

/// Some work and its fastest dispatch so far.
private final class Probe<Work: ParallelWork>: Sweeping {
    let work: Work
    let pool: WorkerPool
    private var best = Int64.max

    init(_ work: Work, _ pool: WorkerPool) {
        self.work = work
        self.pool = pool
    }

    var seconds: Double { Double(max(best, 1)) / 1e9 }

    /// One dispatch to warm up, then as many as fit into 20 ms, and three at least.
    func sweep() {
        pool.run(work)
        let start = MonotonicClock.nowNanoseconds
        var rounds = 0
        while rounds < 3 || MonotonicClock.nowNanoseconds - start < 20_000_000 {
            let began = MonotonicClock.nowNanoseconds
            pool.run(work)
            best = min(best, MonotonicClock.nowNanoseconds - began)
            rounds += 1
        }
    }
}

/// Multiply-accumulates on registers alone.
private final class MultiplyWork: ParallelWork {
    let operand: MultiplyOperand

    private let loop: ck_peak_loop
    private let operands: UnsafeMutableRawPointer
    // Per worker.
    private let sums: UnsafeMutableRawPointer

    private static let roundsPerPiece = 5000
    private static let sumBytes = Int(CK_PEAK_SUM_BYTES)

    /// Nil if `set` has no such instruction here.
    init?(_ operand: MultiplyOperand, _ set: InstructionSet, threads: Int) {
        self.operand = operand
        loop = ck_peak_loop_for(set.code, operand.peakCode)
        guard loop.run != nil else { return nil }
        operands = .allocate(byteCount: Int(CK_PEAK_OPERAND_BYTES), alignment: 64)
        sums = .allocate(byteCount: threads * Self.sumBytes, alignment: 64)
        // Small and normal as f32 and bf16, so that no sum slows down or overflows.
        operands.initializeMemory(
            as: UInt32.self, repeating: 0x3a01_3a01, count: Int(CK_PEAK_OPERAND_BYTES) / 4)
        sums.initializeMemory(as: UInt32.self, repeating: 0, count: threads * Self.sumBytes / 4)
        super.init(name: operand.rawValue, pieces: 16 * threads)
    }

    deinit {
        operands.deallocate()
        sums.deallocate()
    }

    /// Multiply-accumulates of one dispatch.
    var macs: Int { pieces * Self.roundsPerPiece * Int(loop.macs) }

    override func perform(piece: Int, worker: Int) {
        loop.run?(operands, Self.roundsPerPiece, sums + worker * Self.sumBytes)
    }
}

/// The memory that all levels are measured in: the nearer ones use a part of it.
private final class PeakMemory {
    let kernels: ck_peak_memory
    let base: UnsafeMutableRawPointer
    /// Bytes that main memory is measured with.
    let bytes: Int

    private let arena = Arena()

    init(_ caches: CacheSizes, _ set: InstructionSet, threads: Int) throws(EngineError) {
        kernels = ck_peak_memory_for(set.code)
        // Four times the last cache: little of it is still there when it is read again. Virtual
        // machines may hide that cache.
        let last = caches.bytes.values.max() ?? 0
        let ofAllWorkers = threads * max(caches.bytes[.l1] ?? 0, caches.bytes[.l2] ?? 0)
        let least = caches.bytes[.l3] == nil ? 64 << 20 : 0
        bytes = max(least, ofAllWorkers, min(4 * last, 1 << 30))
        let region = arena.plan(bytes / MemoryLayout<Float>.stride)
        try arena.allocate()
        base = UnsafeMutableRawPointer(arena.pointer(region))
    }
}

/// Reads or copies a working set again and again.
private final class MemoryWork: ParallelWork {
    let level: MemoryLevel
    let workingSetBytes: Int

    private let memory: PeakMemory
    // Whether half of each slice is copied to the other half, instead of all of it being read.
    private let isCopy: Bool
    // Of one piece.
    private let sliceBytes: Int
    private let slices: Int
    private let passes: Int
    // Each worker has a slice of its own in L1 and L2; farther out all go through all slices.
    private let isPrivate: Bool

    init(
        _ level: MemoryLevel, _ caches: CacheSizes, _ memory: PeakMemory, threads: Int,
        isCopy: Bool
    ) {
        self.level = level
        self.memory = memory
        self.isCopy = isCopy
        isPrivate = level == .l1 || level == .l2
        // Part of a cache stays free for what else lies in it.
        let size = caches.bytes[level] ?? 0
        let unit = 2 * Int(CK_PEAK_RUN_BYTES)
        sliceBytes = isPrivate ? roundUp(size / 2, to: unit) : 1 << 18
        let wanted = isPrivate ? threads : (level == .l3 ? size / 4 : memory.bytes) / sliceBytes
        slices = max(1, wanted)
        workingSetBytes = slices * sliceBytes
        // A piece is 256 KiB of traffic or more, a dispatch 4 MiB for each thread.
        passes = max(1, (1 << 18) / sliceBytes)
        super.init(name: level.rawValue, pieces: max(16 * threads, isPrivate ? 0 : slices))
    }

    /// Bytes read, or read and written, in one dispatch.
    var traffic: Int { pieces * passes * sliceBytes }

    override func perform(piece: Int, worker: Int) {
        let start = memory.base + (isPrivate ? worker : piece) % slices * sliceBytes
        let half = sliceBytes / 2
        for _ in 0..<passes {
            if isCopy {
                memory.kernels.copy(start, half, start + half)
            } else {
                _ = memory.kernels.read(start, sliceBytes)
            }
        }
    }
}

extension MultiplyOperand {
    fileprivate var peakCode: ck_peak_operand {
        switch self {
        case .f32: CK_PEAK_F32
        case .bf16: CK_PEAK_BF16
        case .int16: CK_PEAK_INT16
        case .int8: CK_PEAK_INT8
        }
    }
}
