// The control socket under good, bad, greedy and silent clients.

import Foundation
import Glibc
import Logging
import Pipeline
import Testing

@testable import Daemon

@Suite struct ControlServerTests {
    let session: SteeredSession
    let path: String
    let server: ControlServer
    private let second: Int64 = 1_000_000_000

    init() throws {
        session = try SteeredSession()
        path = session.folder.appending(path: "control.sock").path
        server = try ControlServer(path: path, log: Logger(label: "test"))
    }

    func serve(at now: Int64 = 0, rounds: Int = 3) {
        for _ in 0..<rounds { server.serve(at: now, session.answer) }
    }

    @Test func `each request gets its answer, several at once in their order`() throws {
        let client = try RawClient(path: path)
        client.send(ControlRequest.pause.line)
        serve()
        #expect(client.line() == #"{"ok":true,"version":1}"#)
        #expect(session.pipeline.isPaused)
        client.send(ControlRequest.resume.line + ControlRequest.status.line)
        client.send(#"{"version":1,"command":"#)
        serve()
        #expect(client.line() == #"{"ok":true,"version":1}"#)
        #expect(client.line()?.contains(#""state":"starting""#) == true)
        #expect(client.line() == nil)
        client.send("\"pause\"}\n")
        serve()
        #expect(client.line() == #"{"ok":true,"version":1}"#)
        #expect(session.pipeline.isPaused)
        server.close()
        #expect(!FileManager.default.fileExists(atPath: path))
    }

    @Test func `too long a request is refused and its sender turned out`() throws {
        let client = try RawClient(path: path)
        client.send([UInt8](repeating: UInt8(ascii: " "), count: ControlProtocol.requestBytesMax))
        serve()
        #expect(client.line()?.contains("at most 4096 bytes") == true)
        #expect(client.line() == nil && client.isClosed)
        // Others are served.
        let other = try RawClient(path: path)
        other.send(ControlRequest.status.line)
        serve()
        #expect(other.line() != nil)
    }

    @Test func `a client too many is turned away, and comes in when another has gone`() throws {
        var clients: [RawClient] = []
        for _ in 0..<ControlServer.clientsMax { clients.append(try RawClient(path: path)) }
        serve()
        let late = try RawClient(path: path)
        late.send(ControlRequest.status.line)
        serve()
        #expect(late.line()?.contains("8 clients are connected already") == true)
        clients.removeLast()
        serve()
        let later = try RawClient(path: path)
        later.send(ControlRequest.status.line)
        serve()
        #expect(later.line()?.contains(#""ok":true"#) == true)
        #expect(server.descriptors.count == 1 + ControlServer.clientsMax)
    }

    @Test func `those who watch keep nobody from a pause`() throws {
        let watching = try (0..<ControlServer.clientsMax).map { _ in try RawClient(path: path) }
        for client in watching { client.send(ControlRequest.watch(interval: 60).line) }
        serve()
        for client in watching { while client.line() != nil {} }
        let late = try RawClient(path: path)
        late.send(ControlRequest.pause.line)
        serve()
        #expect(late.line() == #"{"ok":true,"version":1}"#)
        #expect(session.pipeline.isPaused)
        // The one that came first had to leave, and knows why.
        #expect(watching[0].line()?.contains("too many clients") == true)
        #expect(watching[0].line() == nil && watching[0].isClosed)
        #expect(watching.dropFirst().allSatisfy { !$0.isClosed })
        #expect(server.descriptors.count == 1 + ControlServer.clientsMax)
    }

    @Test func `who is silent or does not read is turned out, who watches is not`() throws {
        let (silent, greedy, watching) = (
            try RawClient(path: path), try RawClient(path: path), try RawClient(path: path)
        )
        watching.send(ControlRequest.watch(interval: 1).line)
        serve(at: 0)
        // Asks for much and reads nothing: the socket fills, and then nothing more is read from it.
        let line = ControlRequest.status.line
        var sent = 0
        while greedy.send(line) == line.count, sent < 100_000 {
            sent += 1
            serve(at: 0, rounds: 1)
        }
        #expect(sent < 100_000)
        var statuses = 0
        for tenth in 1...150 {
            serve(at: Int64(tenth) * second / 10, rounds: 1)
            while watching.line() != nil { statuses += 1 }
        }
        #expect(statuses == 16)
        #expect(silent.line() == nil && silent.isClosed)
        #expect(server.descriptors.count == 2)
    }

    @Test func `one name is for one server, and what is left behind is no hindrance`() throws {
        #expect(throws: ControlError.self) {
            try ControlServer(path: path, log: Logger(label: "test"))
        }
        // As after a kill -9: the socket is there, and nobody holds the lock.
        let left = session.folder.appending(path: "left.sock").path
        let descriptor = makeUnixSocket(nonBlocking: true)
        #expect(withSocketAddress(left) { bind(descriptor, $0, $1) } == 0)
        close(descriptor)
        let other = try ControlServer(path: left, log: Logger(label: "test"))
        other.close()
        // But what is no socket is not removed.
        for (name, reason) in [
            (session.file.path, "no socket"), ("/nonexistent/b/a.sock", "No such file"),
            ("/" + String(repeating: "a", count: 120), "too long"),
        ] {
            do throws(ControlError) {
                let server = try ControlServer(path: name, log: Logger(label: "test"))
                server.close()
                Issue.record("made at \(name)")
            } catch {
                #expect(error.description.contains(reason))
            }
            unlink(name + ".lock")
        }
        #expect(FileManager.default.fileExists(atPath: session.file.path))
    }

    @Test func `the socket is for owner and group`() throws {
        var status = stat()
        #expect(stat(path, &status) == 0)
        #expect(status.st_mode & 0o7777 == 0o660)
        if let video = getgrnam("video"), geteuid() == 0 {
            #expect(status.st_gid == video.pointee.gr_gid)
        }
        // Whoever runs this test may.
        let client = try RawClient(path: path)
        serve()
        let peer = try #require(PeerCredentials(of: client.descriptor))
        #expect(peer.user == geteuid() && peer.groups.contains(getegid()))
    }
}

@Suite struct ControlFuzzTests {
    private let seeds: [[UInt8]] = [
        ControlRequest.status, .pause, .resume, .reload,
        .set(key: "transform.style", value: "ink:0.5,oil:0.5"),
        .set(key: "transform.strength", value: "0.25"), .set(key: "transform.seed", value: "77"),
        .set(key: "camera.source", value: "file:/etc/passwd"),
        .set(key: "report.path", value: "/tmp/x"), .set(key: "log.level", value: "info"),
    ].map { $0.line.dropLast() }

    private func mutate(_ bytes: inout [UInt8], _ random: inout SeededGenerator) {
        guard let position = bytes.indices.randomElement(using: &random) else { return }
        switch Int.random(in: 0..<5, using: &random) {
        case 0: bytes.removeSubrange(position...)
        case 1: bytes[position] ^= 1 << UInt8.random(in: 0..<8, using: &random)
        case 2: bytes[position] = UInt8.random(in: 0...255, using: &random)
        case 3:
            let end = min(bytes.count, position + Int.random(in: 1...20, using: &random))
            bytes.insert(contentsOf: bytes[position..<end], at: position)
        default:
            let parts = ["{", "}", "[", "\"", "\\u0000", "null", ",", ":", "1e999", "-1", "\u{0}"]
            bytes.insert(
                contentsOf: (parts.randomElement(using: &random) ?? "{").utf8, at: position)
        }
    }

    @Test func `a hundred thousand messages: none crashes, and what is refused changes nothing`()
        throws
    {
        let session = try SteeredSession()
        // So that a reload is refused, too: the file is gone.
        try FileManager.default.removeItem(at: session.file)
        let path = session.folder.appending(path: "fuzz.sock").path
        let server = try ControlServer(path: path, log: Logger(label: "test"))
        defer { server.close() }
        let client = try RawClient(path: path)
        var random = SeededGenerator(state: 5)
        var (accepted, refused) = (0, 0)
        var before = session.state
        for number in 0..<100_000 {
            var message = seeds[number % seeds.count]
            for _ in 0..<Int.random(in: 0...3, using: &random) { mutate(&message, &random) }
            message.removeAll { $0 == 0x0A }
            client.send(message + [0x0A])
            var reply: String?
            for _ in 0..<3 where reply == nil {
                server.serve(at: Int64(number), session.answer)
                reply = client.line()
            }
            let line = try #require(reply)
            if line.contains(#""ok":true"#) {
                accepted += 1
                before = session.state
            } else {
                refused += 1
                // The whole state, now and then: printing it takes time.
                if number % 16 < 4 { #expect(session.state == before, "\(message)") }
            }
        }
        #expect(accepted > 10_000 && refused > 50_000)
        // What no message may change.
        var untouched = session.control.configuration
        untouched = Configuration().taking(ConfigurationSchema.liveKeys, from: untouched)
        #expect(
            ConfigurationSchema.differences(untouched, session.control.configuration)
                == ["transform.model"])
    }
}
