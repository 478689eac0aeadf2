// The capture side on a real driver: vivid, in the virtual machine. Skipped elsewhere.

import Glibc
import Testing
import Video

@testable import V4L2

/// The path in an environment variable that the virtual machine sets.
private func device(_ variable: String) -> String? {
    getenv(variable).map { String(cString: $0) }
}

private let cameraPath = device("LUCIDA_TEST_CAMERA")

// One camera: one test at a time.
@Suite(.serialized, .enabled(if: cameraPath != nil)) struct CameraDeviceTests {
    private let path = cameraPath ?? ""
    private let patience = 50

    /// Opens vivid with its texts off, so that only the colour bars are seen.
    private func open() throws -> VideoDevice {
        let device = try VideoDevice(path: path)
        try device.setControl("osd_text_mode", to: .text("None"))
        try device.setControl("test_pattern", to: .text("75% Colorbar"))
        // Else vivid stamps frames with the time at which a sensor would be done with them: later.
        try device.setControl("timestamp_source", to: .text("Start of Exposure"))
        return device
    }

    private func stream(
        _ fourCC: FourCC = "YUYV", _ width: Int = 320, _ height: Int = 180
    ) throws -> (VideoDevice, CaptureStream) {
        let device = try open()
        let stream = try CaptureStream(
            device: device,
            mode: CameraMode(fourCC: fourCC, width: width, height: height, rate: FrameRate(30)))
        try stream.start()
        return (device, stream)
    }

    /// The next good frame, copied out; nil if the stream ends first.
    private func next(_ stream: CaptureStream) -> (bytes: [UInt8], metadata: FrameMetadata)? {
        for _ in 0..<patience {
            switch stream.dequeue() {
            case .frame(let frame):
                let copy = [UInt8](frame.bytes)
                stream.requeue(frame)
                return (copy, frame.metadata)
            case .again, .badFrame: continue
            case .deviceLost, .formatChanged: return nil
            }
        }
        return nil
    }

    /// What `dequeue` says first that is neither a frame nor `.again`.
    private func firstTrouble(_ stream: CaptureStream) -> String {
        for _ in 0..<patience {
            switch stream.dequeue() {
            case .frame(let frame): stream.requeue(frame)
            case .again: continue
            case .badFrame: return "badFrame"
            case .deviceLost: return "deviceLost"
            case .formatChanged: return "formatChanged"
            }
        }
        return "nothing"
    }

    @Test func isListedAsAUsableCamera() throws {
        let report = try #require(DeviceDirectory.devices().first { $0.path == path })
        #expect(report.kind == .camera && report.isUsable)
        #expect(report.driver == "vivid")
        #expect(
            report.modes.contains {
                $0.format == "YUYV" && $0.width == 320 && $0.rates.contains(30)
            })
        #expect(report.controls.contains { $0.name == "brightness" && $0.value != nil })
        #expect(try DeviceDirectory.cameraPaths(for: "auto").first == path)
    }

    @Test func choosesAModeFromTheDriversLists() throws {
        let formats = try open().cameraFormats()
        let mode = CameraMode.best(of: formats, width: 640, height: 360, rate: FrameRate(30))
        #expect(mode?.description == "YUYV 640×360 @ 30 fps")
    }

    @Test func readsAndSetsControlsByName() throws {
        let device = try VideoDevice(path: path)
        try device.setControl("Brightness", to: .integer(90))
        #expect(try device.controlValue("brightness") == 90)
        try device.setControl("brightness", to: .integer(128))
        try device.setControl("menu", to: .text("Menu Item 4"))
        #expect(try device.controlValue("menu") == 4)
        let wrong = #expect(throws: V4L2Error.self) {
            try device.setControl("brightness", to: .integer(300))
        }
        #expect(wrong?.description.contains("0 to 255") == true)
        let unknown = #expect(throws: V4L2Error.self) {
            try device.setControl("power_line_frequency", to: .integer(1))
        }
        #expect(unknown?.description.contains("brightness, contrast") == true)
    }

    @Test func deliversNumberedAndTimedFrames() throws {
        let (device, stream) = try stream()
        #expect(stream.format.frameRate == FrameRate(30))
        #expect(stream.format.colorRange == .limited)
        var previous = try #require(next(stream)).metadata
        for _ in 0..<10 {
            let frame = try #require(next(stream))
            #expect(frame.bytes.count == 320 * 180 * 2)
            #expect(frame.metadata.sequence > previous.sequence)
            #expect(frame.metadata.timestampNanoseconds > previous.timestampNanoseconds)
            previous = frame.metadata
        }
        #expect(stream.counters.frames == 11)
        #expect(stream.counters.replacedTimestamps == 0)
        #expect(stream.counters.flaggedFaulty == 0 && stream.counters.short == 0)
        stream.stop()
        withExtendedLifetime(device) {}
    }

    @Test func stopsAndStartsAgain() throws {
        let (_, stream) = try stream()
        for _ in 0..<3 {
            #expect(next(stream) != nil)
            stream.stop()
            guard case .deviceLost = stream.dequeue() else {
                Issue.record("a stopped stream delivers nothing")
                return
            }
            try stream.start()
        }
        #expect(next(stream) != nil)
    }

    @Test func tellsThatAnotherProgramStreams() throws {
        let (_, first) = try stream()
        let error = #expect(throws: V4L2Error.self) { _ = try self.stream() }
        #expect(error?.errno == EBUSY)
        #expect(next(first) != nil)
    }

    @Test func listsACameraInUseAsNotUsableAndDoesNotDisturbIt() throws {
        let (_, first) = try stream()
        #expect(next(first) != nil)
        for _ in 0..<3 {
            let report = try #require(DeviceDirectory.devices().first { $0.path == path })
            #expect(report.kind == .camera && !report.isUsable)
            #expect(report.remark?.contains("another program") == true)
            let automatic = (try? DeviceDirectory.cameraPaths(for: "auto")) ?? []
            #expect(!automatic.contains(path))
            for _ in 0..<5 { #expect(next(first) != nil) }
        }
        #expect(first.counters.restarts == 0)
        first.stop()
        let report = try #require(DeviceDirectory.devices().first { $0.path == path })
        #expect(report.isUsable)
    }

    /// Bars of the 75 % pattern from the left: white, yellow, cyan, green, magenta, red, blue, black.
    @Test(arguments: ["YUYV", "UYVY", "NV12", "YU12", "RGB3", "BGR3"] as [FourCC])
    func readsTheColourBars(fourCC: FourCC) throws {
        let (_, stream) = try stream(fourCC)
        let frame = try #require(next(stream))
        let format = stream.format
        let white = luma(frame.bytes, format, bar: 0)
        let black = luma(frame.bytes, format, bar: 7)
        if format.pixelFormat?.isYCbCr == true {
            // 75 % white in the limited range: 16 + 0.75 · 219.
            #expect(abs(white - 180) <= 2 && abs(black - 16) <= 2, "\(fourCC): \(white), \(black)")
        } else {
            #expect(abs(white - 191) <= 2 && abs(black) <= 2, "\(fourCC): \(white), \(black)")
        }
    }

    /// Luma (or green) in the middle of a bar, half way down.
    private func luma(_ bytes: [UInt8], _ format: CaptureFormat, bar: Int) -> Int {
        let x = format.width * (2 * bar + 1) / 16
        let row = format.height / 2 * format.bytesPerLine
        switch format.pixelFormat {
        case .yuyv: return Int(bytes[row + 2 * x])
        case .uyvy: return Int(bytes[row + 2 * x + 1])
        case .rgb24, .bgr24: return Int(bytes[row + 3 * x + 1])
        default: return Int(bytes[row + x])
        }
    }

    @Test(arguments: FourCC.convertible.sorted { $0.description < $1.description })
    func convertsExoticFormats(fourCC: FourCC) throws {
        let offered = try open().cameraFormats().map(\.fourCC)
        guard offered.contains(fourCC) else { return }
        let (_, stream) = try stream(fourCC)
        try #require(stream.format.fourCC == fourCC)
        #expect(stream.format.pixelFormat == nil)
        let converter = try ExoticConverter(stream: stream)
        let output = FrameBuffer(format: converter.outputFormat)
        let frame = try #require(next(stream))
        let isConverted = frame.bytes.withUnsafeBytes { converter.convert($0, into: output) }
        try #require(isConverted)
        let x = output.format.width / 16
        let y = output.format.height / 2
        let isYCbCr = converter.outputFormat.pixelFormat == .yu12
        // Second bar: yellow. Luma 16 + 0.75 · (219 − 25) ≈ 161; RGB 191, 191, 0.
        let base = output.plane(0) + y * output.strides[0]
        if isYCbCr {
            #expect(abs(Int(base[3 * x]) - 161) <= 3, "\(fourCC): \(base[3 * x])")
            let blue = output.plane(1) + y / 2 * output.strides[1]
            #expect(blue[3 * x / 2] < 60, "\(fourCC): Cb \(blue[3 * x / 2])")
        } else {
            let rgb = (0..<3).map { Int(base[9 * x + $0]) }
            #expect(
                abs(rgb[0] - 191) <= 8 && abs(rgb[1] - 191) <= 8 && rgb[2] <= 8, "\(fourCC): \(rgb)"
            )
        }
    }

    // MARK: Faults that vivid can be told to make

    @Test func countsFramesThatTheDriverDrops() throws {
        let (device, stream) = try stream()
        try device.setControl("percentage_of_dropped_buffers", to: .integer(50))
        defer { try? device.setControl("percentage_of_dropped_buffers", to: .integer(0)) }
        for _ in 0..<20 where stream.counters.lostByDriver == 0 { _ = next(stream) }
        #expect(stream.counters.lostByDriver > 0)
    }

    @Test func dropsAFrameWithTheErrorFlag() throws {
        let (device, stream) = try stream()
        #expect(next(stream) != nil)
        try device.setControl("inject_v4l2_buf_flag_error", to: .integer(1))
        #expect(firstTrouble(stream) == "badFrame")
        #expect(stream.counters.flaggedFaulty == 1)
        #expect(next(stream) != nil)
    }

    @Test func replacesTimestampsThatWrapAround() throws {
        let device = try open()
        try device.setControl("wrap_timestamp", to: .text("64 Bit"))
        defer { try? device.setControl("wrap_timestamp", to: .text("None")) }
        let (_, stream) = try stream()
        let first = try #require(next(stream)).metadata.timestampNanoseconds
        let second = try #require(next(stream)).metadata.timestampNanoseconds
        #expect(second > first)
        #expect(stream.counters.replacedTimestamps >= 2)
    }

    @Test func refusesToStartWhereTheDriverFails() throws {
        let device = try open()
        let stream = try CaptureStream(
            device: device,
            mode: CameraMode(fourCC: "YUYV", width: 320, height: 180, rate: FrameRate(30)))
        try device.setControl("inject_vidioc_streamon_error", to: .integer(1))
        #expect(throws: V4L2Error.self) { try stream.start() }
        try stream.start()
        #expect(next(stream) != nil)
    }

    @Test func restartsAStreamThatTheDriverBroke() throws {
        let (device, stream) = try stream()
        #expect(next(stream) != nil)
        try device.setControl("inject_fatal_streaming_error", to: .integer(1))
        #expect(next(stream) != nil)
        #expect(stream.counters.restarts == 1)
    }
}

// Unplugs the camera for good, so it runs on a second one.
private let unpluggablePath = device("LUCIDA_TEST_UNPLUG_CAMERA")

@Suite(.enabled(if: unpluggablePath != nil)) struct UnpluggedCameraTests {
    @Test func saysThatTheCameraIsGone() throws {
        let path = try #require(unpluggablePath)
        let device = try VideoDevice(path: path)
        let stream = try CaptureStream(
            device: device,
            mode: CameraMode(fourCC: "YUYV", width: 320, height: 180, rate: FrameRate(30)))
        try stream.start()
        try device.setControl("disconnect", to: .integer(1))
        var isLost = false
        for _ in 0..<20 where !isLost {
            switch stream.dequeue() {
            case .frame(let frame): stream.requeue(frame)
            case .deviceLost: isLost = true
            default: continue
            }
        }
        #expect(isLost)
        stream.stop()
    }
}
