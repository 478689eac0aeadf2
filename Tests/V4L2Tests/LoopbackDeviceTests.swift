// The output side on real v4l2loopback drivers, in the virtual machine. Skipped elsewhere.

import CLinux
import Glibc
import Synchronization
import Testing
import Video

@testable import V4L2

private let loopbackPath = getenv("LUCIDA_TEST_LOOPBACK").map { String(cString: $0) }

// One device: one test at a time. Each must leave it usable, whatever the version.
@Suite(.serialized, .enabled(if: loopbackPath != nil)) struct LoopbackDeviceTests {
    private let path = loopbackPath ?? ""

    private func format(
        _ pixelFormat: PixelFormat = .yuyv, _ width: Int = 320, _ height: Int = 180
    ) -> VideoFormat {
        VideoFormat(
            pixelFormat: pixelFormat, width: width, height: height, frameRate: FrameRate(30),
            colorRange: pixelFormat == .mjpeg ? .full : .limited)
    }

    private func picture(_ value: UInt8, _ format: VideoFormat) -> [UInt8] {
        [UInt8](
            repeating: value,
            count: format.pixelFormat.imageBytes(width: format.width, height: format.height))
    }

    private func write(_ output: LoopbackOutput, _ value: UInt8) -> LoopbackStatus {
        picture(value, output.format).withUnsafeBytes { output.write($0) }
    }

    private func close(_ output: LoopbackOutput, card value: UInt8) {
        picture(value, output.format).withUnsafeBytes { output.close(card: $0) }
    }

    private func reader(_ fourCC: FourCC = "YUYV", _ width: Int = 320, _ height: Int = 180) throws
        -> CaptureStream
    {
        let stream = try CaptureStream(
            device: VideoDevice(path: path),
            mode: CameraMode(fourCC: fourCC, width: width, height: height, rate: FrameRate(30)))
        try stream.start()
        return stream
    }

    /// First and last byte of the next frame.
    private func next(_ stream: CaptureStream, timeoutMilliseconds: Int32 = 200) -> [UInt8]? {
        guard case .frame(let frame) = stream.dequeue(timeoutMilliseconds: timeoutMilliseconds)
        else { return nil }
        defer { stream.requeue(frame) }
        return [frame.bytes[0], frame.bytes[frame.bytes.count - 1]]
    }

    /// Writes until a reader has seen the picture: a reader may lag behind by the driver's buffers.
    private func isSeen(_ value: UInt8, from output: LoopbackOutput, by stream: CaptureStream)
        -> Bool
    {
        for _ in 0..<8 {
            guard write(output, value) == .written else { return false }
            if next(stream) == [value, value] { return true }
        }
        return false
    }

    @Test func isListedAsALoopback() throws {
        let report = try #require(DeviceDirectory.devices().first { $0.path == path })
        #expect(report.kind == .loopback && report.isUsable && report.card == "Lucida")
    }

    @Test(arguments: [PixelFormat.yuyv, .nv12, .yu12])
    func showsWhatIsWritten(pixelFormat: PixelFormat) throws {
        // 320×180 YUYV: not a whole number of pages, which 0.12 and 0.13 round up to.
        let output = try LoopbackOutput(path: path, format: format(pixelFormat))
        #expect(output.card == "Lucida")
        #expect(write(output, 1) == .written)
        let reader = try reader(FourCC(pixelFormat))
        #expect(reader.format.pixelFormat == pixelFormat)
        #expect(reader.format.width == 320 && reader.format.height == 180)
        for value: UInt8 in [50, 100, 150] { #expect(isSeen(value, from: output, by: reader)) }
        #expect(reader.counters.short == 0)
        reader.stop()
        close(output, card: 7)
    }

    @Test func showsJPEGsOfAnyLength() throws {
        let output = try LoopbackOutput(path: path, format: format(.mjpeg))
        func jpeg(_ count: Int) -> [UInt8] {
            [0xFF, 0xD8] + [UInt8](repeating: 9, count: count - 2)
        }
        #expect(jpeg(5000).withUnsafeBytes { output.write($0) } == .written)
        let reader = try reader("MJPG")
        for count in [3000, 9000, 200] {
            var isSeen = false
            for _ in 0..<8 where !isSeen {
                #expect(jpeg(count).withUnsafeBytes { output.write($0) } == .written)
                guard case .frame(let frame) = reader.dequeue() else { continue }
                isSeen = frame.bytes.count == count
                reader.requeue(frame)
            }
            #expect(isSeen, "\(count) bytes")
        }
        reader.stop()
        jpeg(300).withUnsafeBytes { output.close(card: $0) }
    }

    @Test func refusesPicturesOfAnotherSize() throws {
        let output = try LoopbackOutput(path: path, format: format())
        #expect(picture(1, format(.yuyv, 318, 180)).withUnsafeBytes { output.write($0) } == .again)
        #expect(write(output, 1) == .written)
        close(output, card: 7)
        #expect(write(output, 1) == .lost)
    }

    @Test func takesAnotherFormatAtTheNextStart() throws {
        for (pixelFormat, width, height) in [
            (PixelFormat.yuyv, 320, 180), (.yuyv, 640, 360), (.yu12, 128, 80), (.yuyv, 320, 180),
        ] {
            let output = try LoopbackOutput(path: path, format: format(pixelFormat, width, height))
            #expect(write(output, 1) == .written)
            close(output, card: 7)
        }
    }

    @Test func takesAnotherFormatAfterAWriterThatDied() throws {
        do {
            // Dropped without `close`: as after a SIGKILL, the format stays kept.
            let dead = try VideoDevice(path: path)
            let output = try LoopbackOutput(path: path, format: format())
            #expect(write(output, 1) == .written)
            try dead.setControl("keep_format", to: .boolean(true))
            output.close(card: nil)
            try dead.setControl("keep_format", to: .boolean(true))
        }
        let output = try LoopbackOutput(path: path, format: format(.yuyv, 640, 360))
        #expect(write(output, 1) == .written)
        close(output, card: 7)
    }

    @Test func leavesTheDeviceFreeForOthers() throws {
        let output = try LoopbackOutput(path: path, format: format())
        #expect(write(output, 1) == .written)
        close(output, card: 7)
        let capabilities = try VideoDevice(path: path).capabilities
        #expect(capabilities.isOutput && !capabilities.isCapture)
    }

    @Test func isACameraForAppsWhileFramesFlow() throws {
        let output = try LoopbackOutput(path: path, format: format())
        #expect(write(output, 1) == .written)
        let device = try VideoDevice(path: path)
        #expect(device.capabilities.isCapture && !device.capabilities.isOutput)
        let formats = device.cameraFormats()
        #expect(formats.map(\.fourCC) == ["YUYV"])
        #expect(formats.first?.sizes == [CameraSize(320, 180, [FrameRate(30)])])
        close(output, card: 7)
    }

    @Test func aReaderGoesOnAcrossARestartOfTheWriter() throws {
        var output = try LoopbackOutput(path: path, format: format())
        #expect(write(output, 1) == .written)
        let reader = try reader()
        #expect(isSeen(50, from: output, by: reader))
        for round: UInt8 in 1...3 {
            close(output, card: 7)
            output = try LoopbackOutput(path: path, format: format())
            #expect(isSeen(100 + round, from: output, by: reader), "round \(round)")
        }
        reader.stop()
        close(output, card: 7)
    }

    @Test func anAppMayRestartItsStreamWhileTheWriterIsAway() throws {
        var output = try LoopbackOutput(path: path, format: format())
        #expect(write(output, 1) == .written)
        let device = try VideoDevice(path: path)
        let mode = CameraMode(fourCC: "YUYV", width: 320, height: 180, rate: FrameRate(30))
        let reader = try CaptureStream(device: device, mode: mode)
        try reader.start()
        #expect(isSeen(50, from: output, by: reader))
        close(output, card: 7)
        // Cards that are still to be read, then silence, then a restart as Chrome does it.
        #expect(isSilent(reader))
        #expect(reader.restart())
        output = try LoopbackOutput(path: path, format: format())
        #expect(isSeen(99, from: output, by: reader))
        reader.stop()
        close(output, card: 7)
    }

    @Test func saysWhoHoldsAnotherFormat() throws {
        var output = try LoopbackOutput(path: path, format: format())
        #expect(write(output, 1) == .written)
        let reader = try reader()
        #expect(isSeen(50, from: output, by: reader))
        close(output, card: 7)
        let error = #expect(throws: V4L2Error.self) {
            _ = try LoopbackOutput(path: path, format: format(.yuyv, 640, 360))
        }
        #expect(error?.description.contains(path) == true, "\(String(describing: error))")
        #expect(
            error?.errno == EBUSY || error?.description.contains("YUYV 320×180") == true,
            "\(String(describing: error))")
        output = try LoopbackOutput(path: path, format: format())
        #expect(isSeen(60, from: output, by: reader))
        reader.stop()
        close(output, card: 7)
    }

    @Test func overwritesEveryBufferOnLeaving() throws {
        let output = try LoopbackOutput(path: path, format: format())
        for value: UInt8 in 50..<90 { #expect(write(output, value) == .written) }
        // A witness keeps the device open, so that the driver frees nothing.
        let witness = try VideoDevice(path: path)
        close(output, card: 7)
        if let reader = try? reader() {
            while let seen = next(reader, timeoutMilliseconds: 50) { #expect(seen == [7, 7]) }
        }
        withExtendedLifetime(witness) {}
    }

    @Test func letsOneLucidaWriteAtATime() throws {
        let output = try LoopbackOutput(path: path, format: format())
        #expect(write(output, 1) == .written)
        let error = #expect(throws: V4L2Error.self) {
            _ = try LoopbackOutput(path: path, format: format())
        }
        #expect(error?.errno == EBUSY)
        #expect(error?.description.contains("another lucida") == true)
        #expect(write(output, 2) == .written)
        close(output, card: 7)
    }

    @Test func saysWhyAWriteFailed() throws {
        let output = try LoopbackOutput(path: path, format: format(.mjpeg))
        #expect(output.lastError == nil)
        // No such memory: EFAULT, and nothing is written.
        let nowhere = UnsafeRawBufferPointer(
            start: UnsafeRawPointer(bitPattern: 0x10), count: 200)
        #expect(output.write(nowhere) == .lost)
        #expect(output.lastError?.errno == EFAULT)
        #expect(output.lastError?.description.contains(path) == true)
        close(output, card: 7)
    }

    /// A program that is not ours writes, as FFmpeg does.
    private func foreignWriter() throws -> VideoDevice {
        let device = try VideoDevice(path: path)
        var request = v4l2_format()
        request.type = CLINUX_V4L2_BUF_TYPE_VIDEO_OUTPUT
        request.fmt.pix = v4l2_pix_format()
        request.fmt.pix.width = 320
        request.fmt.pix.height = 180
        request.fmt.pix.pixelformat = FourCC("YUYV").rawValue
        try device.perform("set the format", CLINUX_VIDIOC_S_FMT, &request)
        writeForeign(device)
        return device
    }

    private func writeForeign(_ device: VideoDevice) {
        let bytes = picture(33, format())
        #expect(Glibc.write(device.descriptor, bytes, bytes.count) == bytes.count)
    }

    private func expectHandsOff(_ sourceLocation: SourceLocation) throws {
        let report = try #require(DeviceDirectory.devices().first { $0.path == path })
        #expect(!report.isUsable, sourceLocation: sourceLocation)
        #expect(
            report.remark?.contains("another program writes") == true,
            sourceLocation: sourceLocation)
        #expect(throws: V4L2Error.self, sourceLocation: sourceLocation) {
            try DeviceDirectory.loopbackPath(for: "auto")
        }
        let error = #expect(throws: V4L2Error.self, sourceLocation: sourceLocation) {
            _ = try LoopbackOutput(path: path, format: format(.yuyv, 640, 360))
        }
        #expect(error?.errno == EBUSY, sourceLocation: sourceLocation)
        #expect(
            error?.description.contains("another program") == true, sourceLocation: sourceLocation)
    }

    @Test func leavesADeviceAloneThatAnotherProgramWritesTo() throws {
        do {
            let foreign = try foreignWriter()
            try expectHandsOff(#_sourceLocation)
            writeForeign(foreign)
        }
        // The other program has ended.
        let report = try #require(DeviceDirectory.devices().first { $0.path == path })
        #expect(report.isUsable)
        let output = try LoopbackOutput(path: path, format: format())
        #expect(write(output, 1) == .written)
        close(output, card: 7)
    }

    @Test func leavesAKeptFormatAloneThatAnotherProgramWrites() throws {
        // Repairs what 0.12.7 forgets after a writer that only used write().
        defer { try? LoopbackOutput(path: path, format: format()).close(card: nil) }
        let foreign = try foreignWriter()
        try foreign.setControl("keep_format", to: .boolean(true))
        // With a kept format some drivers only show a writer by what it writes.
        let writing = BackgroundWriter(foreign.descriptor, picture(33, format()))
        let result = Result { try expectHandsOff(#_sourceLocation) }
        writing.stop()
        try result.get()
        #expect(try foreign.controlValue("keep_format") == 1)
        try foreign.setControl("keep_format", to: .boolean(false))
    }

    @Test func aFormatKeptByAWriterThatDiedIsNoWriter() throws {
        do {
            let foreign = try foreignWriter()
            try foreign.setControl("keep_format", to: .boolean(true))
        }
        let report = try #require(DeviceDirectory.devices().first { $0.path == path })
        #expect(report.isUsable, "\(String(describing: report.remark))")
        let output = try LoopbackOutput(path: path, format: format(.yuyv, 640, 360))
        #expect(write(output, 1) == .written)
        close(output, card: 7)
    }

    @Test func nothingOfACameraThatDeliversNothingGoodIsAFrame() throws {
        let output = try LoopbackOutput(path: path, format: format(.mjpeg))
        let rubbish = [UInt8](repeating: 1, count: 4000)
        #expect(rubbish.withUnsafeBytes { output.write($0) } == .written)
        let stream = try reader("MJPG")
        for _ in 0..<500 where stream.counters.short < 20 {
            #expect(rubbish.withUnsafeBytes { output.write($0) } == .written)
            if case .frame = stream.dequeue(timeoutMilliseconds: 5) { Issue.record("a frame") }
        }
        #expect(stream.counters.short >= 20 && stream.counters.frames == 0)
        stream.stop()
        close(output, card: 7)
    }

    @Test func countsTheReadersWhereTheDriverTells() throws {
        let output = try LoopbackOutput(path: path, format: format())
        #expect(write(output, 1) == .written)
        guard output.streamingReaders() != nil else {
            close(output, card: 7)
            return
        }
        #expect(output.streamingReaders() == 0)
        let first = try reader()
        #expect(output.streamingReaders() == 1)
        // From 0.13 on the driver lets one program stream.
        let error = #expect(throws: V4L2Error.self) { _ = try reader() }
        #expect(error?.errno == EBUSY)
        first.stop()
        #expect(output.streamingReaders() == 0)
        close(output, card: 7)
    }

    @Test func whoLooksIsSeenThroughADescriptorThatIsNotTheWriters() throws {
        let output = try LoopbackOutput(path: path, format: format())
        #expect(write(output, 1) == .written)
        let readers = LoopbackReaders(path: path)
        // Without events, what this process itself has open does not count.
        #expect(readers.count() == 0)
        if readers.eventDescriptor >= 0 {
            let first = try reader()
            var request = pollfd(
                fd: readers.eventDescriptor, events: Int16(POLLPRI), revents: 0)
            #expect(poll(&request, 1, 5000) == 1)
            #expect(readers.count() == 1)
            // Who comes later is told how things are.
            #expect(LoopbackReaders(path: path).count() == 1)
            first.stop()
            #expect(readers.count() == 0)
        } else {
            #expect(output.streamingReaders() == nil)
        }
        readers.close()
        #expect(readers.eventDescriptor < 0)
        close(output, card: 7)
    }

    @Test func aStalledCameraGoesOnAfterARestart() throws {
        let output = try LoopbackOutput(path: path, format: format())
        #expect(write(output, 1) == .written)
        let stream = try reader()
        #expect(isSilent(stream))
        #expect(stream.restart())
        #expect(stream.counters.restarts == 1)
        #expect(isSeen(99, from: output, by: stream))
        stream.stop()
        #expect(!stream.restart())
        close(output, card: 7)
    }

    /// Takes what is still to be read; whether then nothing more comes, and the device is not lost.
    private func isSilent(_ stream: CaptureStream) -> Bool {
        var silences = 0
        for _ in 0..<100 where silences < 3 {
            switch stream.dequeue(timeoutMilliseconds: 20) {
            case .frame(let frame): stream.requeue(frame)
            case .again: silences += 1
            default: return false
            }
        }
        return silences == 3
    }
}

/// Writes one picture again and again, on a thread of its own: the machine may have one core, and
/// the test waits in system calls.
private final class BackgroundWriter: @unchecked Sendable {
    private let isDone = Atomic(false)
    private var thread = pthread_t()
    private let descriptor: Int32
    private let picture: [UInt8]

    init(_ descriptor: Int32, _ picture: [UInt8]) {
        self.descriptor = descriptor
        self.picture = picture
        let this = Unmanaged.passRetained(self).toOpaque()
        pthread_create(
            &thread, nil,
            {
                guard let this = $0 else { return nil }
                Unmanaged<BackgroundWriter>.fromOpaque(this).takeRetainedValue().run()
                return nil
            }, this)
    }

    private func run() {
        while !isDone.load(ordering: .relaxed) {
            _ = picture.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            usleep(20_000)
        }
    }

    func stop() {
        isDone.store(true, ordering: .relaxed)
        pthread_join(thread, nil)
    }
}
