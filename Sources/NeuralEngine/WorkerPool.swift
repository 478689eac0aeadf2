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

    /// Work of `pieces` pieces (at most 2²⁰ − 1).
    public init(name: String, pieces: Int) {
        precondition(pieces >= 0 && pieces < 1 << 20, "the number of pieces fits its field")
        self.name = name
        self.pieces = pieces
    }

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
    /// Workers, the caller included.
    public let threads: Int

    private let shared: Shared
    private var workers: [RealtimeThread] = []

    /// Starts `threads - 1` threads named `lucida-worker-N`.
    public init(threads: Int) throws(EngineError) {
        guard (1...256).contains(threads) else {
            throw .invalid("\(threads) engine threads make no sense: use 1 to 256")
        }
        self.threads = threads
        shared = Shared()
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
        if threads == 1 || work.pieces <= 1 {
            for piece in 0..<work.pieces { work.perform(piece: piece, worker: 0) }
            return
        }
        shared.run(work, workers: threads)
    }

    /// What caller and workers share.
    private final class Shared: Sendable {
        // The state of a dispatch in one word, so that a claim is one compare-and-swap that also
        // proves the dispatch is still the one that was read: generation (24 bits), pieces (20),
        // next unclaimed piece (20). Written by the caller to publish, by everybody to claim.
        private let state = Atomic<UInt64>(0)
        // The work of the current generation, unretained: the caller holds it until all is done.
        private let work = Atomic<UInt>(0)
        // Pieces done in this generation.
        private let done = Atomic<Int>(0)
        // Workers that have announced sleep and have not been given a token yet.
        private let sleepers = Atomic<Int>(0)
        // 1 while the caller sleeps (or is about to) until the last piece is done.
        private let callerWaits = Atomic<Int>(0)
        private let isStopping = Atomic<Bool>(false)
        private let wake = Semaphore()
        private let finished = Semaphore()

        // A step follows the previous one within microseconds; a sleep and a wake-up cost tens.
        private static let spins = 2_000

        private static let pieceBits: UInt64 = 20
        private static let pieceMask: UInt64 = (1 << pieceBits) - 1

        /// Takes one unclaimed piece, if there is one.
        private func claim() -> (piece: Int, pieces: Int, work: UInt)? {
            var current = state.load(ordering: .acquiring)
            while true {
                let next = current & Self.pieceMask
                let pieces = current >> Self.pieceBits & Self.pieceMask
                guard next < pieces else { return nil }
                // Read before the claim. If the claim succeeds, a piece of this generation was
                // still open, so the caller cannot have published another one in between.
                let claimed = work.load(ordering: .acquiring)
                let (exchanged, seen) = state.compareExchange(
                    expected: current, desired: current + 1, ordering: .acquiringAndReleasing)
                if exchanged { return (Int(next), Int(pieces), claimed) }
                current = seen
            }
        }

        /// Performs pieces until none is left to claim.
        private func drain(worker: Int) {
            while let (piece, pieces, address) = claim() {
                guard let pointer = UnsafeRawPointer(bitPattern: address) else { return }
                Unmanaged<ParallelWork>.fromOpaque(pointer)._withUnsafeGuaranteedRef {
                    $0.perform(piece: piece, worker: worker)
                }
                // Releases what the piece wrote to the caller, who acquires `done`. Sequentially
                // consistent because the flag of the sleeping caller is read after it.
                let count = done.wrappingAdd(1, ordering: .sequentiallyConsistent).newValue
                if count == pieces,
                    callerWaits.exchange(0, ordering: .sequentiallyConsistent) == 1
                {
                    finished.signal()
                }
            }
        }

        func run(_ newWork: ParallelWork, workers: Int) {
            let pieces = newWork.pieces
            done.store(0, ordering: .relaxed)  // published by `state` below
            work.store(
                UInt(bitPattern: Unmanaged.passUnretained(newWork).toOpaque()),
                ordering: .relaxed)
            let generation = state.load(ordering: .relaxed) >> (2 * Self.pieceBits)
            let published =
                (generation &+ 1) << (2 * Self.pieceBits) | UInt64(pieces) << Self.pieceBits
            state.store(published, ordering: .sequentiallyConsistent)
            wakeSleepers(atMost: min(workers - 1, pieces - 1))
            drain(worker: 0)
            waitUntilDone(pieces)
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

        private func waitUntilDone(_ pieces: Int) {
            for _ in 0..<Self.spins {
                if done.load(ordering: .acquiring) == pieces { return }
                ck_pause()
            }
            callerWaits.store(1, ordering: .sequentiallyConsistent)
            if done.load(ordering: .sequentiallyConsistent) == pieces,
                callerWaits.exchange(0, ordering: .sequentiallyConsistent) == 1
            {
                return
            }
            finished.wait()
        }

        /// Body of a worker thread.
        func serve(worker: Int) {
            while !isStopping.load(ordering: .acquiring) {
                drain(worker: worker)
                if !spinForWork() { sleepForWork() }
            }
        }

        private var hasWork: Bool {
            let current = state.load(ordering: .sequentiallyConsistent)
            return current & Self.pieceMask < current >> Self.pieceBits & Self.pieceMask
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
