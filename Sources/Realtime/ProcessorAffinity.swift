// Which processors the kernel lets a thread run on. Any thread.

internal import CLinux

/// What `taskset`, a container or systemd's `CPUAffinity` has left to this thread.
public enum ProcessorAffinity {
    /// Numbers of the processors, those of /sys/devices/system/cpu; nil if the kernel does not tell.
    public static var current: Set<Int>? {
        // 8192 processors: as many as Linux can be built for.
        var words = [UInt64](repeating: 0, count: 128)
        guard clinux_affinity(&words, Int32(words.count)) == 0 else { return nil }
        return Set(
            (0..<64 * words.count).filter { words[$0 / 64] >> UInt64($0 % 64) & 1 == 1 })
    }
}
