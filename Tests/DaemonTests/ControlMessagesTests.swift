// The control protocol by the word: what is a request, what is none, and what answers look like.

import Foundation
import Testing

@testable import Daemon

@Suite struct ControlMessagesTests {
    private func refusal(_ text: String) -> String? {
        do {
            _ = try ControlRequest(line: Array(text.utf8))
            return nil
        } catch {
            return error.description
        }
    }

    @Test(arguments: [
        ControlRequest.status, .reload, .pause, .resume,
        .set(key: "transform.style", value: "ink:0.7,oil:0.3 \u{1F3A8}\n\""),
        .watch(interval: 0.5),
    ])
    func `a request is read as it was written`(request: ControlRequest) throws {
        let line = request.line
        #expect(line.last == 0x0A && line.firstIndex(of: 0x0A) == line.count - 1)
        #expect(try ControlRequest(line: line.dropLast()) == request)
    }

    @Test(arguments: [
        ("", "JSON"), ("status", "JSON"), ("[]", "JSON"), ("{}", "JSON"), ("null", "JSON"),
        (#"{"version":1}"#, "JSON"), (#"{"command":"status"}"#, "JSON"),
        (#"{"version":"1","command":"status"}"#, "JSON"),
        (#"{"version":1,"command":7}"#, "JSON"),
        (#"{"version":1,"command":"status"}x"#, "JSON"),
        (#"{"version":2,"command":"status"}"#, "version 1 of the control protocol, not 2"),
        (#"{"version":2,"wish":[]}"#, "version 1 of the control protocol, not 2"),
        (#"{"version":1,"command":"stop"}"#, "\"stop\" is no command"),
        (#"{"version":1,"command":"STATUS"}"#, "is no command"),
        (#"{"version":1,"command":"status","key":"a"}"#, "status takes no \"key\""),
        (#"{"version":1,"command":"pause","for":"a"}"#, "pause takes no \"for\""),
        (#"{"version":1,"command":"set"}"#, "set needs a key and a value"),
        (#"{"version":1,"command":"set","key":"log.level"}"#, "set needs a key and a value"),
        (#"{"version":1,"command":"set","key":"log.level","value":1}"#, "JSON"),
        (#"{"version":1,"command":"set","key":"a","value":"b","interval":1}"#, "takes no"),
        (#"{"version":1,"command":"watch","interval":0}"#, "interval"),
        (#"{"version":1,"command":"watch","interval":-1}"#, "interval"),
        (#"{"version":1,"command":"watch","interval":1e9}"#, "interval"),
        (#"{"version":1,"command":"watch","interval":"1"}"#, "JSON"),
    ])
    func `what is not exactly a request is refused with the reason`(text: String, part: String) {
        #expect(refusal(text)?.contains(part) == true, "\(text): \(refusal(text) ?? "accepted")")
    }

    @Test func `text that is not UTF-8, and deep nesting, are refused`() {
        for bytes: [UInt8] in [[0xFF], [0xC0, 0x80], Array("{\"version\":1".utf8) + [0x80, 0x7D]] {
            #expect(throws: ControlError.self) { try ControlRequest(line: bytes) }
        }
        for open in ["[", "{\"a\":", "{\"version\":1,\"command\":["] {
            #expect(refusal(String(repeating: open, count: 4000 / open.utf8.count)) != nil)
        }
    }

    @Test func `a reply is one line`() throws {
        var reply = ControlReply.refused("first\nsecond \u{2028} \"third\"")
        reply.changed = ["a": "\"b\nc\""]
        let line = reply.line
        #expect(line.last == 0x0A && line.firstIndex(of: 0x0A) == line.count - 1)
        let read = try JSONDecoder().decode(ControlReply.self, from: Data(line))
        #expect(!read.ok && read.error == reply.error && read.changed == reply.changed)
        #expect(read.version == 1)
    }

    @Test func `only root, the same user and the group of the socket may`() {
        func may(_ user: uid_t, _ groups: Set<gid_t>, group: gid_t?) -> Bool {
            PeerCredentials(user: user, groups: groups)
                .mayControl(daemonUser: 1000, socketGroup: group)
        }
        #expect(may(0, [], group: nil) && may(1000, [], group: nil))
        #expect(may(1001, [5, 44], group: 44))
        #expect(!may(1001, [5, 45], group: 44) && !may(1001, [5], group: nil))
    }

    @Test func `the socket is where service, user and configuration say`() {
        func listening(_ name: SocketName, _ environment: [String: String]) -> String? {
            ControlSocketPath.listening(name, environment: environment)
        }
        let both = ["RUNTIME_DIRECTORY": "/run/lucida:/run/b", "XDG_RUNTIME_DIR": "/run/user/7"]
        #expect(listening(.auto, both) == "/run/lucida/control.sock")
        #expect(
            listening(.auto, ["XDG_RUNTIME_DIR": "/run/user/7"])
                == "/run/user/7/lucida/control.sock")
        #expect(listening(.off, both) == nil)
        #expect(listening(.path("/a"), both) == "/a")
        #expect(
            ControlSocketPath.candidates(nil, environment: both)
                == ["/run/user/7/lucida/control.sock", "/run/lucida/control.sock"])
        for text in ["auto", "none", "/a/b"] {
            #expect(SocketName(text)?.description == text)
        }
        for text in ["", "a", "a/b", "/"] { #expect(SocketName(text) == nil) }
    }
}
