// The figure behind "no allocation per frame".

internal import CLinux

/// Heap allocations made by every `RealtimeThread` of this process.
public enum AllocationCount {
    /// The count so far, or `nil` in a program whose `malloc` does not report (tests).
    ///
    /// - Realtime: safe
    public static var current: Int64? {
        let count = clinux_allocation_count()
        return count < 0 ? nil : count
    }
}
