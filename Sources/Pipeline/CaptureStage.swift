// The capture thread: source → input ring. It never waits for the network (policy `latest`).

internal import Realtime
internal import Video

final class CaptureStage: @unchecked Sendable {
    let ring: FrameRing<FrameBuffer>
    // Capture thread only; read by the control thread after the join.
    private(set) var latency = LatencyHistogram()

    private let source: any FrameSource
    private let format: VideoFormat
    private let counters: PipelineCounters
    private let stop: StopFlag
    private let reopens: Bool
    private let isOpenAtStart: Bool
    // Capture thread only.
    private var nextSequence: UInt64?
    private let reopenDelay = Event()

    init(
        source: any FrameSource, isOpen: Bool, format: VideoFormat, ring: FrameRing<FrameBuffer>,
        counters: PipelineCounters, stop: StopFlag, reopens: Bool
    ) {
        self.source = source
        self.format = format
        self.ring = ring
        self.counters = counters
        self.stop = stop
        self.reopens = reopens
        isOpenAtStart = isOpen
    }

    func run() {
        let isOpen = isOpenAtStart || reopen()
        while isOpen, !stop.isSet, !ring.isClosed {
            guard let slot = ring.beginWrite() else {
                ring.waitForSpace(timeoutNanoseconds: 100_000_000)
                continue
            }
            let frame = ring[slot]
            let status = source.next(into: frame)
            guard status == .frame else {
                ring.abandon(slot)
                if !recover(from: status) { break }
                continue
            }
            frame.readyNanoseconds = MonotonicClock.nowNanoseconds
            count(frame)
            ring.publish(slot)
        }
        ring.close()
    }

    private func count(_ frame: FrameBuffer) {
        let metadata = frame.metadata
        counters.countCaptured()
        latency.record(nanoseconds: frame.readyNanoseconds - metadata.timestampNanoseconds)
        if let expected = nextSequence, metadata.sequence > expected {
            counters.countLostBySource(metadata.sequence - expected)
        }
        nextSequence = metadata.sequence + 1
    }

    /// What to do when there is no frame.
    ///
    /// - Returns: whether the thread goes on.
    private func recover(from status: SourceStatus) -> Bool {
        switch status {
        case .frame, .again: return true
        case .badFrame:
            counters.countBad()
            return true
        case .endOfStream: return false
        case .failed:
            counters.setSourceFailed()
            return false
        case .deviceLost, .formatChanged: return reopen()
        }
    }

    /// Closes the camera and tries once a second to open it again, in the size that the rest of the
    /// pipeline was planned for. Not steady state: it may allocate and block.
    private func reopen() -> Bool {
        source.finish()
        guard reopens else { return false }
        counters.setSourceLost(true)
        nextSequence = nil
        while !stop.isSet {
            if tryToOpen() {
                counters.setSourceLost(false)
                return true
            }
            // In slices, so that a stop is noticed.
            for _ in 0..<10 where !stop.isSet { reopenDelay.wait(timeoutNanoseconds: 100_000_000) }
        }
        return false
    }

    private func tryToOpen() -> Bool {
        do {
            let found = try source.prepare()
            guard found.width == format.width, found.height == format.height else {
                source.finish()
                counters.setSourceProblem(
                    "it now delivers \(found.width)×\(found.height), "
                        + "but this run was planned for \(format.width)×\(format.height)")
                return false
            }
            try source.start()
            counters.setSourceName(source.name)
            return true
        } catch {
            source.finish()
            counters.setSourceProblem("\(error)")
            return false
        }
    }
}
