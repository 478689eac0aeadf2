// What else the machine did while something was measured. Control thread.

internal import FoundationEssentials

/// Processor time of the whole machine and of this process, since they started.
struct MachineLoad {
    /// All processors' time, in seconds.
    var total = 0.0
    /// Of it, not idle.
    var busy = 0.0
    /// Of it, taken by the hypervisor for other virtual machines.
    var stolen = 0.0
    /// Used by this process.
    var own = 0.0

    /// Up to now; nil where /proc is hidden.
    static var current: MachineLoad? {
        guard let bytes = try? readRegularFile("/proc/stat", bytesMax: 16 << 20, kind: "file")
        else { return nil }
        return MachineLoad(
            statistics: String(decoding: bytes.prefix(1 << 12), as: UTF8.self),
            own: ProcessStatistics.processorSeconds)
    }

    /// - Parameters:
    ///   - statistics: the beginning of /proc/stat (proc_stat(5)), in hundredths of a second.
    ///   - own: seconds.
    init?(statistics: String, own: Double) {
        guard let line = statistics.split(separator: "\n").first else { return nil }
        let fields = line.split(separator: " ")
        // user, nice, system, idle, iowait, irq, softirq, steal; guests are part of user and nice.
        let times = fields.dropFirst().prefix(8).compactMap { Double($0) }
        guard fields.first == "cpu", times.count == 8 else { return nil }
        total = times.reduce(0, +) / 100
        stolen = times[7] / 100
        busy = total - (times[3] + times[4]) / 100 - stolen
        self.own = own
    }

    /// Shares of all processors' time since an earlier moment, 0…1: what the hypervisor took, and
    /// what other programs used.
    func shares(since earlier: MachineLoad) -> (stolen: Double, others: Double) {
        let time = total - earlier.total
        guard time > 0 else { return (0, 0) }
        let others = busy - earlier.busy - (own - earlier.own)
        return (
            min(max((stolen - earlier.stolen) / time, 0), 1), min(max(others / time, 0), 1)
        )
    }
}
