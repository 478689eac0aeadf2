// What needs no device of counting readers.

import Foundation
import Testing

@testable import V4L2

@Suite struct LoopbackReadersTests {
    @Test(arguments: [
        ("3\n", 3), ("0\n", 0), ("12", 12), ("", nil), ("\n", nil), ("-1\n", nil),
        ("many\n", nil), ("99999999999999999999\n", nil),
    ])
    func theKernelsCountIsANumberOrNothing(text: String, expected: Int?) throws {
        let file = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
        try Data(text.utf8).write(to: file)
        defer { try? FileManager.default.removeItem(at: file) }
        #expect(LoopbackReaders.useCount(at: file.path) == expected)
    }

    @Test func withoutADriverNobodyCanTell() {
        #expect(LoopbackReaders.useCount(at: "/nowhere/refcnt") == nil)
    }
}
