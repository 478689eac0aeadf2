// Which camera is tried when one was open before.

import Testing

@testable import Daemon

@Suite struct CameraSourceTests {
    private func order(_ named: [String], same: [String], lostSeconds: Double?) -> [String] {
        CameraSource.order(
            named: named, same: same, lostNanoseconds: lostSeconds.map { Int64($0 * 1e9) })
    }

    @Test func `the camera from before comes first, wherever it is now`() {
        #expect(order(["a", "b", "c"], same: ["b"], lostSeconds: nil) == ["b", "a", "c"])
        #expect(order(["a"], same: ["d"], lostSeconds: nil) == ["d", "a"])
        #expect(order(["a", "b"], same: [], lostSeconds: nil) == ["a", "b"])
    }

    @Test func `one that was lost is waited for before another may film`() {
        #expect(order(["a", "b"], same: [], lostSeconds: 0) == [])
        #expect(order(["a", "b"], same: [], lostSeconds: 9.9) == [])
        #expect(order(["a", "b"], same: ["b"], lostSeconds: 5) == ["b"])
        #expect(order(["a", "b"], same: [], lostSeconds: 10) == ["a", "b"])
        #expect(order(["a", "b"], same: ["b"], lostSeconds: 10) == ["b", "a"])
    }
}
