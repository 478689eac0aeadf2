// Which camera is tried when one was open before.

import Testing

@testable import Daemon

@Suite struct CameraSourceTests {
    private func order(
        _ named: [String], same: [String], lostSeconds: Double? = nil, others: [String] = []
    ) -> [String] {
        CameraSource.order(
            named: named, same: same,
            loss: lostSeconds.map { .init(time: 7_000_000_000 - Int64($0 * 1e9), others: others) },
            now: 7_000_000_000)
    }

    @Test func `the camera from before comes first, wherever it is now`() {
        #expect(order(["a", "b", "c"], same: ["b"]) == ["b", "a", "c"])
        #expect(order(["a"], same: ["d"]) == ["d", "a"])
        #expect(order(["a", "b"], same: []) == ["a", "b"])
    }

    @Test func `one that was lost is waited for before another may film`() {
        #expect(order(["a", "b"], same: [], lostSeconds: 0) == [])
        #expect(order(["a", "b"], same: [], lostSeconds: 9.9) == [])
        #expect(order(["a", "b"], same: ["b"], lostSeconds: 5) == ["b"])
        #expect(order(["a", "b"], same: [], lostSeconds: 10) == ["a", "b"])
        #expect(order(["a", "b"], same: ["b"], lostSeconds: 10) == ["b", "a"])
    }

    @Test func `a second one of its kind is another one, if it was there already`() {
        #expect(order(["a", "b"], same: ["b"], lostSeconds: 1, others: ["b"]) == [])
        // Back under another number.
        #expect(order(["b", "c"], same: ["b", "c"], lostSeconds: 1, others: ["b"]) == ["c"])
        #expect(order(["b"], same: ["b"], lostSeconds: 11, others: ["b"]) == ["b"])
    }
}
