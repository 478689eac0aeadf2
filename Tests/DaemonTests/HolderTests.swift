// What holder and writer of the virtual camera say to each other, and what systemd keeps for them.

import Foundation
import Glibc
import Testing
import V4L2
import Video

@testable import Daemon

@Suite struct HolderTests {
    let folder: URL

    init() throws {
        folder = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    }

    // MARK: Passed descriptors

    @Test func `passed descriptors have names, and those without are unknown`() {
        let environment = [
            "LISTEN_PID": "7", "LISTEN_FDS": "4",
            "LISTEN_FDNAMES": "a:lucida-writer::lucida-writer",
        ]
        func named(_ name: String) -> [Int32] {
            PassedDescriptors.named(name, environment: environment, process: 7)
        }
        #expect(named("a") == [3])
        #expect(named("lucida-writer") == [4, 6])
        #expect(named("") == [5])
        #expect(named("unknown") == [])
        #expect(
            PassedDescriptors.named(
                "unknown", environment: ["LISTEN_PID": "7", "LISTEN_FDS": "2"], process: 7)
                == [3, 4])
    }

    @Test(arguments: [
        [:], ["LISTEN_FDS": "1"], ["LISTEN_PID": "7"], ["LISTEN_PID": "8", "LISTEN_FDS": "1"],
        ["LISTEN_PID": "7", "LISTEN_FDS": "0"], ["LISTEN_PID": "7", "LISTEN_FDS": "-1"],
        ["LISTEN_PID": "7", "LISTEN_FDS": "99999999999999999999"],
        ["LISTEN_PID": "7", "LISTEN_FDS": "2000"], ["LISTEN_PID": "seven", "LISTEN_FDS": "1"],
        ["LISTEN_PID": "", "LISTEN_FDS": ""],
    ])
    func `what is meant for others or is no number counts for nothing`(
        environment: [String: String]
    ) {
        var environment = environment
        environment["LISTEN_FDNAMES"] = "a:a:a"
        #expect(PassedDescriptors.named("a", environment: environment, process: 7) == [])
    }

    // MARK: The store

    @Test func `a descriptor goes to systemd with its name`() throws {
        let path = folder.appending(path: "notify").path
        let receiver = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
        defer { close(receiver) }
        try #require(withSocketAddress(path) { bind(receiver, $0, $1) } == 0)
        let notifier = ServiceNotifier(environment: ["NOTIFY_SOCKET": path])
        let (null, random) = (open("/dev/null", O_RDWR), open("/dev/urandom", O_RDONLY))
        defer { for descriptor in [null, random] { close(descriptor) } }
        notifier.store(random, name: "lucida-writer")
        guard case .message(let message) = DescriptorMessage.receive(from: receiver) else {
            Issue.record("nothing came")
            return
        }
        #expect(message.text == "FDSTORE=1\nFDNAME=lucida-writer\nFDPOLL=0")
        let received = try #require(message.descriptor)
        defer { close(received) }
        #expect(received != random && device(received) == device(random))
        #expect(fcntl(received, F_GETFD) & FD_CLOEXEC != 0)
        // Still ours.
        #expect(fcntl(random, F_GETFD) >= 0)
        notifier.status("x")
        guard case .message(let next) = DescriptorMessage.receive(from: receiver) else {
            Issue.record("nothing came")
            return
        }
        #expect(next.text == "STATUS=x" && next.descriptor == nil)
        guard case .nothing = DescriptorMessage.receive(from: receiver) else {
            Issue.record("more came than was sent")
            return
        }
    }

    private func device(_ descriptor: Int32) -> dev_t {
        var status = stat()
        return fstat(descriptor, &status) == 0 ? status.st_rdev : 0
    }

    // MARK: Borrowing

    /// A holder that answers as told, on a thread of its own, until its borrower has gone.
    private final class Listener: @unchecked Sendable {
        let path: String
        private let listener: HolderListener
        // Written by the thread, read after it has ended.
        private(set) var heard: [String] = []
        private(set) var isOrderly: Bool?
        private let done = DispatchSemaphore(value: 0)

        init(_ path: String, answers: [HolderReply]) throws {
            self.path = path
            listener = try HolderListener(path: path)
            let thread = Thread { [self] in
                var answers = answers
                var rounds = 0
                while isOrderly == nil && rounds < 1000 {
                    var descriptors = listener.descriptors
                    poll(&descriptors, nfds_t(descriptors.count), 10)
                    listener.serve(borrower: { nil }) { message, _ in
                        heard.append(message.text)
                        return answers.isEmpty ? .refused : answers.removeFirst()
                    } ended: {
                        isOrderly = $1
                    }
                    rounds += 1
                }
                done.signal()
            }
            thread.start()
        }

        func wait() { done.wait() }
    }

    @Test func `a descriptor is lent with the name of its device`() throws {
        let null = open("/dev/null", O_RDWR)
        defer { close(null) }
        let listener = try Listener(
            folder.appending(path: "run/socket").path,
            answers: [HolderReply(text: "lent /dev/video 10", descriptor: null)])
        let held = try #require(try HeldDevice.connect(to: listener.path))
        guard case .lent(let descriptor, let path) = held.take("auto") else {
            Issue.record("nothing was lent")
            return
        }
        #expect(path == "/dev/video 10" && device(descriptor) == device(null))
        close(descriptor)
        #expect(held.isThere)
        held.close(isOrderly: true)
        listener.wait()
        #expect(listener.heard == ["take auto"] && listener.isOrderly == true)
    }

    @Test func `whoever dies has not stopped in order`() throws {
        let listener = try Listener(folder.appending(path: "socket").path, answers: [])
        do {
            let held = try #require(try HeldDevice.connect(to: listener.path))
            #expect(!held.drop())
        }
        listener.wait()
        #expect(listener.isOrderly == false)
    }

    @Test(arguments: ["lent", "lent /dev/null", "", "\u{1B}[2J", "lend me"])
    func `an answer that makes no sense is none`(answer: String) throws {
        let listener = try Listener(
            folder.appending(path: "socket").path, answers: [HolderReply(text: answer)])
        let held = try #require(try HeldDevice.connect(to: listener.path))
        #expect(held.take("auto") == nil)
        held.close(isOrderly: false)
        listener.wait()
    }

    @Test func `what is no loopback is not written to`() throws {
        var ends: [Int32] = [-1, -1]
        try #require(pipe(&ends) == 0)
        defer { close(ends[0]) }
        #expect(throws: V4L2Error.self) {
            try LoopbackOutput(adopting: ends[1], path: "/dev/null")
        }
        // It was closed: nobody is left who could write.
        var byte: UInt8 = 0
        #expect(read(ends[0], &byte, 1) == 0)
        let null = open("/dev/null", O_RDWR)
        #expect(throws: V4L2Error.self) {
            try LoopbackOutput(adopting: null, path: "/dev/null")
        }
        let other = open("/dev/zero", O_RDWR)
        #expect(throws: V4L2Error.self) {
            try LoopbackOutput(adopting: other, path: "/dev/null")
        }
    }

    @Test func `without a holder there is none, and two cannot be`() throws {
        let path = folder.appending(path: "socket").path
        #expect(try HeldDevice.connect(to: path) == nil)
        let first = try HolderListener(path: path)
        do {
            _ = try HolderListener(path: path)
            Issue.record("two hold one device")
        } catch {
            #expect("\(error)".contains("already"))
        }
        withExtendedLifetime(first) {}
    }

    @Test func `the socket is where the service says`() {
        #expect(HolderSocketPath.of([:]) == "/run/lucida-device/writer.sock")
        #expect(HolderSocketPath.of(["LUCIDA_DEVICE_SOCKET": "/x"]) == "/x")
        #expect(HolderSocketPath.of(["LUCIDA_DEVICE_SOCKET": "x"]) == HolderSocketPath.of([:]))
        let service = ["RUNTIME_DIRECTORY": "/run/a:/run/b"]
        #expect(HolderSocketPath.listening(service) == "/run/a/writer.sock")
        // The daemon has a folder of its own.
        #expect(HolderSocketPath.of(service) == "/run/lucida-device/writer.sock")
    }

    @Test func `whoever is silent has to leave for others, whoever borrows stays`() throws {
        let path = folder.appending(path: "socket").path
        let listener = try HolderListener(path: path)
        var borrower: Int32?
        var gone: [Int32] = []
        func serve() {
            listener.serve(borrower: { borrower }) { message, client in
                if message.text == "take auto" { borrower = client }
                return HolderReply(text: message.text)
            } ended: { client, _ in
                gone.append(client)
            }
        }
        func connect() throws -> Int32 {
            let client = makeUnixSocket(SOCK_SEQPACKET, nonBlocking: true)
            try #require(withSocketAddress(path) { Glibc.connect(client, $0, $1) } == 0)
            serve()
            return client
        }
        func answer(_ client: Int32, to text: String) -> String? {
            guard DescriptorMessage.send(text, to: client) else { return nil }
            serve()
            guard case .message(let reply) = DescriptorMessage.receive(from: client) else {
                return nil
            }
            return reply.text
        }
        let first = try connect()
        #expect(answer(first, to: "take auto") == "take auto")
        let silent = try (0..<3 * HolderListener.clientsMax).map { _ in try connect() }
        defer { for client in silent + [first] { close(client) } }
        let late = try connect()
        defer { close(late) }
        #expect(answer(late, to: "status") == "status")
        #expect(answer(first, to: "status") == "status")
        #expect(gone.count == silent.count + 2 - HolderListener.clientsMax)
        guard case .end = DescriptorMessage.receive(from: silent[0]) else {
            Issue.record("the first silent one is still there")
            return
        }
    }

    @Test func `of several descriptors in a message one is taken, and none is left open`() throws {
        let pipe = try SentPipe(text: "give /dev/video7", copies: 2)
        guard case .message(let message) = DescriptorMessage.receive(from: pipe.receiver) else {
            Issue.record("nothing came")
            return
        }
        #expect(message.text == "give /dev/video7")
        close(try #require(message.descriptor))
        #expect(pipe.hasNoWriter)
    }

    @Test func `a descriptor that comes without a text is not left open`() throws {
        let pipe = try SentPipe(text: "", copies: 1)
        guard case .end = DescriptorMessage.receive(from: pipe.receiver) else {
            Issue.record("an empty packet is no message")
            return
        }
        #expect(pipe.hasNoWriter)
    }

    // MARK: Configuration

    @Test func `the configuration says which device, and in which format`() throws {
        func configuration(_ text: String) throws -> Configuration {
            try Configuration.parse(Array(text.utf8), file: "x").configuration
        }
        let plain = try configuration("")
        #expect(plain.loopbackName == "auto")
        // One of the 13 sizes that Firefox asks a camera for.
        #expect(plain.loopbackFormat.description == "yuyv 1280×720 @ 30 fps")
        let own = try configuration(
            """
            [camera]
            width = 1280
            height = 720
            rate = 25
            [output]
            sinks = ["null", "v4l2:/dev/video7"]
            width = 320
            height = 180
            pixel_format = "nv12"
            """)
        #expect(own.loopbackName == "/dev/video7")
        #expect(own.loopbackFormat.description == "nv12 320×180 @ 25 fps")
        #expect(try configuration("[output]\nsinks = [\"null\"]").loopbackName == nil)
    }

    @Test func `a virtual camera has the size that is wanted, a file that of what comes`() throws {
        func size(_ text: String) throws -> FrameSize? {
            try Configuration.parse(Array(text.utf8), file: "x").configuration.frameSize
        }
        #expect(try size("") == FrameSize(width: 1280, height: 720))
        // YUYV has an even width.
        #expect(
            try size("[camera]\nwidth = 641\nheight = 481") == FrameSize(width: 640, height: 480))
        let file = "[output]\nsinks = [\"file:x.mp4\"]\n"
        #expect(try size(file) == nil)
        #expect(try size(file + "width = 64\nheight = 48") == FrameSize(width: 64, height: 48))
        #expect(
            try size("[output]\nsinks = [\"auto\", \"file:x.mp4\"]")
                == FrameSize(width: 1280, height: 720))
    }

    @Test func `an old driver is to be loaded again with the device`() {
        #expect(DevicePreparation.reloadAdvice("auto").contains("modprobe v4l2loopback exclusive"))
        #expect(DevicePreparation.reloadAdvice("/dev/video7").contains("video_nr=7 exclusive"))
    }
}

/// A pipe whose writing end has been sent over a socket, and is open nowhere else.
private final class SentPipe {
    let receiver: Int32
    private let sender: Int32
    private let reader: Int32

    /// - Parameter copies: of the descriptor in the one message, 1 or 2.
    init(text: String, copies: Int) throws {
        var pair: [Int32] = [-1, -1]
        try #require(socketpair(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue), 0, &pair) == 0)
        var ends: [Int32] = [-1, -1]
        try #require(pipe(&ends) == 0)
        (sender, receiver, reader) = (pair[0], pair[1], ends[0])
        defer { close(ends[1]) }
        var text = Array(text.utf8)
        try text.withUnsafeMutableBytes { bytes in
            var data = iovec(iov_base: bytes.baseAddress, iov_len: bytes.count)
            // struct cmsghdr with the descriptors: cmsg(3).
            var control = [UInt8](repeating: 0, count: 24)
            try control.withUnsafeMutableBytes { rights in
                rights.storeBytes(of: 16 + 4 * copies, as: Int.self)
                rights.storeBytes(of: SOL_SOCKET, toByteOffset: 8, as: Int32.self)
                rights.storeBytes(of: 1, toByteOffset: 12, as: Int32.self)
                rights.storeBytes(of: ends[1], toByteOffset: 16, as: Int32.self)
                rights.storeBytes(of: ends[1], toByteOffset: 20, as: Int32.self)
                try withUnsafeMutablePointer(to: &data) { pointer in
                    var message = msghdr()
                    message.msg_iov = pointer
                    message.msg_iovlen = 1
                    message.msg_control = rights.baseAddress
                    message.msg_controllen = rights.count
                    try #require(sendmsg(pair[0], &message, 0) == bytes.count)
                }
            }
        }
    }

    deinit { for descriptor in [sender, receiver, reader] { close(descriptor) } }

    var hasNoWriter: Bool {
        var end = pollfd(fd: reader, events: Int16(POLLIN), revents: 0)
        return poll(&end, 1, 0) == 1 && Int32(end.revents) & POLLHUP != 0
    }
}
