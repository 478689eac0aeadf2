// The transform thread: input ring → network → the ring of every sink.

internal import Realtime
internal import Video

final class TransformStage: @unchecked Sendable {
    // Transform thread only; read by the control thread after the join.
    private(set) var queueTime = LatencyHistogram()
    private(set) var processTime = LatencyHistogram()
    private(set) var steadyState: PipelineSummary.SteadyState?
    /// Whether it left because it was asked to, and not because nothing was left to do or nobody to
    /// do it for.
    private(set) var wasStopped = false

    /// Frames until caches, pools and branch predictors are warm and lazy initialisation is over.
    private static let warmUpFrames: UInt64 = 30
    /// A gap longer than this is a cut: the transform forgets its past.
    private static let cutNanoseconds: Int64 = 1_000_000_000

    private let transform: any FrameTransform
    private let input: FrameRing<FrameBuffer>
    private let outputs: [FrameRing<FrameBuffer>]
    private let counters: PipelineCounters
    private let stop: StopFlag
    private let switches: PipelineSwitches
    // Transform thread only: the pause or resumption that it knows of.
    private var turn: UInt64 = 0
    private var previousTimestamp: Int64?
    private var frameCount: UInt64 = 0
    private var allocationsAtStart: Int64?

    init(
        transform: any FrameTransform, input: FrameRing<FrameBuffer>,
        outputs: [FrameRing<FrameBuffer>], counters: PipelineCounters, stop: StopFlag,
        switches: PipelineSwitches
    ) {
        self.transform = transform
        self.input = input
        self.outputs = outputs
        self.counters = counters
        self.stop = stop
        self.switches = switches
    }

    func run() {
        while true {
            guard !stop.isSet else {
                wasStopped = true
                break
            }
            let isLast = input.isClosed
            guard let slot = input.beginRead() else {
                if isLast { break }
                // A capture thread that leaves closes the ring and so ends the wait.
                input.waitForFrame(timeoutNanoseconds: 1_000_000_000)
                continue
            }
            let goesOn = handle(input[slot])
            input.endRead(slot)
            if !goesOn { break }
        }
        countAllocations()
        input.close()
        guard !stop.keepsOutputs else { return }
        for output in outputs { output.close() }
    }

    /// - Returns: `false` when no sink is left.
    private func handle(_ frame: FrameBuffer) -> Bool {
        noticePause()
        guard !PipelineSwitches.isPaused(turn),
            frame.readyNanoseconds >= switches.resumedNanoseconds
        else {
            counters.countPaused()
            return outputs.contains { !$0.isClosed }
        }
        let started = MonotonicClock.nowNanoseconds
        // The queue ends where the capture thread's own histogram begins: together with the
        // transform and the write they add up to the frame's age.
        queueTime.record(nanoseconds: started - frame.readyNanoseconds)
        guard let (first, slot) = slotOfFirstOpenOutput() else { return false }
        let result = outputs[first][slot]
        result.metadata = frame.metadata
        switch process(frame, into: result) {
        case .picture where switches.turn != turn:
            // Paused meanwhile: nothing filmed before shall be shown after.
            outputs[first].abandon(slot)
            counters.countPaused()
        case .picture:
            processTime.record(nanoseconds: MonotonicClock.nowNanoseconds - started)
            copy(result, toOutputsAfter: first)
            outputs[first].publish(slot)
        case .early:
            outputs[first].abandon(slot)
            counters.countEarly()
        case .failed:
            outputs[first].abandon(slot)
            counters.countFailed()
        }
        countFrame()
        return true
    }

    /// A pause is a cut: what was before is forgotten.
    private func noticePause() {
        let now = switches.turn
        guard now != turn else { return }
        turn = now
        transform.reset()
        previousTimestamp = nil
    }

    private func process(_ frame: FrameBuffer, into result: FrameBuffer) -> TransformResult {
        let timestamp = frame.metadata.timestampNanoseconds
        var elapsed = previousTimestamp.map { max(0, timestamp - $0) } ?? 0
        if elapsed > Self.cutNanoseconds {
            transform.reset()
            elapsed = 0
        }
        previousTimestamp = timestamp
        let made = transform.process(frame, into: result, elapsedNanoseconds: elapsed)
        guard made == .failed && switches.passesFailuresThrough else { return made }
        result.copy(from: frame)
        return .picture
    }

    /// The network writes into this one; the other outputs get a copy.
    private func slotOfFirstOpenOutput() -> (output: Int, slot: Int)? {
        for index in outputs.indices {
            if let slot = waitForSlot(in: outputs[index]) { return (index, slot) }
        }
        return nil
    }

    /// A free slot, at once or (`everyFrame`) when the sink has caught up; `nil` if the sink left.
    private func waitForSlot(in ring: FrameRing<FrameBuffer>) -> Int? {
        while !ring.isClosed {
            if let slot = ring.beginWrite() { return slot }
            ring.waitForSpace(timeoutNanoseconds: 100_000_000)
        }
        return nil
    }

    /// Also when the run is to stop: what one sink has got, all get.
    private func copy(_ result: FrameBuffer, toOutputsAfter first: Int) {
        for index in outputs.indices.dropFirst(first + 1) {
            guard let slot = waitForSlot(in: outputs[index]) else { continue }
            outputs[index][slot].copy(from: result)
            outputs[index].publish(slot)
        }
    }

    private func countFrame() {
        frameCount += 1
        if frameCount == Self.warmUpFrames { allocationsAtStart = AllocationCount.current }
    }

    private func countAllocations() {
        guard frameCount > Self.warmUpFrames else { return }
        steadyState = PipelineSummary.SteadyState(
            frames: frameCount - Self.warmUpFrames,
            allocations: AllocationCount.current.flatMap { end in
                allocationsAtStart.map { end - $0 }
            })
    }
}
