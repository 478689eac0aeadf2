// Keeps libav from blocking for ever: a deadline, and a stop button for other threads.

internal import CLibAV
internal import Glibc
internal import Realtime
internal import Synchronization

/// Asked by libav whenever it waits for a file or the network.
final class Interruption: Sendable {
    // Relaxed: nothing else is published through either, and libav asks again and again.
    private let deadline = Atomic<Int64>(.max)
    private let stopped = Atomic<Bool>(false)
    // Whether something on the network is being opened, and whether a signal has ended that.
    private let isOpening: Atomic<Bool>
    private let wasInterrupted = Atomic<Bool>(false)

    /// - Parameter path: what will be opened. Until `hasOpened`, SIGINT and SIGTERM end the opening of an address, where
    ///   they are blocked and wait for the very thread that is busy with it, as at the start of a run. A file does not
    ///   keep anybody waiting, and would be left half made.
    init(opening path: MediaPath) { isOpening = Atomic(path.localPath == nil) }

    /// Gives what follows so long.
    ///
    /// - Realtime: safe
    func allow(nanoseconds: Int64) {
        let (end, isFar) = MonotonicClock.nowNanoseconds.addingReportingOverflow(nanoseconds)
        deadline.store(isFar ? .max : end, ordering: .relaxed)
    }

    /// Ends what is going on and whatever comes after. Any thread.
    func stop() { stopped.store(true, ordering: .relaxed) }

    /// Says that the opening is over.
    func hasOpened() { isOpening.store(false, ordering: .relaxed) }

    private var endsOpening: Bool {
        guard isOpening.load(ordering: .relaxed) else { return false }
        var waiting = sigset_t()
        sigpending(&waiting)
        guard sigismember(&waiting, SIGINT) == 1 || sigismember(&waiting, SIGTERM) == 1 else {
            return false
        }
        wasInterrupted.store(true, ordering: .relaxed)
        return true
    }

    var isStopped: Bool { stopped.load(ordering: .relaxed) }

    var isOverdue: Bool {
        MonotonicClock.nowNanoseconds > deadline.load(ordering: .relaxed)
    }

    /// For libav, which must be done with it before this object goes.
    var callback: AVIOInterruptCB {
        AVIOInterruptCB(
            callback: {
                guard let object = $0 else { return 0 }
                let this = Unmanaged<Interruption>.fromOpaque(object).takeUnretainedValue()
                return this.isStopped || this.isOverdue || this.endsOpening ? 1 : 0
            }, opaque: Unmanaged.passUnretained(self).toOpaque())
    }

    /// What libav's "immediate exit requested" really was.
    func explain(_ code: Int32) -> Int32 {
        if wasInterrupted.load(ordering: .relaxed) { return clibav_error_exit }
        // Some protocols call what was broken off damaged.
        return !isStopped && (isOverdue || code == clibav_error_exit)
            ? clibav_error_timed_out : code
    }
}
