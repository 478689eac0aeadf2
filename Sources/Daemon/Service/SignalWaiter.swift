// SIGINT, SIGTERM and SIGHUP as values that the control thread waits for, instead of handlers.

internal import CLinux
internal import Glibc

/// Blocks the signals for the calling thread and all threads that it starts, and waits for
/// them with sigtimedwait(2). Made first thing by the main thread.
struct SignalWaiter {
    private let signals: sigset_t
    /// Readable while a signal waits, for poll(2); negative if the system has no descriptor left,
    /// which poll takes for none.
    let descriptor: Int32

    init() {
        var signals = sigset_t()
        sigemptyset(&signals)
        for signal in [SIGINT, SIGTERM, SIGHUP] { sigaddset(&signals, signal) }
        pthread_sigmask(SIG_BLOCK, &signals, nil)
        // A reader of a pipe or socket that went away is an error code, not the end.
        signal(SIGPIPE, SIG_IGN)
        self.signals = signals
        descriptor = clinux_signal_descriptor(&signals)
    }

    /// Sleeps until a signal comes, at most so long.
    ///
    /// - Returns: the signal, or `nil` after the timeout.
    func wait(milliseconds: Int) -> Int32? {
        var timeout = timespec(
            tv_sec: milliseconds / 1000, tv_nsec: milliseconds % 1000 * 1_000_000)
        let signal = withUnsafePointer(to: signals) { sigtimedwait($0, nil, &timeout) }
        return signal > 0 ? signal : nil
    }

    /// From now on a second signal ends the process at once, as a user who presses Ctrl-C twice
    /// expects.
    func release() {
        withUnsafePointer(to: signals) { _ = pthread_sigmask(SIG_UNBLOCK, $0, nil) }
        if descriptor >= 0 { close(descriptor) }
    }
}
