// What is read of /proc and /sys: as x86, ARM and damaged machines show it.

import Foundation
import Testing

@testable import Daemon

@Suite struct ProcessorTests {
    let folder: URL

    init() throws {
        folder = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    }

    private func write(_ text: String, _ path: String) throws {
        let file = folder.appending(path: path)
        try FileManager.default.createDirectory(
            at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data(text.utf8).write(to: file)
    }

    /// A machine whose processors `n` have the siblings `siblings[n]`.
    private func makeTopology(_ siblings: [String]) throws {
        for (index, list) in siblings.enumerated() {
            try write(list + "\n", "cpu\(index)/topology/thread_siblings_list")
        }
    }

    private func processor(allowed: Set<Int>?) -> Processor {
        Processor(
            information: folder.path + "/cpuinfo", system: folder.path, allowed: allowed)
    }

    @Test func `threads of one core count once, and only where this process may run`() throws {
        // Numbered as Intel does, and as AMD does.
        for siblings in [
            ["0,4", "1,5", "2,6", "3,7", "0,4", "1,5", "2,6", "3,7"],
            ["0-1", "0-1", "2-3", "2-3", "4-5", "4-5", "6-7", "6-7"],
        ] {
            try makeTopology(siblings)
            #expect(processor(allowed: Set(0..<8)).coreCount == 4)
            #expect(processor(allowed: [0]).coreCount == 1)
        }
        #expect(processor(allowed: [0, 1]).coreCount == 1)
        #expect(processor(allowed: [1, 2]).coreCount == 2)
        try makeTopology(["0", "1", "2"])
        #expect(processor(allowed: [0, 1, 2]).coreCount == 3)
    }

    @Test(arguments: ["", "1", "x", "0-", "-1", "1-0", "0,,1", "0-99999999999", "0-1-2", "0 1"])
    func `what is no topology leaves every processor a core`(list: String) throws {
        try makeTopology(["0-1", "0-1"])
        try write(list, "cpu0/topology/thread_siblings_list")
        #expect(processor(allowed: [0, 1]).coreCount == 2)
    }

    @Test func `a machine that tells nothing has at least one core`() {
        #expect(processor(allowed: [0, 3, 5]).coreCount == 3)
        #expect(processor(allowed: nil).coreCount >= 1)
        #expect(processor(allowed: []).threadCount == 1)
        #expect(processor(allowed: nil).name == "unknown")
        #expect(processor(allowed: [0]).identity == "unknown, L1 32 KiB, 1 cores")
    }

    @Test func `the network gets 64 threads at most`() throws {
        try makeTopology((0..<100).map { "\($0)" })
        #expect(processor(allowed: Set(0..<100)).coreCount == 100)
        #expect(processor(allowed: Set(0..<100)).threadCount == 64)
    }

    @Test func `processors of one name differ by model, stepping, caches and cores`() throws {
        func identity(_ model: Int, _ stepping: Int, _ size: String, _ cores: Int) throws -> String
        {
            try write(
                """
                processor\t: 0
                vendor_id\t: AuthenticAMD
                cpu family\t: 26
                model\t\t: \(model)
                model name\t: AMD EPYC
                stepping\t: \(stepping)

                processor\t: 1
                vendor_id\t: Other
                model\t\t: 99
                """, "cpuinfo")
            for (name, value) in [("level", "2"), ("type", "Unified"), ("size", size)] {
                try write(value + "\n", "cpu0/cache/index0/\(name)")
            }
            let processor = processor(allowed: Set(0..<cores))
            #expect(processor.name == "AMD EPYC")
            return processor.identity
        }
        let one = try identity(2, 1, "1024K", 2)
        #expect(one == "AuthenticAMD/26/2/1, L1 32 KiB, L2 1024 KiB, 2 cores")
        let others = try [
            identity(3, 1, "1024K", 2), identity(2, 2, "1024K", 2), identity(2, 1, "512K", 2),
            identity(2, 1, "1024K", 4),
        ]
        #expect(Set(others + [one]).count == 5)
    }

    @Test func `ARM names its processors in fields of its own`() throws {
        try write(
            """
            processor\t: 0
            BogoMIPS\t: 50.00
            CPU implementer\t: 0x41
            CPU architecture: 8
            CPU variant\t: 0x3
            CPU part\t: 0xd0c
            CPU revision\t: 1
            """, "cpuinfo")
        let processor = processor(allowed: [0])
        #expect(processor.name == "unknown")
        #expect(processor.identity.hasPrefix("0x41/8/0x3/0xd0c/1, "))
    }

    @Test func `this machine has cores, no more than processors`() {
        let processor = Processor.shared
        #expect((1...ProcessInfo.processInfo.activeProcessorCount).contains(processor.coreCount))
        #expect(processor.identity.contains("L1 "))
    }
}
