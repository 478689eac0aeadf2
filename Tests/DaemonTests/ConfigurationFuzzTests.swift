// Hostile and damaged configuration files: an error that names the file, never a crash or a hang.

import Foundation
import Testing

@testable import Daemon

/// SplitMix64: the same mutations in every run.
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

/// Whether `bytes` were accepted. Records an issue if the error does not name the file.
private func isAccepted(_ bytes: [UInt8]) -> Bool {
    do {
        let loaded = try Configuration.parse(bytes, file: "fuzz.toml")
        #expect(!loaded.description.isEmpty)
        return true
    } catch {
        #expect(!error.problems.isEmpty)
        #expect(error.problems.allSatisfy { $0.description.hasPrefix("fuzz.toml:") })
        #expect(error.description.utf8.count < 60_000)
        return false
    }
}

@Suite struct ConfigurationFuzzTests {
    // The default file with all its settings in force, so that mutations meet values.
    private let seed = Array(
        ConfigurationSchema.annotatedFile
            .split(separator: "\n", omittingEmptySubsequences: false)
            .map { $0.hasPrefix("#") && !$0.hasPrefix("# ") ? String($0.dropFirst()) : String($0) }
            .joined(separator: "\n").utf8)

    private func mutate(_ bytes: inout [UInt8], _ random: inout SeededGenerator) {
        let position = Int.random(in: 0..<bytes.count, using: &random)
        switch Int.random(in: 0..<6, using: &random) {
        case 0: bytes.removeSubrange(position...)
        case 1: bytes[position] ^= 1 << UInt8.random(in: 0..<8, using: &random)
        case 2: bytes[position] = UInt8.random(in: 0...255, using: &random)
        case 3:
            let end = min(bytes.count, position + Int.random(in: 1...40, using: &random))
            let target = Int.random(in: 0..<bytes.count, using: &random)
            bytes.insert(contentsOf: bytes[position..<end], at: target)
        case 4:
            let end = min(bytes.count, position + Int.random(in: 1...40, using: &random))
            bytes.removeSubrange(position..<end)
        default:
            let parts = [
                "[", "]", "{", "}", "\"", "'", "\"\"\"", "'''", "a.", "[[", "\\u", "#", "=", "é",
                "\\\n§", "\n",
            ]
            let part = parts.randomElement(using: &random) ?? "["
            let count = Int.random(in: 1...200, using: &random)
            bytes.insert(contentsOf: String(repeating: part, count: count).utf8, at: position)
        }
        if bytes.isEmpty { bytes = [UInt8(ascii: "a")] }
    }

    @Test func mutatedFilesParseOrGiveAnErrorThatNamesThem() {
        #expect(isAccepted(seed))
        var random = SeededGenerator(state: 2026)
        var acceptedCount = 0
        // `make fuzz` sets LUCIDA_FUZZ_ROUNDS for a longer search.
        let rounds = ProcessInfo.processInfo.environment["LUCIDA_FUZZ_ROUNDS"].flatMap { Int($0) }
        let count = 5000 * (rounds ?? 1)
        for _ in 0..<count {
            var bytes = seed
            for _ in 0..<Int.random(in: 1...4, using: &random) { mutate(&bytes, &random) }
            if isAccepted(bytes) { acceptedCount += 1 }
        }
        // Both ends are reached: comments take damage without harm, values do not.
        #expect(acceptedCount > count / 20 && acceptedCount < count * 19 / 20)
    }

    @Test func mutatedFilesAreReloadedAsAWholeOrNotAtAll() throws {
        let session = try SteeredSession()
        let seed = Array("[transform]\nstyle = \"oil\"\nseed = 3\n[log]\nlevel = \"info\"\n".utf8)
        var random = SeededGenerator(state: 7)
        var acceptedCount = 0
        for _ in 0..<400 {
            var bytes = seed
            for _ in 0..<Int.random(in: 1...3, using: &random) { mutate(&bytes, &random) }
            try Data(bytes).write(to: session.file)
            let before = session.state
            if session.control.reload(.file).ok {
                acceptedCount += 1
            } else {
                #expect(session.state == before)
            }
        }
        #expect(acceptedCount > 10 && acceptedCount < 390)
    }

    @Test func deepNestingIsRefused() {
        let many = 100_000
        let texts = [
            "a = " + String(repeating: "[", count: many),
            "a = " + String(repeating: "[", count: many) + String(repeating: "]", count: many),
            "a = " + String(repeating: "{a=", count: many),
            String(repeating: "a.", count: many) + "a = 1",
            "[" + String(repeating: "a.", count: many) + "a]",
            "[[" + String(repeating: "a.", count: many) + "a]]",
            String(repeating: "[", count: many),
            "a = {" + String(repeating: "a.", count: many) + "a = 1}",
            String(repeating: "'.'.", count: many) + "a = 1",
            String(repeating: "\".\" . ", count: many) + "a = 1",
        ]
        for text in texts { #expect(!isAccepted(Array(text.utf8)), "\(text.prefix(20))") }
    }

    // The deepest that all limits together let through.
    @Test func theDeepestNestingOverflowsNoStack() throws {
        let key = String(repeating: "a.", count: 63) + "a"
        let text =
            "[\(key)]\n\(key) = " + String(repeating: "[\n{\(key) = ", count: 15) + "1"
            + String(repeating: "}]", count: 15)
        _ = try TOMLTable(parsing: Array(text.utf8))
        #expect(!isAccepted(Array(text.utf8)))
    }

    @Test func dotsOutsideOfKeysAreFine() {
        let text =
            "# " + String(repeating: ".", count: 500) + "\nreport.path = '../../a.b/c.d.json'"
        #expect(isAccepted(Array(text.utf8)))
    }

    // Hundreds of megabytes would stay behind if a parse kept its document.
    @Test func parsingFreesItsMemory() throws {
        let good = Array((0..<5_000).map { "key\($0) = [1]\n" }.joined().utf8)
        let bad = good + Array("key = ".utf8)
        let before = try residentBytes()
        for _ in 0..<100 {
            #expect((try? TOMLTable(parsing: good)) != nil)
            #expect((try? TOMLTable(parsing: bad)) == nil)
        }
        #expect(try residentBytes() < before + 128 << 20)
    }

    // /proc/self/statm: proc_pid_statm(5).
    private func residentBytes() throws -> Int {
        let text = try String(contentsOfFile: "/proc/self/statm", encoding: .utf8)
        return try #require(Int(text.split(separator: " ")[1])) * sysconf(Int32(_SC_PAGESIZE))
    }

    @Test func largeFilesTakeLinearTime() {
        // Thousands of keys, sections and problems: a quadratic step would show.
        let texts = [
            (0..<8_000).map { "k\($0) = 1\n" }.joined(),
            (0..<8_000).map { "[s\($0)]\n" }.joined(),
            String(repeating: "[[a]]\n", count: 20_000),
            String(repeating: "a = 1\n", count: 20_000),
            "a = [" + String(repeating: "1,\n", count: 30_000) + "]",
            "[camera.controls]\n" + (0..<8_000).map { "c\($0) = 1\n" }.joined(),
            "a = \"" + String(repeating: "\\n", count: 100_000) + "\"",
            String(repeating: "x", count: 1_000_000) + " = 1",
            "a = " + String(repeating: "9", count: 1_000_000),
            String(repeating: "/\n", count: 100_000),
        ]
        for text in texts { #expect(!isAccepted(Array(text.utf8)), "\(text.prefix(20))") }
    }

    @Test func oddBytesAreRefusedWithTheirLine() {
        let cases: [([UInt8], String)] = [
            ([0], "fuzz.toml:1: column 1: "),
            (Array("# a\u{0}b\n".utf8), "fuzz.toml:1: column 4: "),
            (Array("[log]\n\"a\u{0}b\" = 1\n".utf8), "fuzz.toml:2: column 3: "),
            (Array("[log]\n\"\\u0000\" = 1\n".utf8), "fuzz.toml:2: log.\u{FFFD} is not a setting"),
            (Array("\n[log]\nlevel = \"in\u{1}fo\"\n".utf8), "fuzz.toml:3: column 12: "),
            (Array("\n\n".utf8) + [0xC0, 0x80], "fuzz.toml:3: not UTF-8"),
            ([0xFF, 0xFE, 0x61, 0x00], "fuzz.toml:1: not UTF-8"),
            (Array("[log]\rlevel = \"info\"".utf8), "fuzz.toml:1: "),
            (Array("[report]\npath = \"a\\u0000b\"".utf8), "fuzz.toml:2: report.path is"),
            (Array("[report]\npath = \"\\uD800\"".utf8), "fuzz.toml:2: column 1"),
        ]
        for (bytes, start) in cases {
            do {
                _ = try Configuration.parse(bytes, file: "fuzz.toml")
                Issue.record("accepted: \(start)")
            } catch {
                #expect(error.description.hasPrefix(start), "\(error.description)")
            }
        }
    }
}
