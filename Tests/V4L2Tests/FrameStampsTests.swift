// Timestamps and sequence numbers that drivers get wrong.

import Testing

@testable import V4L2

@Suite struct TimestampGuardTests {
    private let second: Int64 = 1_000_000_000

    @Test func keepsAPlausibleTimestamp() {
        var stamps = TimestampGuard()
        let now = 100 * second
        #expect(stamps.accept(now - 5_000_000, isMonotonic: true, now: now) == now - 5_000_000)
        #expect(stamps.replaced == 0)
    }

    @Test func replacesOneOfAnotherClock() {
        var stamps = TimestampGuard()
        #expect(
            stamps.accept(99 * second, isMonotonic: false, now: 99 * second + 5) == 99 * second + 5)
        #expect(stamps.replaced == 1)
    }

    @Test func replacesOneFromTheFutureOrTooOld() {
        var stamps = TimestampGuard()
        let now = 100 * second
        #expect(stamps.accept(now + 1, isMonotonic: true, now: now) == now)
        #expect(stamps.accept(now - second, isMonotonic: true, now: now + 1) == now + 1)
        #expect(stamps.accept(0, isMonotonic: true, now: now + 2) == now + 2)
        #expect(stamps.replaced == 3)
    }

    @Test func neverGoesBackwards() {
        var stamps = TimestampGuard()
        let now = 100 * second
        #expect(stamps.accept(now - 10, isMonotonic: true, now: now) == now - 10)
        #expect(stamps.accept(now - 20, isMonotonic: true, now: now + 5) == now + 5)
        #expect(stamps.accept(now + 1, isMonotonic: true, now: now + 6) == now + 6)
        #expect(stamps.replaced == 2)
    }
}

@Suite struct SequenceCounterTests {
    @Test func countsTheGaps() {
        var counter = SequenceCounter()
        #expect([7, 8, 11, 12].map { counter.accept($0) } == [7, 8, 11, 12])
        #expect(counter.lost == 2)
    }

    @Test func goesOnPastTheEndOf32Bits() {
        var counter = SequenceCounter()
        #expect(counter.accept(.max) == UInt64(UInt32.max))
        #expect(counter.accept(1) == UInt64(UInt32.max) + 2)
        #expect(counter.lost == 1)
    }

    @Test func takesARestartedOrStuckCountForTheNextFrame() {
        var counter = SequenceCounter()
        #expect([500, 0, 1, 1].map { counter.accept($0) } == [500, 501, 502, 503])
        #expect(counter.lost == 0)
    }
}
