import Realtime
import Testing

/// What the ring promises when its two sides take turns; `ring-stress` checks it in parallel.
@Suite struct FrameRingTests {
    final class Box {
        var number = 0
    }

    func publish(_ number: Int, into ring: FrameRing<Box>) -> Bool {
        guard let slot = ring.beginWrite() else { return false }
        ring[slot].number = number
        ring.publish(slot)
        return true
    }

    func take(from ring: FrameRing<Box>) -> Int? {
        guard let slot = ring.beginRead() else { return nil }
        defer { ring.endRead(slot) }
        return ring[slot].number
    }

    @Test func `latest: the consumer gets the newest and the rest are counted`() {
        let ring = FrameRing<Box>(policy: .latest) { _ in Box() }
        #expect(take(from: ring) == nil)
        for number in 1...10 { #expect(publish(number, into: ring)) }
        #expect(take(from: ring) == 10)
        #expect(take(from: ring) == nil)
        #expect(ring.skippedFrames == 9)
    }

    @Test(arguments: [(RingPolicy.latest, UInt64(1)), (.everyFrame, 3)])
    func `what nobody took is counted once`(policy: RingPolicy, left: UInt64) {
        let ring = FrameRing<Box>(policy: policy) { _ in Box() }
        #expect(ring.takeRemaining() == 0)
        for number in 1...3 { #expect(publish(number, into: ring)) }
        #expect(ring.takeRemaining() == left)
        #expect(ring.takeRemaining() == 0)
        #expect(ring.skippedFrames == 3 - left)
    }

    @Test func `latest: the producer finds a slot while the consumer holds two`() {
        let ring = FrameRing<Box>(policy: .latest) { _ in Box() }
        _ = publish(1, into: ring)
        let first = ring.beginRead()
        _ = publish(2, into: ring)
        let second = ring.beginRead()
        for number in 3...20 { #expect(publish(number, into: ring)) }
        #expect(first.map { ring[$0].number } == 1)
        #expect(second.map { ring[$0].number } == 2)
        if let first, let second {
            ring.endRead(first)
            ring.endRead(second)
        }
        #expect(take(from: ring) == 20)
    }

    @Test func `everyFrame: order is kept and a full ring refuses`() {
        let ring = FrameRing<Box>(policy: .everyFrame) { _ in Box() }
        for number in 1...4 { #expect(publish(number, into: ring)) }
        #expect(!publish(5, into: ring))
        #expect(take(from: ring) == 1)
        #expect(publish(5, into: ring))
        #expect((2...5).map { _ in take(from: ring) } == [2, 3, 4, 5])
        #expect(ring.skippedFrames == 0)
    }

    @Test func `an abandoned slot is never read`() {
        let ring = FrameRing<Box>(policy: .latest) { _ in Box() }
        _ = publish(1, into: ring)
        if let slot = ring.beginWrite() {
            ring[slot].number = 2
            ring.abandon(slot)
        }
        #expect(take(from: ring) == 1)
        #expect(take(from: ring) == nil)
    }

    @Test func `what was ready before the ring was closed can still be read`() {
        let ring = FrameRing<Box>(policy: .everyFrame) { _ in Box() }
        _ = publish(1, into: ring)
        ring.close()
        #expect(ring.isClosed)
        #expect(take(from: ring) == 1)
    }
}
