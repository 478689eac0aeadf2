// The lock-free ring between two stages: one thread produces, one consumes, slots change owner.

internal import Synchronization

/// What happens when the producer is faster than the consumer.
public enum RingPolicy: Sendable {
    /// The producer never waits and the consumer takes the newest frame: a slow consumer costs
    /// frames, never latency. For live work.
    case latest
    /// Every frame arrives in order; the producer must wait for a free slot. For files.
    case everyFrame
}

/// A ring of preallocated slots, single producer, single consumer, no locks.
///
/// Each slot has an atomic state (free, writing, ready, reading) that says which thread owns its
/// element; nothing is copied. The producer calls `beginWrite`, fills the slot's element and calls
/// `publish` (or `abandon`); the consumer calls `beginRead`, uses the element and calls `endRead`.
/// The consumer may hold two slots at a time (the frame it shows and the next one).
///
/// Do not use it with two producers or two consumers: each side keeps private state that is not
/// atomic.
public final class FrameRing<Element>: @unchecked Sendable {
    /// How the ring treats a slow consumer. Immutable.
    public let policy: RingPolicy
    /// Slots in the ring. Immutable.
    public let slotCount: Int

    private let slots: UnsafeMutablePointer<Slot>
    // Immutable after init; the elements they hold belong to the owner of the slot.
    private let elements: [Element]
    // Slot published last, or -1. Atomic, but only a hint where to look: the slot's state decides.
    private let newest = Padded<Atomic<Int>>(Atomic(-1))
    // Frames that the consumer never saw. Atomic: written by the producer, statistics only.
    private let skipped = Padded<Atomic<UInt64>>(Atomic(0))
    // Atomic: set by either side when it leaves, never reset.
    private let closed = Padded<Atomic<Bool>>(Atomic(false))
    private let published = Event()
    private let released = Event()

    // Producer thread only: where the next free slot is looked for, and the slot published last.
    private var writeIndex = 0
    private var lastPublished = -1
    // Consumer thread only: next slot of `everyFrame`.
    private var readIndex = 0

    /// A ring whose elements are all made now.
    ///
    /// - Parameters:
    ///   - slotCount: at least 4 for `latest`: one being written, one ready, two being read.
    ///   - makeElement: called once for each slot.
    public init(policy: RingPolicy, slotCount: Int = 4, makeElement: (Int) -> Element) {
        precondition(slotCount >= 4, "a ring needs four slots")
        self.policy = policy
        self.slotCount = slotCount
        elements = (0..<slotCount).map(makeElement)
        slots = .allocate(capacity: slotCount)
        for index in 0..<slotCount {
            slots.advanced(by: index).initialize(to: Slot())
        }
    }

    deinit {
        slots.deinitialize(count: slotCount)
        slots.deallocate()
    }

    /// The element of a slot that the caller owns.
    ///
    /// - Realtime: safe
    public subscript(slot: Int) -> Element { elements[slot] }

    /// Frames that were published but that the consumer never took. Any thread.
    public var skippedFrames: UInt64 { skipped.value.load(ordering: .relaxed) }

    /// Whether one side has left. Any thread.
    public var isClosed: Bool { closed.value.load(ordering: .acquiring) }

    /// Tells the other side that no more frames will come, or that nobody will take any.
    /// What is ready can still be read. Either thread, or the control thread.
    public func close() {
        // Releasing: whoever sees the ring closed also sees every frame published before.
        closed.value.store(true, ordering: .releasing)
        published.set()
        released.set()
    }

    /// Wakes a consumer that waits for a frame, because something else has changed. Control thread.
    public func wakeReader() { published.set() }

    // MARK: Producer

    /// Takes a free slot for writing; `nil` if there is none (only with `everyFrame`).
    ///
    /// - Realtime: safe
    public func beginWrite() -> Int? {
        switch policy {
        case .everyFrame:
            return claim(writeIndex) ? writeIndex : nil
        case .latest:
            // At most one slot is ready and two are being read, so one of four is free. The slot
            // behind the last one is tried first, which goes round the ring.
            for step in 0..<slotCount {
                let index = (writeIndex + step) % slotCount
                if claim(index) { return index }
            }
            return nil
        }
    }

    /// Waits until the consumer may have released a slot, or the ring is closed.
    public func waitForSpace(timeoutNanoseconds: Int64) {
        released.wait(timeoutNanoseconds: timeoutNanoseconds)
    }

    /// Hands a written slot to the consumer. Never waits.
    ///
    /// - Realtime: safe
    public func publish(_ slot: Int) {
        // First, so that at most one slot is ever ready: the consumer cannot take an older frame
        // after a newer one, however long it sleeps between two instructions.
        if policy == .latest { reclaimLast() }
        #if WEAKENED_RING
            // Wrong on purpose: ThreadSanitizer must object to this build (`make test-ring`).
            slots[slot].state.store(.ready, ordering: .relaxed)
        #else
            // Releasing: the consumer that acquires this state sees the whole frame.
            slots[slot].state.store(.ready, ordering: .releasing)
        #endif
        // Relaxed: a consumer that sees it too early or too late finds nothing to take, and is woken
        // by the event, which orders both stores before its next look.
        newest.value.store(slot, ordering: .relaxed)
        lastPublished = slot
        writeIndex = (slot + 1) % slotCount
        published.set()
    }

    /// Gives a slot back unpublished: the frame turned out to be bad.
    ///
    /// - Realtime: safe
    public func abandon(_ slot: Int) {
        // Relaxed: only this thread ever claims a free slot, and nobody reads what is in it.
        slots[slot].state.store(.free, ordering: .relaxed)
    }

    private func claim(_ slot: Int) -> Bool {
        // Acquiring: pairs with the release in `endRead`, so that the new picture is not written
        // over one that is still being read. Only the producer leaves `free`: no exchange needed.
        guard slots[slot].state.load(ordering: .acquiring) == .free else { return false }
        slots[slot].state.store(.writing, ordering: .relaxed)
        return true
    }

    private func reclaimLast() {
        guard lastPublished >= 0 else { return }
        // Relaxed: either the consumer has it (then nothing happens), or nobody ever read it and it
        // is this thread's own again. The release of the next publication carries it along.
        let (reclaimed, _) = slots[lastPublished].state.compareExchange(
            expected: .ready, desired: .free, ordering: .relaxed)
        if reclaimed { skipped.value.wrappingAdd(1, ordering: .relaxed) }
    }

    // MARK: Consumer

    /// Takes the newest ready slot (`latest`) or the oldest (`everyFrame`); `nil` if none is ready.
    ///
    /// - Realtime: safe
    public func beginRead() -> Int? {
        switch policy {
        case .everyFrame:
            let slot = readIndex
            guard take(slot) else { return nil }
            readIndex = (slot + 1) % slotCount
            return slot
        case .latest:
            // Relaxed: a hint, see `publish`.
            var slot = newest.value.load(ordering: .relaxed)
            while slot >= 0 {
                if take(slot) { return slot }
                // Taken before, or reclaimed because a newer one was published: look again.
                let now = newest.value.load(ordering: .relaxed)
                if now == slot { return nil }
                slot = now
            }
            return nil
        }
    }

    /// Waits until a frame may have been published, or the ring is closed.
    public func waitForFrame(timeoutNanoseconds: Int64) {
        published.wait(timeoutNanoseconds: timeoutNanoseconds)
    }

    /// Gives a slot back to the producer.
    ///
    /// - Realtime: safe
    public func endRead(_ slot: Int) {
        // Releasing: what was read from the slot happens before it is written again.
        slots[slot].state.store(.free, ordering: .releasing)
        released.set()
    }

    /// Takes all that is ready and gives it back unread. For whoever has joined both threads.
    ///
    /// - Returns: how many frames.
    public func takeRemaining() -> UInt64 {
        var count: UInt64 = 0
        while let slot = beginRead() {
            endRead(slot)
            count += 1
        }
        return count
    }

    private func take(_ slot: Int) -> Bool {
        // Acquiring: pairs with the release in `publish`. An exchange, because the producer may
        // reclaim the slot at the same moment.
        slots[slot].state.compareExchange(
            expected: .ready, desired: .reading, ordering: .acquiring
        ).exchanged
    }
}

private enum SlotState: UInt8, AtomicRepresentable {
    case free, writing, ready, reading
}

/// A state on cache lines of its own: the two threads must not share one (128 bytes, because
/// processors fetch lines in pairs).
private struct Slot: ~Copyable {
    let state = Atomic<SlotState>(.free)
    private let padding = InlineArray<127, UInt8>(repeating: 0)
}

/// A value that shares no cache line with its neighbours.
private struct Padded<Value: ~Copyable>: ~Copyable {
    private let before = InlineArray<128, UInt8>(repeating: 0)
    let value: Value
    private let after = InlineArray<128, UInt8>(repeating: 0)
    init(_ value: consuming Value) { self.value = value }
}
