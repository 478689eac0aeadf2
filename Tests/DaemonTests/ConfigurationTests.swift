// Configuration: the schema, the default file, errors, overrides, the search for a file.

import Foundation
import Testing
import Video

@testable import Daemon

private let repository = URL(filePath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

private func parse(_ text: String, _ overrides: [ConfigurationOverride] = []) throws
    -> LoadedConfiguration
{
    try Configuration.parse(Array(text.utf8), file: "test.toml", overrides: overrides)
}

/// The lines of the error that `text` gives; empty if it gives none.
private func problems(_ text: String, _ sets: [String] = []) -> [String] {
    do {
        _ = try parse(text, try sets.map { try ConfigurationOverride(set: $0) })
        return []
    } catch let error as ConfigurationError {
        return error.problems.map(\.description)
    } catch {
        return ["\(error)"]
    }
}

@Suite struct ConfigurationSchemaTests {
    @Test func theDefaultFileIsWhatTheSchemaSays() throws {
        let url = repository.appending(path: "Config/lucida.toml")
        if ProcessInfo.processInfo.environment["LUCIDA_UPDATE_CONFIG"] == "1" {
            try ConfigurationSchema.annotatedFile.write(to: url, atomically: true, encoding: .utf8)
        }
        let text = try String(contentsOf: url, encoding: .utf8)
        #expect(
            text == ConfigurationSchema.annotatedFile,
            "after a change of the schema: LUCIDA_UPDATE_CONFIG=1 swift test --filter theDefaultFile"
        )
        #expect(text.split(separator: "\n").allSatisfy { $0.count <= 100 })
        #expect(try parse(text).configuration == Configuration())
    }

    @Test func theDefaultFileSetsEveryKeyOnceToItsDefault() throws {
        // `#key = value` is a setting, `# words` is prose.
        let lines = ConfigurationSchema.annotatedFile.split(separator: "\n").map { line in
            line.hasPrefix("#") && !line.hasPrefix("# ") ? line.dropFirst() : line
        }
        let loaded = try parse(lines.joined(separator: "\n"))
        var expected = Configuration()
        expected.camera.exposureDynamicFramerate = false  // Not set by default: shown by example.
        #expect(loaded.configuration == expected)
        for key in ConfigurationSchema.keys {
            #expect(
                lines.filter { $0.hasPrefix(key.leaf + " = ") }.count == timesExpected(key.leaf))
            guard case .file = loaded.origin(of: key.name) else {
                Issue.record("\(key.name) is missing from the default file")
                continue
            }
        }
    }

    private func timesExpected(_ leaf: String) -> Int {
        ConfigurationSchema.keys.filter { $0.leaf == leaf }.count
    }

    @Test func everyKeyIsDocumentedNamedOnceAndTakesItsDefault() {
        let names = ConfigurationSchema.keys.map(\.name)
        #expect(Set(names).count == names.count)
        for key in ConfigurationSchema.keys {
            #expect(ConfigurationSchema.sections.contains(key.section))
            #expect(!key.allowed.isEmpty)
            // Only the second of a pair shares the text of the first.
            #expect(!key.documentation.isEmpty || key.leaf.hasSuffix("height"))
            var configuration = Configuration()
            if key.defaultValue != .unset {
                #expect(key.write(key.defaultValue, &configuration), "\(key.name)")
            }
            #expect(configuration == Configuration(), "\(key.name)")
        }
    }

    @Test func aKeyReadsBackWhatWasWrittenAndRefusesOtherTypes() {
        let samples: [String: ConfigurationValue] = [
            "camera.source": .text("v4l2:/dev/video3"), "camera.width": .integer(1280),
            "camera.height": .integer(17), "camera.rate": .number(29.97),
            "camera.pixel_format": .text("mjpeg"), "camera.power_line_frequency": .text("50hz"),
            "camera.exposure_dynamic_framerate": .boolean(true), "camera.mirror": .boolean(true),
            "performance.temporal_reuse": .boolean(false),
            "camera.on_demand": .boolean(false), "camera.linger": .number(7.5),
            "camera.pace": .text("fast"), "transform.style": .text("oil-2:0.75,ink:0.25"),
            "transform.temporal": .number(0.5), "transform.seed": .integer(7),
            "transform.steps": .integer(4), "transform.stream_batch": .boolean(true),
            "transform.fade": .number(2.5),
            "transform.strength": .number(0.25), "transform.model": .text("/m.safetensors"),
            "transform.model_width": .integer(320), "transform.model_height": .integer(192),
            "transform.on_failure": .text("passthrough"),
            "output.sinks": .list(["null", "file:a b.mp4", "frames:out"]),
            "output.width": .integer(640), "output.height": .integer(480),
            "output.fit": .text("letterbox"), "output.pixel_format": .text("nv12"),
            "output.codec": .text("ffv1"), "output.crf": .integer(51),
            "performance.threads": .integer(64), "performance.precision": .text("bf16"),
            "log.level": .text("debug"),
            "report.path": .text("r.json"), "control.socket": .text("/run/a.sock"),
        ]
        for key in ConfigurationSchema.keys {
            guard let sample = samples[key.name] else {
                Issue.record("no sample of \(key.name)")
                continue
            }
            var configuration = Configuration()
            #expect(key.write(sample, &configuration), "\(key.name)")
            #expect(key.read(configuration) == sample)
            let wrong: [ConfigurationValue] = [
                .unset, .list([]), .text("\u{0}"), .text("x\ny"), .number(.nan), .integer(-1),
                .integer(.max), .number(.infinity), .list(["\u{7F}"]),
            ]
            for value in wrong {
                #expect(!key.write(value, &configuration), "\(key.name) = \(value)")
            }
        }
    }

    @Test func rangesAreHeld() throws {
        let good = [
            "camera.width=16", "camera.width=4096", "camera.rate=1", "camera.rate=240",
            "camera.rate=7.5", "camera.linger=0", "camera.linger=60", "performance.precision=auto",
            "performance.precision=int16",
            "transform.strength=0", "transform.strength=1", "output.crf=0",
        ]
        let bad = [
            "camera.width=15", "camera.width=4097", "camera.width=0", "camera.width=640.0",
            "camera.rate=0.99", "camera.rate=240.01", "camera.rate=nan", "transform.strength=-0.1",
            "camera.linger=-1", "camera.linger=60.1", "camera.on_demand=1",
            "transform.strength=1.1", "output.crf=52", "performance.threads=65",
            "output.width=641", "output.sinks=[]", "output.sinks=[\"null\", \"null\"]",
            "transform.style=", "transform.style=../etc", "camera.source=file:",
            "camera.source=tset", "performance.precision=", "performance.precision=fp16",
            "performance.precision=INT8", "performance.precision=8",
        ]
        for setting in good { #expect(problems("", [setting]) == [], "\(setting)") }
        for setting in bad { #expect(problems("", [setting]).count == 1, "\(setting)") }
    }

    @Test func sourcesAndSinksAreReadByName() {
        #expect(SourceName("auto") == .auto)
        #expect(SourceName("test") == .test)
        #expect(SourceName("/dev/video0") == .device("/dev/video0"))
        #expect(SourceName("v4l2:/dev/video0") == .device("/dev/video0"))
        #expect(
            SourceName("usb-046d_HD_Webcam-video-index0")
                == .device("usb-046d_HD_Webcam-video-index0"))
        #expect(SourceName("file:rtsp://a/b") == .file("rtsp://a/b"))
        #expect(SourceName("rtsp://a/b") == .file("rtsp://a/b"))
        #expect(SinkName("rtmp://a/b") == .file("rtmp://a/b"))
        #expect(SinkName("frames:out") == .frames("out"))
        #expect(SinkName("null") == .null)
        for text in [
            "", "v4l2:", "file:", "/dev/", "Auto", "video0", "null", "://a", "rtsp://", "a b://c",
        ] {
            #expect(SourceName(text) == nil, "\(text)")
        }
        for text in ["", "test", "frames:", "out.mp4"] { #expect(SinkName(text) == nil, "\(text)") }
        for name in [SinkName.auto, .null, .device("/d"), .file("a:b"), .frames("c")] {
            #expect(SinkName(name.description) == name)
        }
        for name in [SourceName.auto, .test, .device("/d"), .file("a:b")] {
            #expect(SourceName(name.description) == name)
        }
    }

    @Test func ratesBecomeTheFractionsThatCamerasUse() throws {
        func rate(_ text: String) throws -> FrameRate {
            try parse("camera.rate = \(text)").configuration.camera.frameRate
        }
        #expect(try rate("30") == FrameRate(30))
        #expect(try rate("29.97") == FrameRate(30000, 1001))
        #expect(try rate("59.94") == FrameRate(60000, 1001))
        #expect(try rate("7.5") == FrameRate(7500, 1000))
    }
}

@Suite struct ConfigurationErrorTests {
    @Test func allProblemsOfAFileAreReportedAtOnceInOrder() {
        let text = """
            [camera]
            widht = 1280
            height = "tall"
            source = "dev/video0"
            rate = 900

            [camera.controls]
            gain = [1]
            [trasnform]
            style = "ink"
            [output]
            sinks = [
                "auto",
                "tset",
            ]
            """
        let expected = [
            "test.toml:2: camera.widht is not a setting; did you mean camera.width? [camera] takes ",
            "test.toml:3: camera.height is \"tall\"; allowed: an integer from 16 to 4096",
            "test.toml:4: camera.source is \"dev/video0\"; did you mean \"/dev/video0\"? allowed: ",
            "test.toml:5: camera.rate is 900; allowed: a number from 1 to 240",
            "test.toml:8: camera.controls.gain is a list; allowed: an integer, ",
            "test.toml:9: trasnform is not a setting; did you mean [transform]? The sections are ",
            "test.toml:12: output.sinks is [\"auto\", \"tset\"]; allowed: a list of up to 8 different ",
        ]
        let found = problems(text)
        #expect(found.count == expected.count, "\(found)")
        for (line, start) in zip(found, expected) { #expect(line.hasPrefix(start), "\(line)") }
    }

    @Test func whatIsNoTOMLIsToldAloneWithLineAndColumn() {
        let found = problems("[camera]\nwidht = 1280\nsource = /dev/video0\nrate = ?\n")
        #expect(
            found == [
                "test.toml:3: column 10: Error while parsing value: could not determine value type; "
                    + "text needs quotation marks"
            ])
    }

    @Test func aMisspeltKeyGetsTheNearestName() {
        let cases = [
            ("camera.heigth = 1", "camera.height?"), ("camera.strength = 1", "transform.strength?"),
            ("camer.width = 1", "[camera]?"), ("width = 1", "camera.width?"),
            ("output.sink = 'null'", "output.sinks?"),
            ("camera.control.a = 1", "[camera.controls]?"),
        ]
        for (text, suggestion) in cases {
            let found = problems(text)
            #expect(found.count == 1 && found[0].contains("did you mean " + suggestion), "\(found)")
        }
        #expect(!problems("camera.zzzzzzzz = 1")[0].contains("did you mean"))
    }

    @Test func editDistanceCountsSwapsOnce() {
        #expect(editDistance("widht", "width") == 1)
        #expect(editDistance("", "abc") == 3)
        #expect(editDistance("abc", "") == 3)
        #expect(editDistance("kitten", "sitting") == 3)
        #expect(editDistance("same", "same") == 0)
    }

    @Test func sectionsMustBeSections() {
        #expect(
            problems("camera = 1") == [
                "test.toml:1: camera is a section: write [camera], once, and its keys below"
            ])
        #expect(problems("[[camera]]\nwidth = 100").count == 1)
        #expect(problems("[camera]\ncontrols = 5").count == 1)
        #expect(
            problems("[camera]\nwidth = 2001-01-01")[0].contains("camera.width is a date or time;"))
    }

    @Test func keysOfAPairGoTogether() {
        #expect(
            problems("[output]\n\nwidth = 640") == [
                "test.toml:3: output.width needs output.height: set both, or leave both at 0"
            ])
        #expect(problems("", ["transform.model_height=64"]).first?.hasPrefix("--set: ") == true)
        #expect(problems("[output]\nwidth = 640", ["output.height=360"]) == [])
        // Both were set: what is wrong with one of them is all there is to say.
        let small = problems("", ["output.width=20", "output.height=12"])
        #expect(small.count == 1)
        #expect(small.first?.contains("output.height is") == true)
    }

    @Test func manyProblemsAreNotAllPrinted() {
        let text = (0..<500).map { "k\($0) = 1\n" }.joined()
        do {
            _ = try parse(text)
            Issue.record("unknown keys were accepted")
        } catch {
            let lines = "\(error)".split(separator: "\n")
            #expect(lines.count == 21)
            #expect(lines.last == "… and 480 more")
        }
    }
}

@Suite struct ConfigurationOverrideTests {
    @Test func overridesGoBeforeTheFileAndLaterOnesWin() throws {
        let loaded = try parse(
            "[camera]\nwidth = 320\nheight = 240\n",
            [
                ConfigurationOverride(set: "camera.width=800"),
                ConfigurationOverride(set: "camera.width = 1280"),
                ConfigurationOverride(
                    option: "--sink", key: "output.sinks", values: ["null", "file:a\"b"]),
            ])
        #expect(loaded.configuration.camera.width == 1280)
        #expect(loaded.configuration.camera.height == 240)
        #expect(loaded.configuration.output.sinks == [.null, .file("a\"b")])
        #expect(loaded.origin(of: "camera.width") == .option("--set"))
        #expect(loaded.origin(of: "camera.height") == .file("test.toml", line: 3))
        #expect(loaded.origin(of: "output.sinks") == .option("--sink"))
        #expect(loaded.origin(of: "camera.rate") == .default)
    }

    @Test func quotationMarksMayBeLeftOut() throws {
        let loaded = try parse(
            "",
            [
                ConfigurationOverride(set: "camera.source=v4l2:/dev/video0"),
                ConfigurationOverride(set: "report.path=2026"),
                ConfigurationOverride(set: "camera.power_line_frequency=\"60hz\""),
                ConfigurationOverride(set: "output.sinks=null"),
                ConfigurationOverride(set: "camera.controls.auto_exposure=Manual Mode"),
                ConfigurationOverride(set: "camera.controls.gain=7"),
            ])
        #expect(loaded.configuration.camera.source == .device("/dev/video0"))
        #expect(loaded.configuration.report.path == "2026")
        #expect(loaded.configuration.camera.powerLineFrequency == .hertz60)
        #expect(loaded.configuration.output.sinks == [.null])
        #expect(
            loaded.configuration.camera.controls == [
                CameraControl(name: "auto_exposure", value: .text("Manual Mode")),
                CameraControl(name: "gain", value: .integer(7)),
            ])
    }

    @Test func errorsNameTheOption() {
        #expect(
            problems("", ["camera.width=wide"]) == [
                "--set: camera.width is \"wide\"; allowed: an integer from 16 to 4096"
            ])
        #expect(problems("", ["camera={width=1}"])[0].hasPrefix("--set: camera is not a setting"))
        #expect(
            problems("", ["nonsense"]) == [
                "--set: \"nonsense\" has no =; write --set section.key=value"
            ])
        #expect(problems("", ["=1"]).count == 1)
    }

    @Test func controlsKeepTheirOrderAndTheirLimit() throws {
        let loaded = try parse("[camera.controls]\nz = 1\na = true\n\"Odd Name\" = 'x'\n")
        #expect(loaded.configuration.camera.controls.map(\.name) == ["z", "a", "Odd Name"])
        let many = "[camera.controls]\n" + (0..<65).map { "c\($0) = 1\n" }.joined()
        #expect(problems(many) == ["test.toml:66: more than 64 camera controls"])
    }
}

@Suite struct ConfigurationFileTests {
    private let directory: URL

    init() throws {
        directory = FileManager.default.temporaryDirectory.appending(path: "lucida-\(UUID())")
        try FileManager.default.createDirectory(
            at: directory.appending(path: "lucida"), withIntermediateDirectories: true)
    }

    private func write(_ text: String, _ name: String) throws -> String {
        let url = directory.appending(path: name)
        try text.write(to: url, atomically: true, encoding: .utf8)
        return url.path(percentEncoded: false)
    }

    private func message(path: String) -> String {
        do {
            _ = try Configuration.load(explicitPath: path, environment: [:])
            return ""
        } catch {
            return error.description
        }
    }

    @Test func theFirstFileThatExistsCounts() throws {
        defer { try? FileManager.default.removeItem(at: directory) }
        let user = try write("camera.width = 100", "lucida/lucida.toml")
        let other = try write("camera.width = 200", "other.toml")
        let environment = ["XDG_CONFIG_HOME": directory.path(percentEncoded: false)]
        let found = try Configuration.load(explicitPath: nil, environment: environment)
        #expect(found.configuration.camera.width == 100)
        #expect(found.file == user)
        let named = try Configuration.load(explicitPath: other, environment: environment)
        #expect(named.configuration.camera.width == 200)
        let none = try Configuration.load(
            firstOf: [directory.path(percentEncoded: false) + "/none", other + "/below"],
            mustExist: false, overrides: [])
        #expect(none.file == nil)
        #expect(none.configuration == Configuration())
    }

    @Test func whatIsNoConfigurationFileIsSaid() throws {
        defer { try? FileManager.default.removeItem(at: directory) }
        let path = directory.path(percentEncoded: false)
        #expect(
            message(path: path + "/none") == path
                + "/none: cannot be read: No such file or directory")
        #expect(message(path: path).hasSuffix(": is a directory; name the file in it"))
        #expect(message(path: "/dev/zero").hasSuffix(": is not a regular file"))
        let pipe = path + "/pipe"
        #expect(mkfifo(pipe, 0o600) == 0)
        #expect(message(path: pipe).hasSuffix(": is not a regular file"))
        let huge = try write(String(repeating: "#\n", count: 1 << 19) + "#", "huge.toml")
        #expect(message(path: huge).contains("huge.toml: larger than 1 MiB"))
        let limit = try write(String(repeating: "#\n", count: 1 << 19), "limit.toml")
        #expect(message(path: limit) == "")
        try Data([0x23, 0x0A, 0xFF, 0xFE]).write(to: directory.appending(path: "latin.toml"))
        #expect(
            message(path: path + "/latin.toml").contains(
                "latin.toml:2: not UTF-8"))
        #expect(message(path: "a\u{0}b").contains("not a path"))
    }

    @Test func theDumpReadsBackAsTheSameConfiguration() throws {
        let loaded = try parse(
            """
            [camera]
            source = 'file:a "quoted" \\ path'
            rate = 29.97
            controls = { gain = 3, "Odd Name" = true, menu = "50 Hz" }
            [output]
            sinks = ["null", "frames:x"]
            """, [ConfigurationOverride(set: "output.crf=30")])
        let dump = loaded.description
        #expect(try parse(dump).configuration == loaded.configuration)
        #expect(dump.contains("# test.toml:2\n"))
        #expect(dump.contains("crf = 30"))
        #expect(dump.contains("# --set\n"))
        #expect(dump.contains("# exposure_dynamic_framerate is not set"))
        #expect(try parse(dump).description != dump)  // The origins differ.
    }
}
