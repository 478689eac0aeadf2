// The share of the network's work: over the whole run and lately.

import Testing

@testable import Daemon

@Suite struct WorkShareTests {
    @Test func `before the first frame there is none`() {
        #expect(WorkShare().mean == nil)
        #expect(WorkShare().recent == nil)
    }

    @Test func `the status forgets what the report remembers`() throws {
        let share = WorkShare()
        for _ in 0..<3000 { share.record(1) }
        for _ in 0..<150 { share.record(0.2) }
        let (mean, recent) = try (#require(share.mean), #require(share.recent))
        #expect(abs(mean - (3000 + 150 * 0.2) / 3150) < 1e-3)
        #expect(abs(recent - 0.2) < 0.01)
        for _ in 0..<150 { share.record(1) }
        #expect(try #require(share.recent) > 0.99)
    }

    @Test func `the first frame, which is always whole, weighs no more than the others`() throws {
        let share = WorkShare()
        share.record(1)
        #expect(share.recent == 1)
        for _ in 0..<9 { share.record(0) }
        #expect(abs(try #require(share.recent) - 0.1) < 1e-3)
        #expect(abs(try #require(share.mean) - 0.1) < 1e-3)
    }

    @Test(arguments: [(-1, 0), (7, 1), (Double.nan, 0)] as [(Double, Double)])
    func `what cannot be a share does no harm`(given: Double, counted: Double) {
        let share = WorkShare()
        share.record(given)
        #expect(share.mean == counted && share.recent == counted)
    }
}
