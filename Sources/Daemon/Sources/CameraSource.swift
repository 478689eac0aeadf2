// A V4L2 camera as a source: capture, then conversion to the pipeline's RGB24 in one step.

internal import Glibc
internal import LibAV
internal import Logging
internal import Pipeline
internal import Realtime
internal import V4L2
internal import Video

/// `--source v4l2:PATH` and `--source auto`. The capture thread converts or decodes straight out of
/// the driver's buffer and gives it back at once: a buffer held starves the camera.
final class CameraSource: FrameSource, @unchecked Sendable {
    // Set by `prepare`: by the control thread at first, by the capture thread when it opens a lost
    // camera anew. Read while neither does.
    private(set) var name: String
    private let settings: Configuration.Camera
    private let deviceName: String
    private let output: FrameSize?
    private let fit: LibAVFit
    private let log: Logger
    // What the rest of the pipeline was planned for: fixed by the first `prepare` that succeeds.
    // This and the three below: one thread at a time, as above.
    private var frameSize: FrameSize?
    // The camera that was open last, to be found again; at first that of the source of the same name
    // before this one, if any.
    private var identity: DeviceCapabilities?
    // When that one was lost while it was open, and what looked like it and was there all the same.
    private var loss: Loss?
    // Where it is open, or was last.
    private var lastPath: String?
    private var stream: CaptureStream?
    private var converter: Converter?

    /// Every kind of camera needs one of these.
    private enum Converter {
        case raw(Scaler, VideoFormat)
        case jpeg(MJPEGDecoder)
        case exotic(ExoticConverter, FrameBuffer, Scaler)
    }

    /// A camera that is not open yet.
    ///
    /// - Parameters:
    ///   - deviceName: `auto`, a path, or a name in `/dev/v4l/by-id`.
    ///   - output: size of the frames wanted; `nil`: as the camera delivers.
    init(
        deviceName: String, settings: Configuration.Camera, output: FrameSize?, fit: LibAVFit,
        log: Logger
    ) {
        self.deviceName = deviceName
        self.settings = settings
        self.output = output
        self.fit = fit
        self.log = log
        name = deviceName
    }

    /// What is known of a camera that was lost.
    struct Loss {
        /// When, of `CLOCK_MONOTONIC`, in nanoseconds.
        var time: Int64
        /// Paths of others of its kind, which were there then.
        var others: [String]
    }

    let isCamera = true

    /// Looks at the first camera that can be looked at, without setting anything.
    func plan() -> VideoFormat? {
        var mode: CameraMode?
        do throws(V4L2Error) {
            for path in try DeviceDirectory.cameraPaths(for: deviceName) where mode == nil {
                mode = try? self.mode(of: VideoDevice(path: path))
            }
        } catch {
            log.warning("no camera now, it is looked for when one is wanted: \(error)")
        }
        let size =
            output
            ?? FrameSize(
                width: mode?.width ?? settings.width, height: mode?.height ?? settings.height)
        frameSize = size
        return VideoFormat(
            pixelFormat: .rgb24, width: size.width, height: size.height,
            frameRate: mode?.rate ?? settings.frameRate)
    }

    /// Goes on with the same camera, wherever it is now, if the same name is asked for, `auto` too. Who
    /// wants what has that name now asks for another one in between, or starts Lucida again.
    func takeOver(from before: any FrameSource) {
        guard let before = before as? CameraSource, before.deviceName == deviceName else { return }
        identity = before.identity
        loss = before.loss
    }

    /// Opens the first camera that works. Opened anew, whatever it delivers then comes out in the
    /// size of the first time.
    func prepare() throws -> VideoFormat {
        do {
            return try openFirst()
        } catch let error as V4L2Error {
            throw CameraFault(error)
        }
    }

    private func openFirst() throws -> VideoFormat {
        var refusal: V4L2Error?
        for path in try paths() {
            do {
                return try open(path)
            } catch let error as V4L2Error where error.isTaken {
                // Another program was faster, or it was pulled out: with `auto` there may be more.
                refusal = refusal?.errno == EBUSY ? refusal : error
            }
        }
        throw refusal
            ?? V4L2Error(operation: "find a camera", errno: ENODEV, device: deviceName)
    }

    /// Where to look: at the camera that was open before first of all, under whatever number it has now.
    /// A name by which udev finds it again is left to udev: another camera of its kind is another one.
    private func paths() throws -> [String] {
        let isNumbered = deviceName == "auto" || deviceName.hasPrefix("/dev/video")
        guard let identity, isNumbered else {
            return try DeviceDirectory.cameraPaths(for: deviceName)
        }
        let same = DeviceDirectory.paths(of: identity)
        do throws(V4L2Error) {
            // What a path leads to now may be another camera that took its number.
            let named = try DeviceDirectory.cameraPaths(for: deviceName)
            return Self.order(
                named: named, same: same, loss: loss, now: MonotonicClock.nowNanoseconds)
        } catch {
            guard same.isEmpty else { return same }
            throw error
        }
    }

    /// Which of the cameras that may be meant to try, and in what order: first the one from before, and
    /// for a while after it was lost no other one, not even of its kind. A plug that was touched must
    /// not let another camera film something else; who has taken it away wants the other one.
    ///
    /// - Parameters:
    ///   - named: what the name leads to now.
    ///   - same: where the camera from before may be.
    ///   - loss: of that one while it was open; nil: it was closed in order.
    static func order(
        named: [String], same: [String], loss: Loss?, now: Int64
    ) -> [String] {
        let first = named.filter(same.contains) + same.filter { !named.contains($0) }
        if let loss, now - loss.time < othersAfterNanoseconds {
            return first.filter { !loss.others.contains($0) }
        }
        return first + named.filter { !first.contains($0) }
    }

    static let othersAfterNanoseconds: Int64 = 10_000_000_000

    private func open(_ path: String) throws -> VideoFormat {
        let device = try VideoDevice(path: path)
        setControls(of: device)
        let stream = try CaptureStream(
            device: device, mode: mode(of: device), rate: settings.frameRate)
        let camera = stream.format
        let size =
            frameSize ?? output ?? FrameSize(width: camera.width, height: camera.height)
        let wanted = VideoFormat(
            pixelFormat: .rgb24, width: size.width, height: size.height,
            frameRate: camera.frameRate)
        let converter = try makeConverter(stream, to: wanted)
        try stream.start()
        self.stream = stream
        self.converter = converter
        frameSize = size
        identity = device.capabilities
        lastPath = device.path
        loss = nil
        name = "\(device.path) (\(device.capabilities.card))"
        log.info(
            "camera \(name): \(camera.fourCC) \(camera.width)×\(camera.height) \(camera.frameRate) fps"
        )
        return wanted
    }

    /// Gives back what the camera filmed while the network was being prepared: it is old by now.
    func start() {
        guard let stream else { return }
        for _ in 0..<CaptureStream.bufferCount {
            guard case .frame(let old) = stream.dequeue(timeoutMilliseconds: 0) else { return }
            stream.requeue(old)
        }
    }

    func next(into frame: FrameBuffer) -> SourceStatus {
        guard let stream, let converter else { return .deviceLost }
        switch stream.dequeue() {
        case .again: return .again
        case .badFrame: return .badFrame
        case .deviceLost:
            noteLoss()
            return .deviceLost
        case .formatChanged: return .formatChanged
        case .frame(let captured):
            let isGood = convert(captured.bytes, with: converter, into: frame)
            stream.requeue(captured)
            frame.metadata = captured.metadata
            return isGood ? .frame : .badFrame
        }
    }

    func restart() -> Bool {
        let isDone = stream?.restart() ?? false
        if !isDone { noteLoss() }
        return isDone
    }

    private func noteLoss() {
        guard let identity else { return }
        // Its own node may still be there.
        let others = DeviceDirectory.paths(of: identity).filter { $0 != lastPath }
        loss = Loss(time: MonotonicClock.nowNanoseconds, others: others)
    }

    func finish() {
        guard let stream else { return }
        stream.stop()
        if let faults = stream.counters.faults { log.info("camera \(name): \(faults)") }
        converter = nil
        self.stream = nil
    }

    // MARK: Set-up

    private func mode(of device: VideoDevice) throws -> CameraMode {
        var formats = device.cameraFormats(width: settings.width, height: settings.height)
        if let wanted = settings.pixelFormat {
            // MJPEG has two codes.
            formats.removeAll { $0.fourCC.pixelFormat != wanted }
            if formats.isEmpty {
                throw V4L2Error(
                    operation: "capture \(wanted.rawValue)", errno: 0, device: device.path,
                    advice: "this camera has no such format; `lucida devices` lists its formats, "
                        + "and camera.pixel_format = \"auto\" takes the best")
            }
        }
        guard
            let best = CameraMode.best(
                of: formats, width: settings.width, height: settings.height,
                rate: settings.frameRate)
        else {
            throw V4L2Error(
                operation: "find a picture format", errno: 0, device: device.path,
                advice: "it offers none that Lucida can read; `lucida devices` lists what it has")
        }
        return best
    }

    /// A control that this camera lacks costs a warning, not the picture.
    private func setControls(of device: VideoDevice) {
        var wanted: [(String, ControlValue)] = []
        if let label = settings.powerLineFrequency.menuLabel {
            wanted.append(("power_line_frequency", .text(label)))
        }
        if let isDynamic = settings.exposureDynamicFramerate {
            wanted.append(("exposure_dynamic_framerate", .boolean(isDynamic)))
        }
        wanted += settings.controls.map { ($0.name, ControlValue($0.value)) }
        for (name, value) in wanted {
            do throws(V4L2Error) {
                try device.setControl(name, to: value)
            } catch {
                log.warning("\(error)")
            }
        }
    }

    private func makeConverter(
        _ stream: CaptureStream, to output: VideoFormat
    ) throws -> Converter {
        let isMirrored = settings.mirror
        guard let format = stream.format.videoFormat else {
            let exotic = try ExoticConverter(stream: stream)
            let scaler = try Scaler(
                from: exotic.outputFormat, to: output, fit: fit, isMirrored: isMirrored)
            return .exotic(exotic, FrameBuffer(format: exotic.outputFormat), scaler)
        }
        if format.pixelFormat == .mjpeg {
            return .jpeg(try MJPEGDecoder(output: output, fit: fit, isMirrored: isMirrored))
        }
        let scaler = try Scaler(from: format, to: output, fit: fit, isMirrored: isMirrored)
        return .raw(scaler, format)
    }

    // MARK: Capture thread

    private func convert(
        _ bytes: UnsafeRawBufferPointer, with converter: Converter, into frame: FrameBuffer
    ) -> Bool {
        switch converter {
        case .raw(let scaler, let format):
            guard let base = bytes.baseAddress else { return false }
            let planes = ImagePlanes(
                base: base, format: format, bytesPerLine: stream?.format.bytesPerLine ?? 0)
            return bytes.count >= planes.byteCount && scaler.convert(planes, to: frame)
        case .jpeg(let decoder):
            return decoder.decode(bytes, into: frame) == .frame
        case .exotic(let exotic, let between, let scaler):
            return exotic.convert(bytes, into: between) && scaler.convert(between, to: frame)
        }
    }
}

extension V4L2Error {
    /// Whether another camera may work although this one does not. EPIPE and ENOLINK come of a sensor that nobody has
    /// connected to its node yet (media controller).
    fileprivate var isTaken: Bool {
        [EBUSY, ENODEV, ENXIO, ENOENT, EPIPE, ENOLINK].contains(errno)
    }
}

extension PowerLineFrequency {
    /// The entry of the control's menu (V4L2 specification, "User Class Control IDs"); `auto` leaves
    /// the camera as it is.
    fileprivate var menuLabel: String? {
        switch self {
        case .auto: nil
        case .disabled: "Disabled"
        case .hertz50: "50 Hz"
        case .hertz60: "60 Hz"
        }
    }
}

extension ControlValue {
    fileprivate init(_ value: CameraControl.Value) {
        switch value {
        case .integer(let number): self = .integer(number)
        case .boolean(let isOn): self = .boolean(isOn)
        case .text(let text): self = .text(text)
        }
    }
}
