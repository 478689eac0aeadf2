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
    private let isOpening = Atomic<Bool>(true)

    /// Gives what follows so long.
    ///
    /// - Realtime: safe
    func allow(nanoseconds: Int64) {
        let (end, isFar) = MonotonicClock.nowNanoseconds.addingReportingOverflow(nanoseconds)
        deadline.store(isFar ? .max : end, ordering: .relaxed)
    }

    /// Ends what is going on and whatever comes after. Any thread.
    func stop() { stopped.store(true, ordering: .relaxed) }

    /// Says that the opening is over. Until then SIGINT and SIGTERM end it as well, where they are blocked and wait for a
    /// thread that is busy with just that.
    func hasOpened() { isOpening.store(false, ordering: .relaxed) }

    private var endsOpening: Bool {
        guard isOpening.load(ordering: .relaxed) else { return false }
        var waiting = sigset_t()
        sigpending(&waiting)
        return sigismember(&waiting, SIGINT) == 1 || sigismember(&waiting, SIGTERM) == 1
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
        code == clibav_error_exit && !isStopped ? clibav_error_timed_out : code
    }
}
