// The worker pool: every piece exactly once, however small and frequent the dispatches.

import Foundation
import Glibc
import Synchronization
import Testing

@testable import NeuralEngine

/// Counts how often each piece was performed.
private final class CountingWork: ParallelWork {
    let counts: UnsafeMutablePointer<Int>
    let workers: Int
    let wrongWorkers = Atomic<Int>(0)

    init(pieces: Int, workers: Int) {
        counts = .allocate(capacity: max(pieces, 1))
        counts.initialize(repeating: 0, count: max(pieces, 1))
        self.workers = workers
        super.init(name: "counting", pieces: pieces)
    }

    deinit { counts.deallocate() }

    // Not atomic on purpose: the pool promises that pieces are claimed once and that `run` returns
    // after all of them; ThreadSanitizer sees it if that does not hold.
    override func perform(piece: Int, worker: Int) {
        counts[piece] += 1
        if !(0..<workers).contains(worker) { wrongWorkers.add(1, ordering: .relaxed) }
    }
}

/// Now and then delays the calling thread: sometimes for a moment, sometimes for longer than
/// anybody in the pool spins. Which calls are delayed is fixed; on which thread is chance.
private final class Stalls: Sendable {
    private let calls = Atomic<UInt64>(0)

    func stall(oneIn share: UInt64) {
        // A linear congruential step scatters the counter's bits.
        let number = calls.wrappingAdd(1, ordering: .relaxed).oldValue
        let hash = (number &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407) >> 33
        switch hash % share {
        case 0: usleep(200 + UInt32(hash / share % 4) * 200)
        case 1: sched_yield()
        default: break
        }
    }
}

/// Counts how often each piece was performed and, at the end of a piece, stalls.
private final class StallingWork: ParallelWork {
    let counts: UnsafeMutablePointer<Int>
    let stalls: Stalls

    init(pieces: Int, stalls: Stalls) {
        counts = .allocate(capacity: pieces)
        counts.initialize(repeating: 0, count: pieces)
        self.stalls = stalls
        super.init(name: "stalling", pieces: pieces)
    }

    deinit { counts.deallocate() }

    override func perform(piece: Int, worker: Int) {
        stalls.stall(oneIn: 16)
        counts[piece] += 1
    }
}

struct WorkerPoolTests {
    @Test(
        "However threads are delayed, run returns after every piece was performed exactly once",
        arguments: 3...8)
    func stalledThreads(threads: Int) throws {
        let stalls = Stalls()
        let pool = try WorkerPool(threads: threads) { seam in
            stalls.stall(oneIn: seam == .finishing ? 4 : 32)
        }
        let works = [2, 3, 5, 8, 13].map { StallingWork(pieces: $0, stalls: stalls) }
        // `make fuzz` sets LUCIDA_FUZZ_ROUNDS for a longer search.
        let rounds = ProcessInfo.processInfo.environment["LUCIDA_FUZZ_ROUNDS"].flatMap { Int($0) }
        var torn = 0
        for round in 1...200 * (rounds ?? 1) {
            for work in works {
                pool.run(work)
                if (0..<work.pieces).contains(where: { work.counts[$0] != round }) { torn += 1 }
            }
        }
        #expect(torn == 0)
    }

    @Test(
        "Every piece of many small dispatches is performed exactly once", arguments: [1, 2, 3, 8])
    func exactlyOnce(threads: Int) throws {
        let pool = try WorkerPool(threads: threads)
        let works = [1, 2, 3, 7, 64].map { CountingWork(pieces: $0, workers: threads) }
        let rounds = 2_000
        for _ in 0..<rounds {
            for work in works { pool.run(work) }
        }
        for work in works {
            #expect((0..<work.pieces).allSatisfy { work.counts[$0] == rounds })
            #expect(work.wrongWorkers.load(ordering: .relaxed) == 0)
        }
    }

    @Test("Workers that fell asleep between dispatches wake up")
    func sleepingWorkers() throws {
        let pool = try WorkerPool(threads: 4)
        let work = CountingWork(pieces: 16, workers: 4)
        for _ in 0..<50 {
            usleep(2_000)
            pool.run(work)
        }
        #expect((0..<16).allSatisfy { work.counts[$0] == 50 })
    }

    @Test("Work without pieces returns at once")
    func noPieces() throws {
        let pool = try WorkerPool(threads: 2)
        pool.run(CountingWork(pieces: 0, workers: 2))
    }

    @Test("Pools come and go without work")
    func startAndStop() throws {
        for _ in 0..<50 { _ = try WorkerPool(threads: 3) }
    }

    @Test("A senseless number of threads is an error", arguments: [0, -1, 257])
    func badThreadCount(threads: Int) {
        #expect(throws: EngineError.self) { try WorkerPool(threads: threads) }
    }
}
