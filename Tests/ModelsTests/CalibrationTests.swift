// What a model file says of reduced precision: read strictly, believed only of its own weights, and
// what follows from it.

import Foundation
import Testing

@testable import Models
@testable import NeuralEngine

struct CalibrationTests {
    private let path: String
    private let file: ModelFile

    init() throws {
        path = try resource("distilled-unet.safetensors")
        file = try ModelFile(file: path)
    }

    private func calibration(
        _ figures: [Precision: Calibration.Figures], weights: String? = nil
    ) -> Calibration {
        Calibration(weights: weights ?? file.checksum, frames: 9, figures: figures)
    }

    /// The model with `calibration` in it, read back.
    private func reread(_ calibration: Calibration) throws -> ModelFile {
        try withTemporaryFile(file.encoded(calibration: calibration)) { try ModelFile(file: $0) }
    }

    private let good = Calibration.Figures(againstF32: 45.5, teacherLoss: 0.1)
    private let bad = Calibration.Figures(againstF32: 39.9, teacherLoss: 0.1)

    @Test("What is written is read back, and nothing else in the file changes")
    func roundTrip() throws {
        let written = calibration([.int8: good, .bf16: bad])
        let again = try reread(written)
        #expect(again.calibration == written)
        #expect(again.calibrationProblem == nil)
        #expect(again.checksum == file.checksum)
        var metadata = again.metadata
        metadata[Calibration.key] = nil
        #expect(metadata == file.metadata)
        let (before, after) = try (
            Safetensors(file: path),
            Safetensors(bytes: file.encoded(calibration: written), file: "encoded")
        )
        #expect(before.names == after.names)
        for name in before.names {
            #expect(before.shape(of: name) == after.shape(of: name))
            #expect(try before.values(of: name) == after.values(of: name))
        }
        #expect(
            try Data(contentsOf: URL(filePath: path)).suffix(99)
                == Data(
                    file.encoded(calibration: written).suffix(99)))
    }

    @Test("A second calibration replaces the first")
    func replaced() throws {
        let first = try reread(calibration([.int8: good]))
        let second = calibration([.int16: bad])
        let again = try withTemporaryFile(first.encoded(calibration: second)) {
            try ModelFile(file: $0)
        }
        #expect(again.calibration == second)
    }

    @Test("Metadata survive whatever characters they hold")
    func characters() throws {
        var fixture = try ModelFixture()
        fixture.metadata["title"] = "\"\\\u{1}\u{7f}\n/é漢👩‍🎨\u{0}"
        try fixture.withFile { path in
            let file = try ModelFile(file: path)
            let bytes = try file.encoded(calibration: calibration([.int8: good]))
            let again = try withTemporaryFile(bytes) { try ModelFile(file: $0) }
            #expect(again.metadata["title"] == fixture.metadata["title"])
        }
    }

    @Test("Figures that are no numbers, and metadata beyond the limit, are not written")
    func notWritable() throws {
        for figure in [Double.nan, .infinity] {
            #expect(throws: ModelError.self) {
                try file.encoded(
                    calibration: calibration([.int8: .init(againstF32: figure, teacherLoss: nil)]))
            }
        }
        #expect(throws: SafetensorsError.self) {
            try Safetensors(file: path)
                .encoded(metadata: ["x": String(repeating: "x", count: 1 << 20)])
        }
    }

    @Test(
        "A calibration that makes no sense says nothing, and the reason and what to do are told",
        arguments: [
            ("", "JSON"), ("{", "JSON"), ("[]", "JSON"), ("{}", "JSON"),
            ("{\"version\":\"1\"}", "JSON"),
            (String(repeating: "[", count: 60_000), "JSON"),
            (String(repeating: " ", count: 70_000), "JSON"),
            ("{\"version\":1}", "lacks"),
            (json(frames: "0"), "0 frames"), (json(frames: "-5"), "-5 frames"),
            (json(frames: "1e99"), "lacks"), (json(frames: "\"9\""), "lacks"),
            (json(name: "int4"), "int4"), (json(name: ""), "no precision"),
            (json(name: "\\u001b[2J\\u009b\\n\\u202e"), "u{1B}[2J"),
            (json(name: String(repeating: "é", count: 9999)), "no precision"),
            (json(figure: "-1"), "decibels"), (json(figure: "1e9"), "decibels"),
            (json(figure: "1e999"), "lacks"), (json(figure: "null"), "lacks"),
            (json(figure: "NaN"), "JSON"), (json(loss: "101"), "decibels"),
            (json(loss: "-101"), "decibels"), (json(loss: "\"0\""), "lacks"),
        ])
    func malformed(json: String, reason: String) throws {
        var fixture = try ModelFixture()
        fixture.metadata[Calibration.key] = json
        try fixture.withFile { path in
            let file = try ModelFile(file: path)
            #expect(file.calibration == nil)
            let choice = choose(file)
            #expect(choice.allowed == [.f32])
            #expect(choice.reason.contains("calibration is unusable"))
            #expect(choice.reason.contains(reason), "\(choice.reason)")
            #expect(choice.reason.contains("`lucida calibrate`"))
            // What comes from the file cannot steer a terminal.
            #expect(choice.reason.unicodeScalars.allSatisfy { (0x20..<0x7F).contains($0.value) })
            let again = try withTemporaryFile(
                file.encoded(calibration: calibration([.int8: good], weights: file.checksum))
            ) { try ModelFile(file: $0) }
            #expect(again.calibration != nil && again.calibrationProblem == nil)
        }
    }

    private static func json(
        frames: String = "9", name: String = "int8", figure: String = "45", loss: String = "0.1"
    ) -> String {
        """
        {"version":1,"weights":"00","frames":\(frames),"precisions":{"\(name)":\
        {"againstF32":\(figure),"teacherLoss":\(loss)}}}
        """
    }

    @Test("That of another version or of other weights says nothing, and the reason is told")
    func other() throws {
        var fixture = try ModelFixture()
        fixture.metadata[Calibration.key] = "{\"version\":2,\"news\":[]}"
        try fixture.withFile { path in
            let file = try ModelFile(file: path)
            #expect(file.calibration == nil)
            let choice = choose(file)
            #expect(choice.allowed == [.f32])
            #expect(choice.reason.contains("version 2"))
        }
        let other = try reread(calibration([.int8: good], weights: "0123456789abcdef"))
        #expect(other.calibration == nil)
        let choice = choose(other)
        #expect(choice.allowed == [.f32])
        #expect(choice.reason.contains("other weights"))
    }

    @Test("One weight changed makes the checksum another")
    func checksum() throws {
        var fixture = try ModelFixture()
        let before = try fixture.withFile { try ModelFile(file: $0).checksum }
        #expect(before.count == 16)
        fixture.metadata["title"] = "another"
        #expect(try fixture.withFile { try ModelFile(file: $0).checksum } == before)
        fixture.tensors["head.bias"]?.values[0] += 1e-6
        #expect(try fixture.withFile { try ModelFile(file: $0).checksum } != before)
    }

    // What follows.

    private func choose(
        _ file: ModelFile, _ wanted: Precision? = nil,
        supported: [Precision] = Precision.allCases
    ) -> PrecisionChoice {
        PrecisionChoice(wanted: wanted, file: file, supported: supported)
    }

    @Test(
        "The rule: 40 dB of f32 and 0.3 dB to the teacher, or 50 dB of f32 without one",
        arguments: [
            (40, 0.3, true), (39.999, 0.3, false), (40, 0.301, false), (100, -3, true),
            (49.9, nil, false), (50, nil, true), (Double.nan, 0, false), (60, .nan, false),
        ] as [(Double, Double?, Bool)])
    func rule(againstF32: Double, teacherLoss: Double?, meets: Bool) {
        let figures = Calibration.Figures(againstF32: againstF32, teacherLoss: teacherLoss)
        #expect(figures.meetsRule == meets)
    }

    @Test("auto allows f32, and what meets the rule and the CPU has")
    func automatic() throws {
        let file = try reread(calibration([.int8: bad, .bf16: good, .int16: good]))
        #expect(choose(file).allowed == [.f32, .bf16, .int16])
        #expect(choose(file).reason.contains("bf16 45.5 dB of f32, 0.1 dB lost"))
        #expect(!choose(file).reason.contains("int8 "))
        #expect(choose(file, supported: [.f32, .int8, .int16]).allowed == [.f32, .int16])
        #expect(choose(file, supported: [.f32]).allowed == [.f32])
        #expect(choose(file, supported: [.f32]).reason.contains("no other precision"))
        // A precision that was not measured is not believed.
        #expect(try choose(reread(calibration([.int16: good]))).allowed == [.f32, .int16])
        #expect(try choose(reread(calibration([:]))).allowed == [.f32])
    }

    @Test("Without a calibration auto is f32")
    func uncalibrated() {
        #expect(choose(file).allowed == [.f32])
        #expect(choose(file).reason.contains("no calibration"))
    }

    @Test("A configured precision is taken whatever the figures say, if the CPU has it")
    func configured() throws {
        let file = try reread(calibration([.int8: bad]))
        #expect(choose(file, .int8).allowed == [.int8])
        #expect(choose(file, .int8).reason == "as configured")
        let without = choose(file, .int8, supported: [.f32, .bf16])
        #expect(without.allowed == [.f32])
        #expect(without.reason.contains("int8") && without.reason.contains("CPU"))
        #expect(choose(file, .f32).allowed == [.f32])
    }

    @Test("A session says in what it multiplies, and gives nearly the same picture")
    func session() throws {
        let model = try DistilledUNet(file: path)
        let picture = Picture(width: 70, height: 45, seed: 3)
        func output(_ precisions: Set<Precision>) throws -> (text: String, bytes: [UInt8]) {
            let session = try model.prepare(
                frameWidth: 70, frameHeight: 45, modelWidth: 70, modelHeight: 45, threads: 2,
                precisions: precisions)
            return (session.precision, try #require(session.transform(picture)).pixels)
        }
        let exact = try output([])
        #expect(exact.text == "f32 (18)")
        for precision in [Precision.int16, .bf16, .int8] {
            let found = try output([precision])
            #expect(found.text == "\(precision.rawValue) (16), f32 (2)")
            let error = zip(found.bytes, exact.bytes).reduce(0) {
                let difference = Int($1.0) - Int($1.1)
                return $0 + difference * difference
            }
            let mean = Double(error) / Double(exact.bytes.count)
            #expect(mean < 255 * 255 / 1e4, "40 dB")
            if precision == .int8 { #expect(mean > 0, "it was int8 indeed") }
        }
    }

    @Test("Weights that overflow in a narrow precision are seen as in f32")
    func overflow() throws {
        var fixture = try ModelFixture()
        for name in ["stem", "enc0.0.a", "enc0.0.b", "down1", "enc1.0.a"] {
            let values = fixture.tensors["\(name).weight"]?.values ?? []
            fixture.tensors["\(name).weight"]?.values = values.map { $0 * 1e12 }
        }
        try fixture.withFile { path in
            let model = try DistilledUNet(file: path)
            for precision in Precision.allCases {
                let session = try model.prepare(
                    frameWidth: 32, frameHeight: 32, modelWidth: 32, modelHeight: 32, threads: 1,
                    precisions: [precision])
                #expect(
                    session.transform(Picture(width: 32, height: 32, seed: 1)) == nil,
                    "\(precision.rawValue)")
            }
        }
    }
}
