// The figure behind "no allocation per frame".

internal import CLinux

/// Heap allocations made by every `RealtimeThread` of this process, and by threads that ask for it.
public enum AllocationCount {
    /// The count so far, or `nil` in a program whose `malloc` does not report (tests).
    ///
    /// - Realtime: safe
    public static var current: Int64? {
        let count = clinux_allocation_count()
        return count < 0 ? nil : count
    }

    /// From now on the calling thread counts like a `RealtimeThread`.
    public static func includeThisThread() { clinux_count_allocations_of_this_thread() }
}
