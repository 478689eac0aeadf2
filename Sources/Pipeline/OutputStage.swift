// A sink's own thread: its ring → the sink. A slow or dead sink costs nobody else a frame.

internal import Realtime
internal import Synchronization
internal import Video

final class OutputStage: @unchecked Sendable {
    let ring: FrameRing<FrameBuffer>
    // Atomic: released by the output thread when it ends, acquired by the control thread.
    let isFinished = Atomic<Bool>(false)
    // Atomic: written by the output thread for the control thread; statistics, hence relaxed.
    let writtenCount = Atomic<UInt64>(0)
    let latestAge = Atomic<Int64>(0)
    let recent = RecentFrames()
    // Atomic: the pause or resumption that this stage follows already; for the control thread.
    let followedTurn = Atomic<UInt64>(0)
    // Atomic: how often anything was written, card or picture; for the control thread.
    let writeCount = Atomic<UInt64>(0)
    // Atomic: frames that the sink was handed, whatever became of them; for the control thread.
    let handedCount = Atomic<UInt64>(0)
    // Atomic: whether the sink is away, and how often it went; for the control thread.
    let isAway = Atomic<Bool>(false)
    let interruptions = Atomic<UInt64>(0)
    // Output thread only; read by the control thread after the join.
    private(set) var summary: SinkSummary

    /// Without a new frame for so long the last one is written again …
    private static let repeatAfterNanoseconds: Int64 = 150_000_000
    /// … and from here on a card: an old picture must not pass for a live one. Chrome gives up on
    /// a camera that is silent for a second, so a watched sink never is.
    private static let cardAfterNanoseconds: Int64 = 1_000_000_000
    /// While nobody looks a card is written so often, which shows that the sink is still there. Others
    /// who want the device take who writes fewer than four pictures a second for nobody.
    private static let idleCardNanoseconds: Int64 = 200_000_000

    private let sink: any FrameSink
    private let cards: CardSet
    private let counters: PipelineCounters
    private let switches: PipelineSwitches
    private let clock: (any FrameClock)?
    // Output thread only: the slot of the frame written last, kept so that it can be repeated.
    private var shownSlot: Int?
    private var lastFrameTime: Int64?
    private var lastWriteTime: Int64 = 0
    private var turn: UInt64 = 0
    private var isIdle = false
    private var shownCard: FrameBuffer?
    // Output thread only: whether a card is all that readers can be given.
    private var isCovered = false
    // What a recording shows during a pause; nil for a watched sink, and for frames that come as fast
    // as they can, whose time does not go on meanwhile.
    private var recordedCard: RecordedCard?

    /// Whether it writes something at any time, if only a card.
    var isNeverSilent: Bool { sink.isWatched }

    init(
        sink: any FrameSink, ring: FrameRing<FrameBuffer>, cards: CardSet,
        counters: PipelineCounters, switches: PipelineSwitches, clock: (any FrameClock)?
    ) {
        self.sink = sink
        self.ring = ring
        self.cards = cards
        self.counters = counters
        self.switches = switches
        self.clock = clock
        summary = SinkSummary(name: sink.name)
        if !sink.isWatched, ring.policy == .latest { recordedCard = RecordedCard(cards[.paused]) }
    }

    func run() {
        if sink.isWatched { writeCard() }
        while !summary.isLost {
            let isLast = ring.isClosed
            noticePause()
            noticeViewers()
            if let slot = ring.beginRead() {
                if PipelineSwitches.isPaused(turn) {
                    drop(slot)
                } else if isIdle {
                    ring.endRead(slot)
                    summary.framesUnwatched += 1
                } else {
                    write(slot)
                }
            } else if isLast {
                break
            } else {
                ring.waitForFrame(timeoutNanoseconds: waitNanoseconds)
                // Not once it is over: the next frame may be earlier than such a card.
                if switches.turn == turn, PipelineSwitches.isPaused(turn) { recordPause() }
                bridgePause()
            }
        }
        if let shownSlot { ring.endRead(shownSlot) }
        ring.close()
        if !sink.finish() { summary.isLost = true }
        summary.interruptions = interruptions.load(ordering: .relaxed)
        isFinished.store(true, ordering: .releasing)
    }

    /// Forgets at a pause, however short, all pictures from before it, and shows a card at once.
    private func noticePause() {
        let now = switches.turn
        guard now != turn else { return }
        turn = now
        while let slot = ring.beginRead() { drop(slot) }
        forgetPicture()
        if sink.isWatched { writeCard() }
        if PipelineSwitches.isPaused(turn) { recordPause() }
        followedTurn.store(now, ordering: .relaxed)
    }

    /// When the last viewer has gone, nothing of what was shown stays behind; who comes sees a card at
    /// once.
    private func noticeViewers() {
        guard switches.isIdle != isIdle, sink.isWatched else { return }
        isIdle.toggle()
        guard isIdle else { return writeCard() }
        forgetPicture()
        writeCard()
    }

    private func forgetPicture() {
        if let shownSlot { ring.endRead(shownSlot) }
        shownSlot = nil
        lastFrameTime = nil
    }

    private func drop(_ slot: Int) {
        ring.endRead(slot)
        summary.framesPaused += 1
    }

    private func write(_ slot: Int) {
        let frame = ring[slot]
        let started = MonotonicClock.nowNanoseconds
        let status = sink.write(frame)
        let now = MonotonicClock.nowNanoseconds
        lastWriteTime = now
        isCovered = false
        if let shownSlot { ring.endRead(shownSlot) }
        shownSlot = slot
        handedCount.wrappingAdd(1, ordering: .relaxed)
        follow(status)
        switch status {
        case .written:
            recordedCard?.follow(frame.metadata.timestampNanoseconds, writtenAt: now)
            count(frame, started: started, now: now)
        case .again, .away: summary.framesRefused += 1
        case .lost: break
        }
    }

    /// What every write, of a picture or a card, says of the sink.
    private func follow(_ status: SinkStatus) {
        switch status {
        case .written:
            writeCount.wrappingAdd(1, ordering: .relaxed)
            isAway.store(false, ordering: .relaxed)
        case .again: break
        case .away:
            guard !isAway.exchange(true, ordering: .relaxed) else { return }
            interruptions.wrappingAdd(1, ordering: .relaxed)
        case .lost: summary.isLost = true
        }
    }

    private func count(_ frame: FrameBuffer, started: Int64, now: Int64) {
        let age = now - frame.metadata.timestampNanoseconds
        summary.framesOut += 1
        summary.age.record(nanoseconds: age)
        summary.write.record(nanoseconds: now - started)
        if let lastFrameTime { summary.intervals.record(nanoseconds: now - lastFrameTime) }
        lastFrameTime = now
        latestAge.store(age, ordering: .relaxed)
        recent.record(ageNanoseconds: age, at: now)
        writtenCount.wrappingAdd(1, ordering: .relaxed)
        guard switches.readsClock, let shown = clock?.read(frame) else { return }
        summary.ageByBarcode.record(nanoseconds: now - shown.timestampNanoseconds)
        if shown.sequence != frame.metadata.sequence { summary.barcodeMismatches += 1 }
    }

    /// Keeps a watched sink alive while no frame comes.
    private func bridgePause() {
        let now = MonotonicClock.nowNanoseconds
        let isOtherCard = lastFrameTime == nil && shownCard !== cards[card]
        guard sink.isWatched, !ring.isClosed,
            now - lastWriteTime >= silenceNanoseconds || isOtherCard
        else { return }
        if let lastFrameTime, now - lastFrameTime < Self.cardAfterNanoseconds, let shownSlot {
            follow(sink.write(ring[shownSlot]))
            summary.framesRepeated += 1
            lastWriteTime = now
        } else {
            writeCard()
        }
    }

    /// For so long nothing has to be written.
    private var silenceNanoseconds: Int64 {
        isIdle ? Self.idleCardNanoseconds : Self.repeatAfterNanoseconds
    }

    private var waitNanoseconds: Int64 {
        guard PipelineSwitches.isPaused(turn), let recordedCard else {
            return silenceNanoseconds
        }
        let wait = recordedCard.dueTime - MonotonicClock.nowNanoseconds
        return min(max(1_000_000, wait), Self.repeatAfterNanoseconds)
    }

    /// A recording has as many cards as it would have frames, so that its time goes on.
    private func recordPause() {
        guard !ring.isClosed, let card = recordedCard?.next(at: MonotonicClock.nowNanoseconds)
        else { return }
        follow(sink.write(card))
        summary.cards += 1
    }

    private var card: Card.Kind {
        PipelineSwitches.isPaused(turn) ? .paused : switches.card
    }

    private func writeCard() {
        let frame = cards[card]
        shownCard = frame
        // The first one takes the place of all pictures, of an earlier run's, too.
        let status = isCovered ? sink.write(frame) : sink.overwrite(with: frame)
        follow(status)
        if status == .written { isCovered = true }
        summary.cards += 1
        lastWriteTime = MonotonicClock.nowNanoseconds
    }
}
