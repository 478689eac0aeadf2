// Which frame is due when. Capture thread.

internal import Video

/// Absolute deadlines: frame k is due at start + k · interval, exactly, however long it runs.
struct FrameSchedule {
    let frameRate: FrameRate
    let startNanoseconds: Int64
    /// Number of the next frame to deliver.
    private(set) var nextFrame: UInt64 = 0

    init(frameRate: FrameRate, startNanoseconds: Int64) {
        self.frameRate = frameRate
        self.startNanoseconds = startNanoseconds
    }

    /// What to do at a moment.
    enum Step: Equatable {
        case wait(nanoseconds: Int64)
        case deliver(frame: UInt64)
    }

    /// The newest frame that is due, or how long until the next one is. Frames that nobody fetched
    /// in time are skipped, as a camera overwrites them.
    mutating func step(at nowNanoseconds: Int64) -> Step {
        let due = dueNanoseconds(of: nextFrame)
        guard nowNanoseconds >= due else { return .wait(nanoseconds: due - nowNanoseconds) }
        let frame = max(nextFrame, newestFrame(at: nowNanoseconds))
        nextFrame = frame + 1
        return .deliver(frame: frame)
    }

    /// Capture time of a frame. Whole seconds apart, so that no product overflows.
    func dueNanoseconds(of frame: UInt64) -> Int64 {
        let (cycles, rest) = frame.quotientAndRemainder(dividingBy: UInt64(frameRate.numerator))
        let nanoseconds = UInt64(1_000_000_000) &* UInt64(frameRate.denominator)
        let fraction = rest.multipliedFullWidth(by: nanoseconds)
        let within = UInt64(frameRate.numerator).dividingFullWidth(fraction).quotient
        return startNanoseconds &+ Int64(truncatingIfNeeded: cycles &* nanoseconds &+ within)
    }

    private func newestFrame(at nowNanoseconds: Int64) -> UInt64 {
        let elapsed = UInt64(max(0, nowNanoseconds &- startNanoseconds))
        let nanoseconds = UInt64(1_000_000_000) &* UInt64(frameRate.denominator)
        let (cycles, rest) = elapsed.quotientAndRemainder(dividingBy: nanoseconds)
        let within = nanoseconds.dividingFullWidth(
            rest.multipliedFullWidth(by: UInt64(frameRate.numerator))
        ).quotient
        return cycles &* UInt64(frameRate.numerator) &+ within
    }
}
