// Model files that must be refused, each with an error that names the file and the reason.

import Foundation
import Testing

@testable import Models
@testable import NeuralEngine

struct ModelFileTests {
    @Test("Title, styles, licence and channels are read")
    func metadata() throws {
        let model = try DistilledUNet(file: resource("distilled-unet.safetensors"))
        #expect(model.channels == [8, 16, 24])
        #expect(model.file.styles == ["ink"])
        #expect(model.file.licence == "Apache-2.0")
        #expect(model.file.title == "Ink")
        #expect(model.file.architecture == "distilled-unet")
    }

    @Test(
        "Metadata that this program does not know is refused",
        arguments: [
            ("format", "other"), ("format_version", "2"), ("architecture", "transformer"),
            ("architecture_version", "9"), ("channels", "8,16"), ("channels", "8,x,24"),
            ("channels", "8,16,0"), ("channels", "8,16,99999"), ("channels", "8,16,24,32"),
            ("color_range", "limited"), ("size_multiple", "8"),
        ])
    func wrongMetadata(key: String, value: String) throws {
        var fixture = try ModelFixture()
        fixture.metadata[key] = value
        try fixture.withFile { path in
            let error = try #require(throws: ModelError.self) { try DistilledUNet(file: path) }
            #expect(error.description.hasPrefix(path + ":"))
            #expect(error.description.contains(key))
            #expect(error.description.contains(value))
        }
    }

    @Test(
        "Metadata that is missing is refused",
        arguments: ["format", "format_version", "architecture", "architecture_version", "channels"])
    func missingMetadata(key: String) throws {
        var fixture = try ModelFixture()
        fixture.metadata[key] = nil
        try fixture.withFile { path in
            let error = try #require(throws: ModelError.self) { try DistilledUNet(file: path) }
            #expect(error.description.contains(key))
        }
    }

    @Test("A missing tensor, a wrong shape, NaN and infinity are refused by name")
    func wrongTensors() throws {
        let good = try ModelFixture()
        var missing = good
        missing.tensors["mid.1.b.bias"] = nil
        var reshaped = good
        reshaped.tensors["up1.weight"]?.shape = [24, 16, 1, 1]
        var nan = good
        nan.tensors["head.weight"]?.values[5] = .nan
        var infinite = good
        infinite.tensors["stem.bias"]?.values[0] = .infinity
        for (fixture, name) in [
            (missing, "mid.1.b.bias"), (reshaped, "up1.weight"), (nan, "head.weight"),
            (infinite, "stem.bias"),
        ] {
            try fixture.withFile { path in
                let error = try #require(throws: ModelError.self) { try DistilledUNet(file: path) }
                #expect(error.description.hasPrefix(path + ":"))
                #expect(error.description.contains(name))
            }
        }
    }

    /// What moves a cursor, clears, renames, beeps or turns text around in a terminal.
    private static let hostile = "\u{1B}[2J\u{1B}]0;x\u{7}\r\n\u{8}\u{9B}31m\u{202E}\u{7F}\u{0}é"

    @Test(
        "What a stranger's file says cannot steer a terminal, nor fill it",
        arguments: [
            "format", "format_version", "architecture", "architecture_version", "channels",
            "image_channels", "color_range", "size_multiple", "styles",
        ])
    func hostileMetadata(key: String) throws {
        for text in [Self.hostile, String(repeating: "é,", count: 10_000)] {
            var fixture = try ModelFixture()
            fixture.metadata[key] = text
            try fixture.withFile { path in
                let error = try #require(throws: ModelError.self) {
                    try DistilledUNet(file: path).file.requireStyle(Self.hostile + "x")
                }
                #expect(error.description.contains(key == "styles" ? "transform.style" : key))
                #expect(error.description.unicodeScalars.allSatisfy(Self.isHarmless))
                #expect(error.description.contains("\\u{"))
                #expect(error.description.count < 1000)
            }
        }
    }

    @Test("Nor can the names in a broken header")
    func hostileHeader() throws {
        let good = "\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]"
        let name = "\"\\u001b[2J\\u009b\\n\\u202e\(String(repeating: "é", count: 9999))\""
        for json in [
            "{\(name):{\(good)},\(name):{\(good)}}", "{\(name):{\(good),\(name):1}}",
            "{\(name):{}}", "{\(name):{\"dtype\":\(name)}}",
            "{\(name):{\"dtype\":\"F32\",\"dtype\":\"F32\"}}",
            "{\(name):{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}",
            "{\(name):{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}",
            "{\(name):{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
            "{\(name):{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
            "{\(name):{\(good)},\"b\":{\(good)}}",
            "{\"__metadata__\":{\(name):\"\",\(name):\"\"}}",
        ] {
            let length = (0..<8).map { UInt8(truncatingIfNeeded: json.utf8.count >> (8 * $0)) }
            let error = try #require(throws: SafetensorsError.self) {
                try Safetensors(bytes: length + Array(json.utf8) + [0, 0, 0, 0], file: "x")
            }
            #expect(error.description.unicodeScalars.allSatisfy(Self.isHarmless), "\(json.count)")
            #expect(error.description.count < 1000)
        }
    }

    private static func isHarmless(_ scalar: Unicode.Scalar) -> Bool {
        (0x20..<0x7F).contains(scalar.value)
    }

    @Test("A file that does not exist is an error with its path")
    func noFile() throws {
        let error = try #require(throws: ModelError.self) {
            try DistilledUNet(file: "/nonexistent/ink.safetensors")
        }
        #expect(error.description.hasPrefix("/nonexistent/ink.safetensors:"))
    }

    @Test(
        "A style that the weights do not draw is refused, with those that they draw; unnamed ones draw"
    )
    func styles() throws {
        var fixture = try ModelFixture()
        fixture.metadata["styles"] = "ink, pencil"
        try fixture.withFile { path in
            let file = try ModelFile(file: path)
            try file.requireStyle("ink")
            try file.requireStyle("pencil")
            for style in ["oil", "", "ink, pencil"] {
                let error = try #require(throws: ModelError.self) { try file.requireStyle(style) }
                #expect(error.description.hasPrefix(path + ":"))
                #expect(error.description.contains("\"\(style)\""))
                #expect(error.description.hasSuffix("transform.style can be: ink, pencil"))
            }
        }
        fixture.metadata["styles"] = nil
        try fixture.withFile { path in
            try DistilledUNet(file: path).check(Look(style: StyleMix(style: "ink")))
        }
    }

    @Test("Hundreds of mutated model files never crash, and errors name the file")
    func mutations() throws {
        let original = try ModelFixture().encoded()
        // `make fuzz` sets LUCIDA_FUZZ_ROUNDS for a longer search.
        let longer = ProcessInfo.processInfo.environment["LUCIDA_FUZZ_ROUNDS"].flatMap { Int($0) }
        let rounds = 600 * (longer ?? 1)
        let random = noise(4 * rounds, seed: 77).map(Int.init)
        var refused = 0
        for round in 0..<rounds {
            let place = random[4 * round] << 8 | random[4 * round + 1]
            var bytes = original
            if round % 3 == 0 {
                bytes.removeLast(1 + place % (bytes.count - 1))
            } else {
                // Two of three flips hit the header, the rest the data.
                let limit = round % 3 == 1 ? 4096 : bytes.count
                bytes[(place << 3 | random[4 * round + 2] & 7) % limit] ^=
                    1 << UInt8(random[4 * round + 3] & 7)
            }
            try withTemporaryFile(bytes) { path in
                do throws(ModelError) {
                    _ = try DistilledUNet(file: path)
                } catch {
                    refused += 1
                    #expect(error.description.hasPrefix(path + ":"))
                }
            }
        }
        #expect(refused >= rounds / 2)
    }
}
