// Measures what this machine can do at best: multiply-accumulates without memory, and memory without
// arithmetic. One thread at a time.

internal import CKernels
internal import Glibc
internal import Realtime

/// The ceilings of a roofline, as `MachineProbes` measured them.
public struct MachinePeak: Sendable {
    /// Throughput of a multiply-accumulate instruction.
    public struct Arithmetic: Sendable {
        /// What is multiplied.
        public let operand: Precision
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

        /// The ceiling: the larger of the two. Some caches move more bytes when they are read and
        /// written at once than when they are read alone, main memory fewer, because a line is read
        /// before it is written; what was proved by either is possible.
        public var bytesPerSecond: Double { max(readBytesPerSecond, copyBytesPerSecond) }
    }

    /// Instruction set whose instructions were measured.
    public let instructionSet: InstructionSet
    /// For each operand that the CPU multiplies, with one thread and with all.
    public let arithmetic: [Arithmetic]
    /// For each level, with one thread and with all.
    public let bandwidths: [Bandwidth]
    /// Sizes of the caches.
    public let caches: CacheSizes

    /// Multiply-accumulates a second; 0 if that was not measured.
    public func macsPerSecond(_ operand: Precision, threads: Int) -> Double {
        arithmetic.first { $0.operand == operand && $0.threads == threads }?.macsPerSecond ?? 0
    }

    /// Bytes a second that `level` can move; 0 if that was not measured.
    public func bytesPerSecond(_ level: MemoryLevel, threads: Int) -> Double {
        bandwidths.first { $0.level == level && $0.threads == threads }?.bytesPerSecond ?? 0
    }
}

/// The work that ceilings are measured with.
///
/// What a ceiling is held against must be measured under the same conditions: so each dispatch takes
/// about as long as a layer (a shorter one would slip between two interruptions, a layer does not),
/// and `sweep` is to be called again and again between runs of the layers. The fastest dispatch of
/// all counts, because other programs only ever make one slower.
///
/// One thread at a time uses it, any thread.
public final class MachineProbes: @unchecked Sendable {
    private let instructionSet: InstructionSet
    private let caches: CacheSizes
    private var arithmetic: [Probe<MultiplyWork>] = []
    private var reads: [Probe<MemoryWork>] = []
    private var copies: [Probe<MemoryWork>] = []

    /// For one thread and for `threads`.
    ///
    /// - Throws: if threads or memory are refused.
    public convenience init(threads: Int) throws(EngineError) {
        try self.init(threads: threads, caches: CacheSizes())
    }

    init(threads: Int, caches: CacheSizes) throws(EngineError) {
        instructionSet = try Backend.shared().instructionSet
        self.caches = caches
        let memory = try PeakMemory(caches, instructionSet, threads: threads)
        for count in threads > 1 ? [1, threads] : [1] {
            let pool = try WorkerPool(threads: count)
            for operand in Precision.allCases {
                guard let work = MultiplyWork(operand, instructionSet, threads: count) else {
                    continue
                }
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
    }

    /// Measures everything a few times: a fraction of a second.
    public func sweep() {
        (arithmetic as [any Sweeping] + reads + copies).forEach { $0.sweep() }
    }

    /// The best so far. At least one sweep comes first.
    public var peak: MachinePeak {
        MachinePeak(
            instructionSet: instructionSet, arithmetic: arithmetic.map(MachinePeak.Arithmetic.init),
            bandwidths: zip(reads, copies).map(MachinePeak.Bandwidth.init), caches: caches)
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

    /// One dispatch to warm up, which also wakes the threads, then as many as fit into 8 ms, and three
    /// at least: layers have as many chances to run undisturbed.
    func sweep() {
        pool.run(work)
        let start = MonotonicClock.nowNanoseconds
        var rounds = 0
        while rounds < 3 || MonotonicClock.nowNanoseconds - start < 8_000_000 {
            let began = MonotonicClock.nowNanoseconds
            pool.run(work)
            best = min(best, MonotonicClock.nowNanoseconds - began)
            rounds += 1
        }
    }
}

/// Multiply-accumulates on registers alone.
private final class MultiplyWork: ParallelWork {
    let operand: Precision

    private let loop: ck_peak_loop
    private let operands: UnsafeMutableRawPointer
    // Per worker.
    private let sums: UnsafeMutableRawPointer

    // A piece is some 360 000 cycles with AVX-512, half as many with AVX2: a dispatch is 1 to 2 ms.
    private static let roundsPerPiece = 30_000
    private static let piecesPerThread = 16
    private static let sumBytes = Int(CK_PEAK_SUM_BYTES)

    /// Nil if `set` has no such instruction here.
    init?(_ operand: Precision, _ set: InstructionSet, threads: Int) {
        self.operand = operand
        loop = ck_peak_loop_for(set.code, operand.peakCode)
        guard loop.run != nil else { return nil }
        operands = .allocate(byteCount: Int(CK_PEAK_OPERAND_BYTES), alignment: 64)
        sums = .allocate(byteCount: threads * Self.sumBytes, alignment: 64)
        // Small and normal as f32 and bf16, so that no sum slows down or overflows.
        operands.initializeMemory(
            as: UInt32.self, repeating: 0x3a01_3a01, count: Int(CK_PEAK_OPERAND_BYTES) / 4)
        sums.initializeMemory(as: UInt32.self, repeating: 0, count: threads * Self.sumBytes / 4)
        super.init(name: operand.rawValue, pieces: Self.piecesPerThread * threads)
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
        bytes = probeByteCount(caches, threads: threads, installed: Self.installedBytes)
        let region = arena.plan(bytes / MemoryLayout<Float>.stride)
        try arena.allocate()
        base = UnsafeMutableRawPointer(arena.pointer(region))
    }

    private static var installedBytes: Int { sysconf(Int32(_SC_PHYS_PAGES)) * Int(getpagesize()) }
}

/// Bytes that main memory is measured with: four times the last cache, so that little of it is still
/// there when it is read again, but no more than a machine of `installed` bytes can spare. Virtual
/// machines may hide that cache, or show one that many of them share.
func probeByteCount(_ caches: CacheSizes, threads: Int, installed: Int) -> Int {
    let last = caches.bytes.values.max() ?? 0
    let ofAllWorkers = threads * max(caches.bytes[.l1] ?? 0, caches.bytes[.l2] ?? 0)
    let wanted = caches.bytes[.l3] == nil ? max(4 * last, 64 << 20) : 4 * last
    return max(ofAllWorkers, min(wanted, 1 << 30, installed / 8))
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

    // What a dispatch moves for each thread: 0.3 ms in a fast L1, 2 ms in main memory.
    private static let trafficPerThread = 128 << 20

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
        let wholePasses = max(1, Self.trafficPerThread * threads / workingSetBytes)
        // Private: one piece a thread, so that nothing is handed out meanwhile. Shared: every slice
        // in turn, so that it has left the nearer caches when it is read again.
        passes = isPrivate ? wholePasses : 1
        super.init(name: level.rawValue, pieces: isPrivate ? threads : wholePasses * slices)
    }

    /// Bytes read, or read and written, in one dispatch.
    var traffic: Int { pieces * passes * sliceBytes }

    override func perform(piece: Int, worker: Int) {
        let start = memory.base + (isPrivate ? worker : piece % slices) * sliceBytes
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

extension Precision {
    fileprivate var peakCode: ck_peak_operand {
        switch self {
        case .f32: CK_PEAK_F32
        case .bf16: CK_PEAK_BF16
        case .int16: CK_PEAK_INT16
        case .int8: CK_PEAK_INT8
        }
    }
}
