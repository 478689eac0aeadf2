// Changes of the configuration while a session runs: applied as a whole, or refused as a whole.

import Foundation
import Logging
import Models
import Pipeline
import Testing

@testable import Daemon

@Suite struct SessionControlTests {
    @Test func `a sound file takes effect, as far as it is live`() throws {
        let session = try SteeredSession("[transform]\nstyle = \"oil\"\n")
        try session.write(
            """
            [transform]
            style = "neon"
            strength = 0.5
            [camera]
            pace = "fast"
            [output]
            sinks = ["null"]
            [report]
            path = "/tmp/report.json"
            """)
        let reply = session.control.reload(.user)
        #expect(
            reply.changed == ["transform.style": "\"neon\"", "transform.strength": "0.5"])
        #expect(reply.atNextStart == ["camera.pace", "output.sinks", "report.path"])
        #expect(session.transform.changes.map(\.style.description) == ["neon"])
        #expect(session.transform.changes.map(\.strength) == [0.5])
        #expect(session.control.configuration.output.sinks.map(\.description) == ["auto"])
    }

    @Test(arguments: [
        "[transform]\nstyle = \"neon\"\nstrength = 7\n", "[transform]\nstyle = \"nosuch\"\n",
        "[transform]\nstyle = \"neon\"\n[camera]\nwidth = \"wide\"\n", "[transform",
        "[transform]\nstyle = \"neon\"\nstile = \"neon\"\n", "\u{0}",
    ])
    func `a wrong file changes nothing at all`(text: String) throws {
        let session = try SteeredSession("[transform]\nstyle = \"oil\"\n")
        let before = session.state
        try session.write(text)
        for trigger in [SessionControl.Trigger.user, .file] {
            let reply = session.control.reload(trigger)
            #expect(!reply.ok && reply.error?.contains("nothing has changed") == true)
            #expect(session.state == before)
        }
        // As check-config says it.
        let error = session.control.reload(.user).error ?? ""
        #expect(error.contains(session.file.path) || error.contains("nosuch"), "\(error)")
        try session.write("[transform]\nstyle = \"neon\"\n")
        #expect(session.control.reload(.file).ok)
    }

    @Test func `what the command line overrules is told`() throws {
        let style = ConfigurationOverride(
            option: "--style", key: "transform.style", value: "\"oil\"")
        let session = try SteeredSession("[transform]\nstyle = \"oil\"\n", overrides: [style])
        #expect(session.control.reload(.user).overruled == [:])
        try session.write("[transform]\nstyle = \"neon\"\nstrength = 0.5\n")
        let reply = session.control.reload(.user)
        #expect(reply.changed == ["transform.strength": "0.5"])
        #expect(reply.overruled == ["transform.style": "--style"])
        #expect(reply.changeText.hasSuffix("before the file in: transform.style (--style)"))
    }

    @Test func `a file that is gone changes nothing`() throws {
        let session = try SteeredSession("[transform]\nstyle = \"oil\"\n")
        let before = session.state
        try FileManager.default.removeItem(at: session.file)
        #expect(session.control.reload(.file).error?.contains("No such file") == true)
        #expect(session.state == before)
    }

    @Test func `a file that is gone, and was not named, counts only when the user says so`() throws
    {
        let session = try SteeredSession()
        let home = session.folder.appending(path: "home/lucida")
        try FileManager.default.createDirectory(at: home, withIntermediateDirectories: true)
        let file = home.appending(path: "lucida.toml")
        try Data("[transform]\nstyle = \"oil\"\n".utf8).write(to: file)
        let source = ConfigurationSource(
            explicitPath: nil,
            environment: ["XDG_CONFIG_HOME": session.folder.appending(path: "home").path],
            overrides: [
                ConfigurationOverride(
                    option: "--set", key: "transform.model", value: SteeredSession.model)
            ])
        let control = SessionControl(
            source: source, loaded: try source.load(), pipeline: session.pipeline,
            transform: session.transform, front: SteeredSession.noFront,
            pauseNote: PauseNote(environment: [:]), log: Logger(label: "test"))
        try FileManager.default.removeItem(at: file)
        let reply = control.reload(.file)
        #expect(reply.error?.contains("is gone") == true)
        #expect(control.configuration.transform.style.description == "oil")
        #expect(control.reload(.user).changed?["transform.style"] == "\"ink\"")
        #expect(control.file == nil)
    }

    @Test func `the command line stays in force over the file, what ctl has set does not`() throws {
        let session = try SteeredSession(
            "",
            overrides: [
                ConfigurationOverride(option: "--set", key: "transform.strength", value: "0.5")
            ])
        #expect(session.answer(.set(key: "transform.strength", value: "0.75")).ok)
        #expect(session.answer(.set(key: "transform.seed", value: "9")).ok)
        #expect(session.control.configuration.transform.strength == 0.75)
        try session.write("[transform]\nstrength = 0.1\ntemporal = 0.3\n")
        let reply = session.control.reload(.user)
        #expect(
            reply.changed == [
                "transform.strength": "0.5", "transform.temporal": "0.3", "transform.seed": "0",
            ])
    }

    @Test(arguments: [
        ("transform.style", "ink:0.7,oil:0.3"), ("transform.strength", "0"),
        ("transform.temporal", "0.5"), ("transform.seed", "12"), ("transform.steps", "2"),
        ("transform.stream_batch", "true"), ("transform.fade", "1.5"),
        ("transform.on_failure", "passthrough"), ("log.level", "error"),
        ("camera.on_demand", "false"), ("camera.linger", "10"),
    ])
    func `every live setting can be set`(key: String, value: String) throws {
        let session = try SteeredSession()
        let reply = session.answer(.set(key: key, value: value))
        #expect(reply.ok && reply.changed?.count == 1 && reply.changed?[key] != nil)
        #expect(reply.atNextStart == [])
        // Again: nothing more.
        #expect(session.answer(.set(key: key, value: value)).changed == [:])
        #expect(ConfigurationSchema.liveKeys.contains(key))
        if key == "log.level" { #expect(session.answer(.set(key: key, value: "info")).ok) }
    }

    @Test func `paths, devices and whatever else is not live cannot be set`() throws {
        let session = try SteeredSession()
        let before = session.state
        let names = ConfigurationSchema.keys.map(\.name) + ["camera.controls.gain"]
        for name in names where !ConfigurationSchema.liveKeys.contains(name) {
            let value = ConfigurationSchema.key(named: name)?.defaultValue.description ?? "1"
            for value in [value, "/etc/passwd", "file:/etc/passwd", "1"] {
                #expect(!session.answer(.set(key: name, value: value)).ok, "\(name)")
            }
        }
        #expect(session.state == before)
        // Nothing live takes free text, so that no path can hide in it.
        for name in ConfigurationSchema.liveKeys {
            #expect(ConfigurationSchema.key(named: name) != nil)
            for value in [
                "/etc/passwd", "file:/a", "../a", "\u{0}", "", String(repeating: "9", count: 4000),
            ] {
                let reply = session.answer(.set(key: name, value: value))
                #expect(!reply.ok || name == "transform.style", "\(name) = \(value)")
            }
        }
    }

    @Test func `what the network refuses changes nothing`() throws {
        let session = try SteeredSession()
        let before = session.state
        #expect(!session.answer(.set(key: "transform.style", value: "never")).ok)
        #expect(session.state == before)
    }

    @Test func `pause and resume are answered, and can be said twice`() throws {
        let session = try SteeredSession()
        for isPaused in [true, true, false, false, true] {
            #expect(session.answer(isPaused ? .pause : .resume).ok)
            #expect(session.pipeline.isPaused == isPaused)
        }
        #expect(session.answer(.status).status?.state == .paused)
    }
}

@Suite struct ConfigurationWatchTests {
    let folder: URL
    let file: URL

    init() throws {
        folder = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        file = folder.appending(path: "lucida.toml")
        try Data("a".utf8).write(to: file)
    }

    /// Events come without delay; settling is by the clock given.
    private func changes(_ watch: ConfigurationWatch, _ now: Int64) -> Bool {
        if watch.isDue(at: now) { return true }
        return watch.isDue(at: now + 1_000_000_000)
    }

    @Test func `every way of saving is noticed, once`() throws {
        let watch = try #require(ConfigurationWatch(paths: [file.path]))
        #expect(!changes(watch, 0))
        let other = folder.appending(path: "new")
        let ways: [() throws -> Void] = [
            { try Data("b".utf8).write(to: file) },
            { try Data("c".utf8).write(to: file, options: .atomic) },
            {
                try Data("d".utf8).write(to: other)
                #expect(rename(other.path, file.path) == 0)
            },
            { try FileManager.default.removeItem(at: file) },
            { try Data("e".utf8).write(to: file) },
        ]
        for (index, save) in ways.enumerated() {
            let now = Int64(index + 1) * 10_000_000_000
            try save()
            #expect(!watch.isDue(at: now), "not settled yet")
            try save0(again: index == 1)
            #expect(!watch.isDue(at: now + 150_000_000))
            #expect(changes(watch, now + 150_000_000), "way \(index)")
            #expect(!changes(watch, now + 5_000_000_000))
        }
    }

    private func save0(again: Bool) throws {
        if again { try Data("c".utf8).write(to: file) }
    }

    @Test func `its neighbours are none of its business`() throws {
        let watch = try #require(ConfigurationWatch(paths: [file.path]))
        try Data("b".utf8).write(to: folder.appending(path: "lucida.toml~"))
        try Data("b".utf8).write(to: folder.appending(path: "other"))
        #expect(!changes(watch, 0))
    }

    @Test func `what a link leads to is watched, and a file that is not there yet`() throws {
        let place = folder.appending(path: "elsewhere")
        try FileManager.default.createDirectory(at: place, withIntermediateDirectories: true)
        let target = place.appending(path: "real.toml")
        try Data("a".utf8).write(to: target)
        let link = folder.appending(path: "link.toml")
        try FileManager.default.createSymbolicLink(at: link, withDestinationURL: target)
        let watch = try #require(ConfigurationWatch(paths: [link.path]))
        try Data("b".utf8).write(to: target)
        #expect(changes(watch, 0))

        let later = folder.appending(path: "later.toml")
        let second = try #require(
            ConfigurationWatch(paths: ["/nonexistent/a/b.toml", later.path]))
        try Data("a".utf8).write(to: later)
        #expect(changes(second, 0))
    }

    @Test func `a folder that is made later is watched from then on`() throws {
        let later = folder.appending(path: "home/config/lucida.toml")
        let watch = try #require(ConfigurationWatch(paths: [later.path]))
        #expect(!changes(watch, 0))
        try FileManager.default.createDirectory(
            at: later.deletingLastPathComponent(), withIntermediateDirectories: true)
        #expect(changes(watch, 10_000_000_000))
        try Data("a".utf8).write(to: folder.appending(path: "home/other"))
        #expect(!changes(watch, 20_000_000_000))
        try Data("a".utf8).write(to: later)
        #expect(changes(watch, 30_000_000_000))
        try Data("b".utf8).write(to: later, options: .atomic)
        #expect(changes(watch, 40_000_000_000))
        // Moved away, and another put in its place.
        let folder = later.deletingLastPathComponent()
        #expect(rename(folder.path, folder.path + "-old") == 0)
        #expect(changes(watch, 50_000_000_000))
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        try Data("c".utf8).write(to: later)
        #expect(changes(watch, 60_000_000_000))
        try Data("d".utf8).write(to: later)
        #expect(changes(watch, 70_000_000_000))
        try FileManager.default.removeItem(at: folder)
        #expect(changes(watch, 80_000_000_000))
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        try Data("e".utf8).write(to: later)
        #expect(changes(watch, 90_000_000_000))
        try Data("f".utf8).write(to: later)
        #expect(changes(watch, 100_000_000_000))
    }
}
