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
    private let gate: SourceGate
    private let reopens: Bool
    // Capture thread only; read by the control thread after the join.
    private(set) var isOpen: Bool
    private(set) var followed: SourceGate.Wish
    // Capture thread only.
    private var nextSequence: UInt64?

    /// While the source is closed it is looked whether to stop so often.
    private static let restNanoseconds: Int64 = 1_000_000_000

    /// - Parameter followed: the last wish that needs not be followed any more.
    init(
        source: any FrameSource, isOpen: Bool, followed: SourceGate.Wish, format: VideoFormat,
        ring: FrameRing<FrameBuffer>,
        counters: PipelineCounters, stop: StopFlag, gate: SourceGate, reopens: Bool
    ) {
        self.source = source
        self.format = format
        self.ring = ring
        self.counters = counters
        self.stop = stop
        self.gate = gate
        self.reopens = reopens
        self.isOpen = isOpen
        self.followed = followed
    }

    func run() {
        while !stop.isSet, !ring.isClosed {
            gate.aliveNanoseconds = MonotonicClock.nowNanoseconds
            followWish()
            guard isOpen else {
                gate.waitForWish(timeoutNanoseconds: Self.restNanoseconds)
                continue
            }
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
        case .deviceLost:
            lose(.absent)
            return reopens
        case .formatChanged:
            // Whatever it delivers now comes out in the size that was planned for.
            lose(.failed)
            return reopens
        }
    }

    private func lose(_ fault: SourceFault) {
        close()
        gate.report(.failed(fault), on: followed)
    }

    private func close() {
        source.finish()
        isOpen = false
        nextSequence = nil
    }

    // MARK: Wishes of the supervision. Not steady state: they may allocate and block.

    private func followWish() {
        let wish = gate.wish
        guard wish != followed else { return }
        followed = wish
        switch wish.action {
        case .open:
            if isOpen { close() }
            open()
        case .restart where isOpen:
            if !source.restart() { lose(.absent) }
        case .close where isOpen: close()
        case .restart, .close, nil: break
        }
    }

    /// Opens the source in the size that the rest of the pipeline was planned for.
    private func open() {
        do {
            let found = try source.prepare()
            guard found.width == format.width, found.height == format.height else {
                source.finish()
                counters.setSourceProblem(
                    "it now delivers \(found.width)×\(found.height), "
                        + "but this run was planned for \(format.width)×\(format.height)")
                gate.report(.failed(.failed), on: followed)
                return
            }
            try source.start()
            isOpen = true
            counters.setSourceProblem(nil)
            counters.setSourceName(source.name)
            gate.report(.opened, on: followed)
        } catch {
            source.finish()
            let known = error as? any ClassifiedSourceError
            counters.setSourceProblem("\(error)", user: known?.user)
            gate.report(.failed(known?.fault ?? .failed), on: followed)
        }
    }
}
