// The one clock of the data plane.

internal import CLinux

/// `CLOCK_MONOTONIC`: never set back, the clock of V4L2 timestamps.
public enum MonotonicClock {
    /// Nanoseconds since an arbitrary start. Any thread.
    ///
    /// - Realtime: safe
    public static var nowNanoseconds: Int64 { clinux_monotonic_nanoseconds() }
}
