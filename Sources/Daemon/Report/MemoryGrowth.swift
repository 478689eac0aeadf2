// How much memory a run takes on without being asked to. Control thread.

/// Resident memory since the run had warmed up, less what live changes have added.
///
/// Another style needs a second network beside the first, another model or size needs what it needs.
/// That is what was asked for: it is reported by itself. Whatever comes between the changes counts as
/// growth, and adds up over all of them. The second network could be allocated at the start of each
/// run instead; then every run would take memory that most never use, and how much is not known
/// before it is known to what the look will change.
struct MemoryGrowth {
    /// Time for pools, caches and the driver to settle, at the start and after a change.
    static let settleSeconds = 5.0

    /// What live changes have added, in bytes.
    private(set) var changeBytes = 0
    /// For so long memory was expected to be steady.
    private(set) var steadySeconds = 0.0

    private var grown = 0
    private var baseline: Int?
    private var baselineTime = 0.0
    private var settledTime = Self.settleSeconds
    // While it settles after a change.
    private var beforeChange: Int?
    private var last = 0

    /// Growth in bytes; nil while nothing can be said yet.
    var bytes: Int? {
        if let baseline { return grown + last - baseline }
        return steadySeconds > 0 ? grown : nil
    }

    /// Takes note of the resident memory now and then, and at the end.
    mutating func follow(_ resident: Int, at seconds: Double) {
        if baseline == nil, seconds > settledTime {
            if let beforeChange { changeBytes += resident - beforeChange }
            beforeChange = nil
            baseline = resident
            baselineTime = seconds
        }
        if baseline != nil {
            steadySeconds += seconds - baselineTime
            baselineTime = seconds
        }
        last = resident
    }

    /// Something has been changed that may need other memory.
    ///
    /// - Parameter fade: how long the change goes on, in seconds.
    mutating func noteChange(at seconds: Double, fade: Double) {
        settledTime = max(settledTime, seconds + fade + Self.settleSeconds)
        guard let baseline else { return }
        grown += last - baseline
        beforeChange = last
        self.baseline = nil
    }
}
