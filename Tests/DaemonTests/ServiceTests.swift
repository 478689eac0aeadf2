// The small parts that the control thread is made of.

import Foundation
import Glibc
import Testing
import Video

@testable import Daemon

@Suite struct ServiceTests {
    let folder: URL

    init() throws {
        folder = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    }

    func touch(_ path: String) throws {
        let file = folder.appending(path: path)
        try FileManager.default.createDirectory(
            at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data().write(to: file)
    }

    @Test func `a model given by path is taken as it is`() throws {
        let locator = ModelLocator(environment: [:])
        for path in ["/a/b.safetensors", "b.safetensors", "a/b"] {
            #expect(try locator.path(model: path) == path)
        }
    }

    @Test func `LUCIDA_MODELS comes first, and a wrong name lists the right ones`() throws {
        try touch("tiny.safetensors")
        let locator = ModelLocator(environment: ["LUCIDA_MODELS": folder.path])
        let found = try locator.path(model: "tiny")
        #expect(found == folder.path + "/tiny.safetensors")
        do {
            _ = try locator.path(model: "tinny")
            Issue.record("a model that does not exist was found")
        } catch {
            #expect("\(error)".contains("\"tinny\"") && "\(error)".contains("tiny"))
        }
    }

    @Test func `systemd gets what it is told, and nothing is said without it`() throws {
        let path = folder.appending(path: "notify").path
        let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(path.utf8)) }
        let isBound = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) == 0
            }
        }
        try #require(isBound)
        func receive() -> String? {
            var bytes = [UInt8](repeating: 0, count: 256)
            let count = recv(descriptor, &bytes, bytes.count, Int32(MSG_DONTWAIT))
            return count < 0 ? nil : String(decoding: bytes[..<count], as: UTF8.self)
        }
        ServiceNotifier(environment: [:]).ready("x")
        ServiceNotifier(environment: ["NOTIFY_SOCKET": "not/absolute"]).ready("x")
        let long = "/" + String(repeating: "x", count: 200)
        ServiceNotifier(environment: ["NOTIFY_SOCKET": long]).ready("x")
        #expect(receive() == nil)
        let notifier = ServiceNotifier(environment: ["NOTIFY_SOCKET": path])
        notifier.ready("3 s")
        #expect(receive() == "READY=1\nSTATUS=3 s")
        notifier.status("4 s")
        #expect(receive() == "STATUS=4 s")
        notifier.reloading()
        let fields = try #require(receive()).split(separator: "=")
        #expect(fields.count == 3 && fields[1] == "1\nMONOTONIC_USEC")
        #expect(UInt64(fields[2]) ?? 0 > 0)
        notifier.alive()
        #expect(receive() == "WATCHDOG=1")
        notifier.stopping()
        #expect(receive() == "STOPPING=1")
    }

    @Test func `the watchdog's time is the one that is meant for this process`() {
        func time(_ microseconds: String?, _ process: String? = nil) -> Int64? {
            var environment = ["NOTIFY_SOCKET": "/x"]
            environment["WATCHDOG_USEC"] = microseconds
            environment["WATCHDOG_PID"] = process
            return ServiceNotifier(environment: environment).watchdogNanoseconds
        }
        #expect(time("30000000") == 30_000_000_000)
        #expect(time("30000000", "\(getpid())") == 30_000_000_000)
        #expect(time("30000000", "1") == nil)
        for text in [nil, "", "0", "-1", "soon", "9223372036854775807"] {
            #expect(time(text) == nil, "\(text ?? "nil")")
        }
    }

    @Test(arguments: [0, 3])
    func `the picture shows before on the left and after on the right`(delay: Int) {
        let format = VideoFormat(
            pixelFormat: .rgb24, width: 4, height: 2, frameRate: FrameRate(30))
        let (before, after) = (FrameBuffer(format: format), FrameBuffer(format: format))
        var picture = BeforeAfterPicture(format: format, delayMax: 3)
        #expect(!picture.isTaken)
        for number in 1...200 {
            for index in before.bytes.indices {
                before.bytes[index] = UInt8(number)
                after.bytes[index] = UInt8(255 - max(0, number - delay))
            }
            picture.see(before)
            if number > delay { picture.offer(after, delayFrames: delay) }
        }
        #expect(picture.isTaken)
        // Frame 75, and no later one.
        #expect(picture.frame.bytes[0] == 75 && picture.frame.bytes[11] == 75)
        #expect(picture.frame.bytes[12] == 180 && picture.frame.bytes[47] == 180)
    }
}
