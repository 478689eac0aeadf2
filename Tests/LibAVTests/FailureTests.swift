import Foundation
import LibAV
import Testing
import Video

@Suite struct FailureTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private func openError(_ file: String) -> LibAVError? {
        #expect(throws: LibAVError.self) { try Demuxer(file: file) }
    }

    private func writeError(_ file: String, _ options: MuxerOptions = MuxerOptions()) -> LibAVError?
    {
        #expect(throws: LibAVError.self) {
            try Muxer(file: file, input: format(.rgb24, 64, 48), options: options)
        }
    }

    @Test("each file that cannot be read is named, with the reason")
    func unreadable() throws {
        let missing = openError(folder.file("missing.mp4"))
        #expect(missing?.systemError == ENOENT)
        let empty = openError(try folder.write([], "empty.mp4"))
        #expect(empty?.description.contains("empty") == true)
        let directory = openError(folder.path)
        #expect(directory?.systemError == EISDIR)
        let noise = FrameBuffer.noise(40, 40, seed: 4).contents
        let damaged = openError(try folder.write(noise, "damaged.mp4"))
        let text = openError(try folder.write(Array("[camera]\nsource = 1\n".utf8), "a.toml"))
        mkfifo(folder.file("pipe"), 0o600)
        let pipe = openError(folder.file("pipe"))
        for (error, name) in [
            (missing, "missing.mp4"), (empty, "empty.mp4"), (directory, folder.path),
            (damaged, "damaged.mp4"), (text, "a.toml"), (pipe, "pipe"),
        ] {
            #expect(error?.description.contains(name) == true, "\(String(describing: error))")
        }
    }

    @Test("a sound file has no video to use")
    func sound() throws {
        // 8-bit mono PCM.
        let header: [UInt8] =
            Array("RIFF".utf8) + [0x24, 8, 0, 0] + Array("WAVEfmt ".utf8) + [16, 0, 0, 0]
            + [1, 0, 1, 0, 0x40, 0x1f, 0, 0, 0x40, 0x1f, 0, 0, 1, 0, 8, 0]
            + Array("data".utf8) + [0, 8, 0, 0]
        let file = try folder.write(header + [UInt8](repeating: 128, count: 2048), "a.wav")
        let error = openError(file)
        #expect(error?.description.contains("no video") == true)
        #expect(error?.description.contains("a.wav") == true)
    }

    @Test("a picture beyond the limit is refused before it takes memory")
    func hugePicture() throws {
        try ImageWriter.write(FrameBuffer.noise(8, 8, seed: 1), to: folder.file("a.png"))
        var bytes = try folder.bytes("a.png")
        // Width and height in the header; the checksum behind them.
        bytes.replaceSubrange(16..<24, with: [0, 0, 0x75, 0x30, 0, 0, 0x75, 0x30])
        let checksum = crc32(bytes[12..<29])
        bytes.replaceSubrange(29..<33, with: (0..<4).map { UInt8(checksum >> (24 - 8 * $0) & 255) })
        let file = try folder.write(bytes, "huge.png")
        let growth = leastGrowth {
            #expect(openError(file)?.description.contains("huge.png") == true)
        }
        #expect(growth < 64 << 20)
    }

    private func crc32(_ bytes: ArraySlice<UInt8>) -> UInt32 {
        var checksum = ~UInt32(0)
        for byte in bytes {
            checksum ^= UInt32(byte)
            for _ in 0..<8 {
                let isOdd = checksum & 1 == 1
                checksum >>= 1
                if isOdd { checksum ^= 0xedb8_8320 }
            }
        }
        return ~checksum
    }

    @Test("each target that cannot be written is named, with the reason")
    func unwritable() throws {
        #expect(writeError(folder.file("no/such/folder/a.mp4"))?.systemError == ENOENT)
        #expect(writeError(folder.path + "/")?.description.contains(folder.path) == true)
        #expect(writeError(folder.file("a.xyz"))?.description.contains("a.xyz") == true)
        #expect(writeError(folder.file("a.png"))?.description.contains("a.png") == true)
        #expect(writeError("tcp://127.0.0.1:1")?.systemError == ECONNREFUSED)
        var options = MuxerOptions()
        options.codec = .ffv1
        #expect(writeError(folder.file("a.mp4"), options)?.description.contains("ffv1") == true)
        let picture = FrameBuffer.gradient(8, 8)
        let error = #expect(throws: LibAVError.self) {
            try ImageWriter.write(picture, to: folder.file("no/a.png"))
        }
        #expect(error?.description.contains("no/a.png") == true)
        #expect(throws: LibAVError.self) {
            try ImageWriter(directory: folder.file("no/such"), input: picture.format)
        }
        #expect(throws: LibAVError.self) {
            try ImageWriter(directory: try folder.write([1], "file"), input: picture.format)
        }
    }

    @Test("a target that would block for ever is refused with the reason")
    func blockingTarget() throws {
        let picture = FrameBuffer.gradient(8, 8)
        func pictureError(_ file: String) -> LibAVError? {
            #expect(throws: LibAVError.self) { try ImageWriter.write(picture, to: file) }
        }
        for name in ["pipe.mkv", "pipe.png"] {
            let file = folder.file(name)
            #expect(mkfifo(file, 0o600) == 0)
            for error in [writeError(file), writeError("file:" + file), pictureError(file)] {
                #expect(error?.description.contains("named pipe") == true)
                #expect(error?.description.contains(file) == true)
            }
        }
        #expect(pictureError(folder.path)?.systemError == EISDIR)
        #expect(writeError(folder.path)?.systemError == EISDIR)
        // One picture of a series that meets a pipe.
        mkdir(folder.file("series"), 0o700)
        let writer = try ImageWriter(directory: folder.file("series"), input: picture.format)
        mkfifo(folder.file("series/000001.png"), 0o600)
        #expect(writer.writeNext(picture) == .failed)
        #expect(writer.lastError?.systemError == ENXIO)
        let socket = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(socket) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let path = "/tmp/lucida-\(getpid()).mkv"
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        let isBound = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(socket, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) == 0
            }
        }
        defer { unlink(path) }
        try #require(isBound)
        #expect(writeError(path)?.description.contains("socket") == true)
    }

    @Test("a full disk ends the recording, not the process")
    func fullDisk() throws {
        var options = MuxerOptions()
        options.container = "matroska"
        let frame = FrameBuffer.noise(320, 180, seed: 2)
        // Either the header or one of the frames does not fit any more.
        let muxer: Muxer
        do {
            muxer = try Muxer(file: "/dev/full", input: frame.format, options: options)
        } catch {
            #expect(error.systemError == ENOSPC)
            return
        }
        var statuses: [Muxer.Status] = []
        for i in 0..<20 {
            frame.metadata.timestampNanoseconds = Int64(i) * 33_000_000
            statuses.append(muxer.write(frame))
        }
        #expect(statuses.last == .failed)
        #expect(muxer.lastError?.systemError == ENOSPC)
        #expect(muxer.lastError?.description.contains("/dev/full") == true)
        #expect(throws: LibAVError.self) { try muxer.finish() }
    }

    @Test(
        "a folder that vanishes is told with the file's name, and the series goes on in a new one")
    func vanishedFolder() throws {
        let frame = FrameBuffer.gradient(16, 16)
        let directory = folder.file("frames")
        let writer = try ImageWriter(directory: directory, input: frame.format)
        #expect(writer.writeNext(frame) == .written)
        try FileManager.default.removeItem(atPath: directory)
        #expect(writer.writeNext(frame) == .failed)
        #expect(writer.lastError?.description.contains("000002.png") == true)
        try FileManager.default.createDirectory(
            atPath: directory, withIntermediateDirectories: false)
        #expect(writer.writeNext(frame) == .written)
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory) == ["000002.png"])
    }

    /// A server that accepts connections and then says nothing.
    private func silentServer() throws -> (socket: Int32, port: UInt16) {
        let server = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let port = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(server, $0, length) == 0 && listen(server, 4) == 0
                    && getsockname(server, $0, &length) == 0
            }
        }
        try #require(port)
        return (server, UInt16(bigEndian: address.sin_port))
    }

    @Test("a server that says nothing is given up on")
    func silence() throws {
        let server = try silentServer()
        defer { close(server.socket) }
        let url = "tcp://127.0.0.1:\(server.port)"
        let error = #expect(throws: LibAVError.self) {
            try Demuxer(file: url, timeoutNanoseconds: 200_000_000)
        }
        #expect(error?.systemError == ETIMEDOUT)
        #expect(error?.description.contains(url) == true)
    }

    @Test("a viewer that does not read is given up on")
    func stalledViewer() throws {
        let server = try silentServer()
        defer { close(server.socket) }
        var options = MuxerOptions()
        options.codec = .ffv1
        options.container = "matroska"
        options.timeoutNanoseconds = 200_000_000
        let frame = FrameBuffer.noise(640, 360, seed: 2)
        let muxer = try Muxer(
            file: "tcp://127.0.0.1:\(server.port)", input: frame.format, options: options)
        var count = 0
        while muxer.write(frame) == .written && count < 500 { count += 1 }
        #expect(muxer.lastError?.systemError == ETIMEDOUT, "after \(count) frames")
    }

    @Test("stop ends reading from another thread's point of view at once")
    func stop() throws {
        try writeVideo(folder.file("a.mp4"), (0..<5).map { FrameBuffer.gradient(64, 48, time: $0) })
        let demuxer = try Demuxer(file: folder.file("a.mp4"))
        let frame = FrameBuffer(format: format(.rgb24, 64, 48))
        try demuxer.prepare(output: frame.format)
        #expect(demuxer.next(into: frame) == .frame)
        demuxer.stop()
        var status = Demuxer.Status.frame
        for _ in 0..<10 where status == .frame { status = demuxer.next(into: frame) }
        #expect(status == .endOfStream)
    }

    @Test("packets sent to nobody over UDP are no failure")
    func udp() throws {
        let frame = FrameBuffer.gradient(64, 48)
        let muxer = try Muxer(file: "udp://127.0.0.1:9", input: frame.format)
        #expect(muxer.summary.contains("mpegts"))
        for i in 0..<5 {
            frame.metadata.timestampNanoseconds = Int64(i) * 33_000_000
            #expect(muxer.write(frame) == .written)
        }
        try? muxer.finish()
    }

    @Test(
        "thousands of damaged videos neither crash, hang nor leak",
        arguments: ["a.mp4", "a.mkv", "f.mkv", "a.png"])
    func fuzz(name: String) throws {
        // Small, so that most of the damage meets headers and code rather than pixels.
        let pictures = (0..<3).map { FrameBuffer.gradient(32, 16, time: $0) }
        if name == "a.png" {
            try ImageWriter.write(pictures[0], to: folder.file(name))
        } else {
            var options = MuxerOptions()
            if name == "f.mkv" { options.codec = .ffv1 }
            try writeVideo(folder.file(name), pictures, options: options)
        }
        let bytes = try folder.bytes(name)
        var mutator = Mutator(seed: 77)
        let output = FrameBuffer(format: pictures[0].format)
        var refused = 0
        var frames = 0
        func run(_ count: Int) throws {
            for _ in 0..<count {
                let file = try folder.write(mutator.mutate(bytes), "damaged-" + name)
                do throws(LibAVError) {
                    let demuxer = try Demuxer(file: file, timeoutNanoseconds: 2_000_000_000)
                    try demuxer.prepare(output: output.format)
                    // A few frames were written: whoever gives thousands would never end.
                    loop: for i in 0..<10_000 {
                        switch demuxer.next(into: output) {
                        case .frame: frames += 1
                        case .badFrame, .again: continue
                        case .endOfStream, .failed: break loop
                        }
                        #expect(i < 9_999)
                    }
                    if let error = demuxer.lastError {
                        #expect(error.description.contains("damaged-" + name))
                    }
                } catch {
                    refused += 1
                    #expect(error.description.contains("damaged-" + name))
                }
            }
        }
        try run(200)
        #expect(try leastGrowth { try run(400 * fuzzRounds) } < 2 << 20)
        // A PNG has checksums.
        #expect(
            refused > 200 && frames > (name == "a.png" ? 0 : 200),
            "\(refused) refused, \(frames) frames")
    }

    @Test("libav's log goes to whoever asks for it, and error messages quote its last line")
    func log() throws {
        let lines = Lines()
        LibAVLog.install(level: .error) { _, line in lines.append(line) }
        defer { LibAVLog.removeHandler() }
        let bytes: [UInt8] =
            [0, 0, 0, 24] + Array("ftypisom".utf8) + [UInt8](repeating: 0, count: 400)
        let error = openError(try folder.write(bytes, "no-moov.mp4"))
        #expect(error?.detail.contains("moov") == true, "\(String(describing: error))")
        #expect(lines.all.contains { $0.contains("moov") })
    }
}

private final class Lines: @unchecked Sendable {
    private let lock = NSLock()
    private var lines: [String] = []
    var all: [String] { lock.withLock { lines } }
    func append(_ line: String) { lock.withLock { lines.append(line) } }
}
