// How one stage wakes the next without a lock.

internal import CLinux

/// An auto-reset event: one thread sets it, one thread waits for it.
///
/// Use it to sleep until something *may* have changed, then look at the atomic state that says
/// what. Several sets before a wait count as one. Not for several waiting threads: only one wakes.
public final class Event: @unchecked Sendable {
    // Its own allocation, because the futex needs a stable address. Atomic inside.
    private let storage: UnsafeMutablePointer<clinux_event>

    /// An event that is not set.
    public init() {
        storage = .allocate(capacity: 1)
        storage.initialize(to: clinux_event())
    }

    deinit { storage.deallocate() }

    /// Sets the event and wakes the waiting thread, if any. Never blocks. Any thread.
    ///
    /// - Realtime: safe
    public func set() { clinux_event_set(storage) }

    /// Sleeps until the event is set, and resets it. One thread at a time.
    ///
    /// - Returns: whether the event was set within the timeout.
    @discardableResult
    public func wait(timeoutNanoseconds: Int64) -> Bool {
        clinux_event_wait(storage, timeoutNanoseconds)
    }
}
