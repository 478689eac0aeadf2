// The engine's threads: work in numbered pieces, claimed one by one by whoever is free.

internal import CKernels
internal import Glibc
internal import Realtime
internal import Synchronization

/// Work that can be done in pieces, in any order, by several threads at once.
///
/// A class and not a closure: dispatching it allocates nothing.
open class ParallelWork {
    /// For timings: `stem`, `enc0.0.a`.
    public let name: String
    /// Pieces of one dispatch.
    public internal(set) var pieces: Int
    /// What a dispatch has to do at least; a step fills it in when it is made.
    public internal(set) var cost = StepCost()
    /// What share of it the last dispatch did.
    public var share: Double { 1 }

    /// Work of `pieces` pieces (at most 2²⁰ − 1).
    public init(name: String, pieces: Int) {
        precondition(pieces >= 0 && pieces < 1 << 20, "the number of pieces fits its field")
        self.name = name
        self.pieces = pieces
    }

    /// Called by the thread that dispatches, before each dispatch: the last moment to set `pieces`.
    ///
    /// - Realtime: must not allocate or block
    func willRun() {}

    /// Does one piece.
    ///
    /// - Parameters:
    ///   - piece: 0 ..< pieces, each exactly once in a dispatch.
    ///   - worker: the calling worker, 0 ..< threads; picks its scratch memory.
    /// - Realtime: must not allocate or block
    open func perform(piece: Int, worker: Int) {
        preconditionFailure("a subclass says what a piece is")
    }
}

/// A fixed set of threads. The thread that calls `run` is worker 0; the others sleep between
/// dispatches. Pieces are claimed dynamically because cores differ and get preempted: a
/// worker that arrives late, or never, delays nobody.
public final class WorkerPool {
    /// How many workers a pool may have, the caller included.
    public static let threadRange = 1...256

    /// Workers, the caller included.
    public let threads: Int

    private let shared: Shared
    private var workers: [RealtimeThread] = []

    /// Starts `threads - 1` threads named `lucida-worker-N`.
    public convenience init(threads: Int) throws(EngineError) {
        try self.init(threads: threads, delay: nil)
    }

    /// As the public one; a test's `delay` is called at the seams of the algorithm, on any thread.
    init(threads: Int, delay: (@Sendable (Seam) -> Void)?) throws(EngineError) {
        guard Self.threadRange.contains(threads) else {
            throw .invalid(
                "\(threads) engine threads make no sense: use 1 to \(Self.threadRange.upperBound)")
        }
        self.threads = threads
        shared = Shared(delay: delay)
        for worker in 1..<max(threads, 1) {
            do throws(RealtimeThreadError) {
                let shared = shared
                workers.append(
                    try RealtimeThread(name: "lucida-worker-\(worker)") {
                        shared.serve(worker: worker)
                    })
            } catch {
                shared.stop(workers: workers.count)
                for started in workers { started.join() }
                throw .thread(error.description)
            }
        }
    }

    deinit {
        shared.stop(workers: workers.count)
        for worker in workers { worker.join() }
    }

    /// Performs every piece of `work` and returns when all are done. One thread at a time.
    ///
    /// - Realtime: allocates nothing; waits for the pieces that other workers have claimed
    public func run(_ work: ParallelWork) {
        work.willRun()
        if threads == 1 || work.pieces <= 1 {
            for piece in 0..<work.pieces { work.perform(piece: piece, worker: 0) }
            return
        }
        shared.run(work, workers: threads)
    }

    /// Where a test may delay a thread; nothing else looks at it.
    enum Seam {
        /// A claim has been read and not been made yet.
        case claiming
        /// The last piece has been counted, and the caller not been woken yet.
        case finishing
    }

    /// What caller and workers share.
    ///
    /// One invariant carries everything: while a piece of a dispatch is claimed and not counted in
    /// `unfinished`, or is not claimed at all, `run` does not return; so no other dispatch begins.
    private final class Shared: Sendable {
        // Generation (44 bits, of the dispatch) and pieces that nobody has claimed yet (20), in one
        // word: a claim is one compare-and-swap, which fails if the dispatch is not the one that
        // was read. Generations begin at 1 and do not repeat in the life of a machine.
        private let claims = Atomic<UInt64>(0)
        // The work of the current generation, unretained: the caller holds it until all is done.
        private let work = Atomic<UInt>(0)
        // Pieces of this generation that are not done yet.
        private let unfinished = Atomic<Int>(0)
        // The generation whose end the caller sleeps for (or is about to); 0 while it is awake.
        private let awaited = Atomic<UInt64>(0)
        // Workers that have announced sleep and have not been given a token yet.
        private let sleepers = Atomic<Int>(0)
        private let isStopping = Atomic<Bool>(false)
        private let wake = Semaphore()
        private let finished = Semaphore()
        private let delay: (@Sendable (Seam) -> Void)?

        // A step follows the previous one within microseconds; a sleep and a wake-up cost tens.
        private static let spins = 2_000

        private static let pieceBits: UInt64 = 20
        private static let pieceMask: UInt64 = (1 << pieceBits) - 1

        init(delay: (@Sendable (Seam) -> Void)?) { self.delay = delay }

        /// Takes one unclaimed piece, if there is one: how many were unclaimed, this one included.
        private func claim() -> (unclaimed: Int, generation: UInt64)? {
            var current = claims.load(ordering: .relaxed)
            while current & Self.pieceMask > 0 {
                delay?(.claiming)
                // Acquires what the caller wrote before it published this generation: the value
                // read is the published one or comes from it by claims, which carry the release on.
                let (exchanged, seen) = claims.compareExchange(
                    expected: current, desired: current - 1, ordering: .acquiring)
                if exchanged {
                    return (Int(current & Self.pieceMask), current >> Self.pieceBits)
                }
                current = seen
            }
            return nil
        }

        /// Performs pieces until none is left to claim.
        private func drain(worker: Int) {
            while let (unclaimed, generation) = claim() {
                // Read after the claim: until this piece is counted below, `work` stays as it is.
                let address = work.load(ordering: .relaxed)
                guard let pointer = UnsafeRawPointer(bitPattern: address) else { return }
                Unmanaged<ParallelWork>.fromOpaque(pointer)._withUnsafeGuaranteedRef {
                    $0.perform(piece: $0.pieces - unclaimed, worker: worker)
                }
                finishPiece(of: generation)
            }
        }

        /// Counts a piece that is done; after the last one, wakes the caller if it sleeps.
        private func finishPiece(of generation: UInt64) {
            // Releases what the piece wrote: the caller acquires `unfinished` = 0, which comes from
            // all these subtractions. Sequentially consistent with the exchange below, against the
            // caller's store to `awaited` and load of `unfinished`: one of the two sees the other.
            let left = unfinished.wrappingSubtract(1, ordering: .sequentiallyConsistent).newValue
            guard left == 0 else { return }
            delay?(.finishing)
            // From here on the caller may have returned and be in a later dispatch, even asleep in
            // one: then `awaited` is 0 or that dispatch's generation, and is left alone.
            let (exchanged, _) = awaited.compareExchange(
                expected: generation, desired: 0, ordering: .sequentiallyConsistent)
            if exchanged { finished.signal() }
        }

        func run(_ newWork: ParallelWork, workers: Int) {
            let pieces = newWork.pieces
            // All pieces of the last generation are claimed and counted, so nobody else writes
            // these three words now, and nobody reads the first two before a claim.
            unfinished.store(pieces, ordering: .relaxed)
            work.store(
                UInt(bitPattern: Unmanaged.passUnretained(newWork).toOpaque()),
                ordering: .relaxed)
            let generation = claims.load(ordering: .relaxed) >> Self.pieceBits + 1
            // Releases the above and all earlier steps' results to those who claim; sequentially
            // consistent with the look at `sleepers`, against a worker that announces its sleep.
            claims.store(
                generation << Self.pieceBits | UInt64(pieces), ordering: .sequentiallyConsistent)
            wakeSleepers(atMost: min(workers - 1, pieces - 1))
            drain(worker: 0)
            waitForEnd(of: generation)
        }

        private func wakeSleepers(atMost limit: Int) {
            var count = sleepers.load(ordering: .sequentiallyConsistent)
            while count > 0 {
                let woken = min(count, limit)
                let (exchanged, seen) = sleepers.compareExchange(
                    expected: count, desired: count - woken, ordering: .sequentiallyConsistent)
                if exchanged {
                    for _ in 0..<woken { wake.signal() }
                    return
                }
                count = seen
            }
        }

        private func waitForEnd(of generation: UInt64) {
            for _ in 0..<Self.spins {
                if unfinished.load(ordering: .acquiring) == 0 { return }
                ck_pause()
            }
            while unfinished.load(ordering: .acquiring) > 0 {
                awaited.store(generation, ordering: .sequentiallyConsistent)
                if unfinished.load(ordering: .sequentiallyConsistent) == 0 {
                    // The end came meanwhile. If the finisher has not seen the announcement, take
                    // it back; if it has, its token is on the way and must not be left behind.
                    let (isWithdrawn, _) = awaited.compareExchange(
                        expected: generation, desired: 0, ordering: .sequentiallyConsistent)
                    if isWithdrawn { return }
                }
                finished.wait()
            }
        }

        /// Body of a worker thread.
        func serve(worker: Int) {
            while !isStopping.load(ordering: .acquiring) {
                drain(worker: worker)
                if !spinForWork() { sleepForWork() }
            }
        }

        private var hasWork: Bool {
            claims.load(ordering: .sequentiallyConsistent) & Self.pieceMask > 0
        }

        private func spinForWork() -> Bool {
            for _ in 0..<Self.spins {
                if hasWork || isStopping.load(ordering: .relaxed) { return true }
                ck_pause()
            }
            return false
        }

        private func sleepForWork() {
            sleepers.wrappingAdd(1, ordering: .sequentiallyConsistent)
            // Published after the announcement, or seen here: one of the two sides notices.
            if hasWork || isStopping.load(ordering: .sequentiallyConsistent) {
                // Withdraw, unless a token is already on its way: then it must be taken.
                var count = sleepers.load(ordering: .sequentiallyConsistent)
                while count > 0 {
                    let (exchanged, seen) = sleepers.compareExchange(
                        expected: count, desired: count - 1,
                        ordering: .sequentiallyConsistent)
                    if exchanged { return }
                    count = seen
                }
            }
            wake.wait()
        }

        func stop(workers: Int) {
            isStopping.store(true, ordering: .sequentiallyConsistent)
            wakeSleepers(atMost: workers)
        }
    }
}

/// A POSIX semaphore.
private final class Semaphore: @unchecked Sendable {
    private let handle: UnsafeMutablePointer<sem_t>

    init() {
        handle = .allocate(capacity: 1)
        handle.initialize(to: sem_t())
        sem_init(handle, 0, 0)
    }

    deinit {
        sem_destroy(handle)
        handle.deallocate()
    }

    func signal() { sem_post(handle) }

    func wait() {
        while sem_wait(handle) != 0 && errno == EINTR {}
    }
}
