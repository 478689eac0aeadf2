// The safetensors reader: what it reads, and that nothing a stranger sends brings it down.

import Foundation
import Glibc
import Testing

@testable import NeuralEngine

/// A file of a header and so many bytes of data.
private func file(_ header: String, data: Int) -> [UInt8] {
    file(header, data: [UInt8](repeating: 0, count: data))
}

private func file(_ header: String, data: [UInt8]) -> [UInt8] {
    let length = UInt64(header.utf8.count)
    return (0..<8).map { UInt8(truncatingIfNeeded: length >> (8 * $0)) } + Array(header.utf8) + data
}

private func tensor(_ dtype: String, _ shape: String, _ offsets: String) -> String {
    #"{"dtype":"\#(dtype)","shape":\#(shape),"data_offsets":\#(offsets)}"#
}

/// A hostile or broken file and a word of the reason for which it must be refused.
struct Malformed: CustomTestStringConvertible, Sendable {
    let name: String
    let bytes: [UInt8]
    let reason: String
    var testDescription: String { name }

    init(_ name: String, _ bytes: [UInt8], _ reason: String) {
        self.name = name
        self.bytes = bytes
        self.reason = reason
    }

    init(_ name: String, header: String, data: Int = 8, _ reason: String) {
        self.init(name, file(header, data: data), reason)
    }

    static let good = tensor("F32", "[2]", "[0,8]")

    static let all: [Malformed] = [
        Malformed("empty file", [], "too few"),
        Malformed("seven bytes", [1, 0, 0, 0, 0, 0, 0], "too few"),
        Malformed("no header", [9, 0, 0, 0, 0, 0, 0, 0], "ends before"),
        Malformed("huge header", [UInt8](repeating: 0xff, count: 64), "claims"),
        Malformed("header a little too long", [1, 0, 16, 0, 0, 0, 0, 0], "claims"),
        Malformed("header of no bytes", [UInt8](repeating: 0, count: 8), "{ is expected"),
        Malformed("not JSON", header: "hello", "{ is expected"),
        Malformed("a JSON list", header: "[]", "{ is expected"),
        Malformed("unterminated", header: #"{"a":"#, "{ is expected"),
        Malformed("unterminated string", header: #"{"a"#, "does not end"),
        Malformed("unterminated object", header: #"{"a":\#(good)"#, "} is expected"),
        Malformed("something after the end", header: #"{"a":\#(good)} x"#, "follows the header"),
        Malformed("trailing comma", header: #"{"a":\#(good),}"#, "\" is expected"),
        Malformed("bad escape", header: #"{"\q":\#(good)}"#, "unknown escape"),
        Malformed("half a surrogate", header: #"{"\ud800":\#(good)}"#, "expected"),
        Malformed("low surrogate alone", header: #"{"\udc00":\#(good)}"#, "surrogate"),
        Malformed("control character", header: "{\"\u{1}\":\(good)}", "control character"),
        Malformed(
            "invalid UTF-8",
            [5, 0, 0, 0, 0, 0, 0, 0] + [0x7b, 0x22, 0xff, 0x22, 0x7d], "UTF-8"),
        Malformed("tensor twice", header: #"{"a":\#(good),"a":\#(good)}"#, "twice"),
        Malformed(
            "metadata twice", header: #"{"__metadata__":{},"__metadata__":{},"a":\#(good)}"#,
            "twice"),
        Malformed(
            "metadata key twice", header: #"{"__metadata__":{"k":"1","k":"2"},"a":\#(good)}"#,
            "twice"),
        Malformed(
            "metadata that is no string", header: #"{"__metadata__":{"k":1},"a":\#(good)}"#,
            "\" is expected"),
        Malformed("unknown dtype", header: #"{"a":\#(tensor("I64", "[1]", "[0,8]"))}"#, "I64"),
        Malformed("no dtype", header: #"{"a":{"shape":[2],"data_offsets":[0,8]}}"#, "lacks"),
        Malformed(
            "dtype twice",
            header: #"{"a":{"dtype":"F32","dtype":"F16","shape":[2],"data_offsets":[0,8]}}"#,
            "two entries"),
        Malformed(
            "unknown entry",
            header: #"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}}"#, "unknown"),
        Malformed(
            "negative dimension", header: #"{"a":\#(tensor("F32", "[-2]", "[0,8]"))}"#,
            "whole number"),
        Malformed(
            "fraction", header: #"{"a":\#(tensor("F32", "[2.0]", "[0,8]"))}"#, "] is expected"),
        Malformed(
            "exponent", header: #"{"a":\#(tensor("F32", "[2e0]", "[0,8]"))}"#, "] is expected"),
        Malformed(
            "leading zero", header: #"{"a":\#(tensor("F32", "[02]", "[0,8]"))}"#, "begins with 0"),
        Malformed(
            "number beyond 64 bits",
            header: #"{"a":\#(tensor("F32", "[99999999999999999999]", "[0,8]"))}"#, "too large"),
        Malformed(
            "shape that overflows",
            header: #"{"a":\#(tensor("F32", "[4294967296,4294967296]", "[0,8]"))}"#, "overflows"),
        Malformed(
            "rank 9", header: #"{"a":\#(tensor("F32", "[1,1,1,1,1,1,1,1,2]", "[0,8]"))}"#,
            "more than 8"),
        Malformed(
            "three offsets", header: #"{"a":\#(tensor("F32", "[2]", "[0,8,9]"))}"#, "more than 2"),
        Malformed("one offset", header: #"{"a":\#(tensor("F32", "[2]", "[0]"))}"#, "lacks"),
        Malformed(
            "ends before it begins", header: #"{"a":\#(tensor("F32", "[2]", "[8,0]"))}"#,
            "before it begins"),
        Malformed(
            "size does not fit the shape", header: #"{"a":\#(tensor("F32", "[3]", "[0,8]"))}"#,
            "needs 12"),
        Malformed(
            "beyond the end", header: #"{"a":\#(tensor("F32", "[4]", "[0,16]"))}"#, "truncated"),
        Malformed(
            "offsets near the largest integer",
            header:
                #"{"a":\#(tensor("F32", "[2]", "[9223372036854775799,9223372036854775807]"))}"#,
            "truncated"),
        Malformed(
            "overlap",
            header:
                #"{"a":\#(tensor("F32", "[2]", "[0,8]")),"b":\#(tensor("F32", "[1]", "[4,8]"))}"#,
            "overlaps"),
        Malformed(
            "hole at the start", header: #"{"a":\#(tensor("F32", "[1]", "[4,8]"))}"#, "hole"),
        Malformed(
            "hole in the middle",
            header:
                #"{"a":\#(tensor("F16", "[1]", "[0,2]")),"b":\#(tensor("F32", "[1]", "[4,8]"))}"#,
            "hole"),
        Malformed("bytes left over", header: #"{"a":\#(good)}"#, data: 9, "follow the last"),
        Malformed("data without tensors", header: "{}", "follow the last"),
        Malformed(
            "deep nesting", header: String(repeating: #"{"a":"#, count: 100_000), "unknown entry"),
    ]
}

struct SafetensorsTests {
    @Test("A malformed file is refused for the right reason", arguments: Malformed.all)
    func malformed(sample: Malformed) throws {
        let error = try #require(throws: SafetensorsError.self) {
            try Safetensors(bytes: sample.bytes, file: "weights/bad.safetensors")
        }
        #expect(error.description.contains("weights/bad.safetensors"))
        #expect(error.reason.contains(sample.reason), "\(error.reason)")
    }

    @Test("All three number formats are read as f32, unaligned too")
    func formats() throws {
        let header =
            #"{"__metadata__":{"k\u00e9\ud83d\ude00\n":"v"},"h":\#(tensor("F16", "[3]", "[0,6]")),"#
            + #""b":\#(tensor("BF16", "[1,2]", "[6,10]")),"f":\#(tensor("F32", "[2]", "[10,18]")),"#
            + #""s":\#(tensor("F32", "[]", "[18,22]")),"e":\#(tensor("F32", "[0,4]", "[22,22]"))}"#
        let data: [UInt8] =
            [0x00, 0x3c, 0x00, 0xc0, 0x01, 0x00]  // 1, -2, 2⁻²⁴
            + [0x80, 0x3f, 0xc0, 0x7f]  // 1, NaN
            + [0x00, 0x00, 0x80, 0x3f, 0x00, 0x00, 0x00, 0x40]  // 1, 2
            + [0x00, 0x00, 0x40, 0x40]  // 3
        // An odd header length leaves the data unaligned.
        for padding in ["", " "] {
            let loaded = try Safetensors(bytes: file(header + padding, data: data), file: "x")
            #expect(loaded.metadata == ["ké😀\n": "v"])
            #expect(loaded.names == ["b", "e", "f", "h", "s"])
            #expect(loaded.shape(of: "b") == [1, 2])
            #expect(loaded.shape(of: "none") == nil)
            #expect(
                try loaded.values(of: "h") == [
                    1, -2, Float(sign: .plus, exponent: -24, significand: 1),
                ])
            #expect(try loaded.values(of: "f") == [1, 2])
            #expect(try loaded.values(of: "s") == [3])
            #expect(try loaded.values(of: "e") == [])
            let wide = try loaded.values(of: "b")
            #expect(wide[0] == 1 && wide[1].isNaN)
            #expect(throws: SafetensorsError.self) { try loaded.values(of: "none") }
        }
    }

    @Test("Too many tensors are refused")
    func tooMany() throws {
        let entry = tensor("F32", "[0]", "[0,0]")
        let header = "{" + (0...4096).map { "\"\($0)\":\(entry)" }.joined(separator: ",") + "}"
        let error = try #require(throws: SafetensorsError.self) {
            try Safetensors(bytes: file(header, data: 0), file: "x")
        }
        #expect(error.reason.contains("4096"))
    }

    @Test(
        "Paths that hold no file are errors with the path",
        arguments: ["/", "/dev/null/x", "/nonexistent"])
    func badPaths(path: String) throws {
        let error = try #require(throws: SafetensorsError.self) { try Safetensors(file: path) }
        #expect(error.description.hasPrefix(path + ":"))
    }

    @Test("A file beyond the limit is refused without reading it")
    func tooLong() throws {
        let path = NSTemporaryDirectory() + "lucida-long-\(getpid())"
        try Data().write(to: URL(fileURLWithPath: path))
        defer { unlink(path) }
        try #require(truncate(path, Safetensors.Limits.fileBytes + 1) == 0)
        let error = try #require(throws: SafetensorsError.self) { try Safetensors(file: path) }
        #expect(error.reason.contains("more than 67108864"))
    }

    @Test("A FIFO is refused without waiting for a writer")
    func fifo() throws {
        let path = NSTemporaryDirectory() + "lucida-fifo-\(getpid())"
        try #require(mkfifo(path, 0o600) == 0)
        defer { unlink(path) }
        let error = try #require(throws: SafetensorsError.self) { try Safetensors(file: path) }
        #expect(error.reason.contains("regular file"))
    }

    @Test("Thousands of truncations and bit flips never crash, and errors name the file")
    func mutations() throws {
        let header =
            #"{"__metadata__":{"a":"b"},"one":\#(tensor("F32", "[2,2]", "[0,16]")),"#
            + #""two":\#(tensor("F16", "[3,1]", "[16,22]")),"x":\#(tensor("BF16", "[1]", "[22,24]"))}"#
        let original = file(header, data: 24)
        var noise = Noise(seed: 2026)
        var refused = 0
        // `make fuzz` sets LUCIDA_FUZZ_ROUNDS for a longer search.
        let rounds = ProcessInfo.processInfo.environment["LUCIDA_FUZZ_ROUNDS"].flatMap { Int($0) }
        for round in 0..<4_000 * (rounds ?? 1) {
            var bytes = original
            if round % 4 == 0 { bytes.removeLast(noise.below(bytes.count) + 1) }
            for _ in 0..<noise.below(4) + (round % 4 == 0 ? 0 : 1) where !bytes.isEmpty {
                bytes[noise.below(bytes.count)] ^= 1 << UInt8(noise.below(8))
            }
            do throws(SafetensorsError) {
                let loaded = try Safetensors(bytes: bytes, file: "fuzzed.safetensors")
                for name in loaded.names { _ = try loaded.values(of: name) }
            } catch {
                refused += 1
                #expect(error.description.hasPrefix("fuzzed.safetensors:"))
            }
        }
        #expect(refused > 2_000)
    }
}
