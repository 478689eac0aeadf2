// Frames from a camera: memory-mapped buffers, polled, handed out and requeued at once.

internal import CLinux
internal import Glibc
internal import Realtime
public import Video

/// What `dequeue` has to say. Errors of the steady state are values.
public enum CaptureStatus {
    /// A complete frame; give it back with `requeue` as soon as it is copied or decoded out.
    case frame(CapturedFrame)
    /// Nothing within the timeout; ask again.
    case again
    /// A frame came flagged as faulty, too short or not a JPEG; it is counted and requeued already.
    case badFrame
    /// The camera is gone or no longer delivers; stop, and open it anew when it is back.
    case deviceLost
    /// The picture format changed by itself (HDMI input); stop, and open it anew.
    case formatChanged
}

/// A driver buffer on loan.
public struct CapturedFrame {
    /// The picture; valid until `requeue`, and only while the stream runs.
    public let bytes: UnsafeRawBufferPointer
    /// When it was captured (checked) and its number.
    public let metadata: FrameMetadata
    let index: UInt32
}

/// What a stream counted since it was made.
public struct CaptureCounters: Sendable, Equatable {
    /// Good frames.
    public var frames: UInt64 = 0
    /// Frames with the driver's error flag.
    public var flaggedFaulty: UInt64 = 0
    /// Frames with fewer bytes than their format has, or without a JPEG header.
    public var short: UInt64 = 0
    /// Frames that the driver lost, by gaps in its numbers.
    public var lostByDriver: UInt64 = 0
    /// Timestamps that could not be right and were replaced by the time of arrival.
    public var replacedTimestamps: UInt64 = 0
    /// Times the stream was restarted because nothing came.
    public var restarts: UInt64 = 0

    /// What went wrong, for people: `frames: 3 flagged faulty, 2 lost by the driver`; nil if nothing did.
    public var faults: String? {
        let counts = [
            (flaggedFaulty, "flagged faulty"), (short, "short or no JPEG"),
            (lostByDriver, "lost by the driver"), (replacedTimestamps, "with a wrong timestamp"),
        ]
        var parts = counts.filter { $0.0 > 0 }.map { "\($0.0) \($0.1)" }
        if !parts.isEmpty { parts[0] = "frames: " + parts[0] }
        if restarts > 0 { parts.append("stream restarted \(restarts) times") }
        return parts.isEmpty ? nil : parts.joined(separator: ", ")
    }
}

/// A running camera.
///
/// Made, started and stopped by one thread at a time: control, or capture when a lost camera is opened
/// anew; `dequeue` and `requeue` by the capture thread alone. Never two at once, which is why it may
/// cross threads.
public final class CaptureStream: @unchecked Sendable {
    /// Buffers asked of the driver: one being filled, one done, one in our hands, one to spare.
    public static let bufferCount: UInt32 = 4

    /// What the camera delivers. Immutable.
    public let format: CaptureFormat

    let device: VideoDevice
    let driverFormat: v4l2_format
    // Empty while stopped.
    private var buffers = [UnsafeMutableRawBufferPointer]()
    // Capture thread while running.
    private var timestamps = TimestampGuard()
    private var sequences = SequenceCounter()
    private var tally = CaptureCounters()
    private var wasRestarted = false
    private var listensForChanges = false
    // Buffers that the driver did not take back, one bit each; to be offered again.
    private var leftOver: UInt64 = 0

    /// Sets the camera to `mode`, or the nearest that the driver accepts.
    ///
    /// - Parameters:
    ///   - rate: what to ask for if `mode` names no rate.
    /// - Throws: `V4L2Error`, for example EBUSY if another program streams from it.
    public init(
        device: VideoDevice, mode: CameraMode, rate: FrameRate = FrameRate(30)
    ) throws(V4L2Error) {
        self.device = device
        driverFormat = try Self.setFormat(of: device, to: mode)
        let accepted = Self.setRate(of: device, to: mode.rate ?? rate)
        format = CaptureFormat(driverFormat.fmt.pix, frameRate: accepted)
        guard format.fourCC.isUsableColour, format.width > 0, format.height > 0 else {
            throw V4L2Error(
                operation: "use \(mode)", errno: 0, device: device.path,
                advice:
                    "the driver answers with \(format.fourCC) \(format.width)×\(format.height), "
                    + "which Lucida cannot read")
        }
    }

    deinit { stop() }

    /// Good, bad and lost frames so far. Capture thread, or whoever stopped it.
    ///
    /// - Realtime: safe
    public var counters: CaptureCounters {
        var counters = tally
        counters.lostByDriver = sequences.lost
        counters.replacedTimestamps = timestamps.replaced
        return counters
    }

    // MARK: Set-up

    private static func setFormat(
        of device: VideoDevice, to mode: CameraMode
    ) throws(V4L2Error) -> v4l2_format {
        var format = v4l2_format()
        format.type = CLINUX_V4L2_BUF_TYPE_VIDEO_CAPTURE
        format.fmt.pix = v4l2_pix_format()
        format.fmt.pix.width = UInt32(clamping: mode.width)
        format.fmt.pix.height = UInt32(clamping: mode.height)
        format.fmt.pix.pixelformat = mode.fourCC.rawValue
        format.fmt.pix.field = CLINUX_V4L2_FIELD_ANY
        // Says that the colour fields behind `priv` count.
        format.fmt.pix.priv = CLINUX_V4L2_PIX_FMT_PRIV_MAGIC
        try device.perform("set the format \(mode)", CLINUX_VIDIOC_S_FMT, &format)
        return format
    }

    /// Asks for a rate. Drivers without one (many capture cards) are not an error.
    private static func setRate(of device: VideoDevice, to rate: FrameRate) -> FrameRate {
        var parameters = v4l2_streamparm()
        parameters.type = CLINUX_V4L2_BUF_TYPE_VIDEO_CAPTURE
        parameters.parm.capture = v4l2_captureparm()
        parameters.parm.capture.timeperframe = rate.interval
        guard device.request(CLINUX_VIDIOC_S_PARM, &parameters) >= 0 else { return rate }
        return FrameRate(interval: parameters.parm.capture.timeperframe) ?? rate
    }

    /// Maps the driver's buffers and starts the stream. Not while another thread uses it.
    ///
    /// - Throws: `V4L2Error`; the stream is then stopped as before.
    public func start() throws(V4L2Error) {
        guard buffers.isEmpty else { return }
        do {
            try mapBuffers()
            for index in buffers.indices { try queue(UInt32(index)) }
            try streamOn()
        } catch {
            stop()
            throw error
        }
        listenForChanges()
        leftOver = 0
        wasRestarted = false
    }

    /// Stops the stream and unmaps its buffers, in the order drivers expect. Idempotent.
    public func stop() {
        guard !buffers.isEmpty else { return }
        streamOff()
        for buffer in buffers { munmap(buffer.baseAddress, buffer.count) }
        buffers = []
        // Fails if the device is gone, and then nothing is left to free.
        _ = requestBuffers(0)
    }

    private func requestBuffers(_ count: UInt32) -> (result: Int32, count: UInt32) {
        var request = v4l2_requestbuffers()
        request.count = count
        request.type = CLINUX_V4L2_BUF_TYPE_VIDEO_CAPTURE
        request.memory = CLINUX_V4L2_MEMORY_MMAP
        return (device.request(CLINUX_VIDIOC_REQBUFS, &request), request.count)
    }

    private func mapBuffers() throws(V4L2Error) {
        let granted = requestBuffers(Self.bufferCount)
        guard granted.result >= 0, granted.count >= 2 else {
            throw V4L2Error(
                operation: "get \(Self.bufferCount) buffers", errno: max(0, -granted.result),
                device: device.path, advice: granted.result >= 0 ? "the driver has too few" : nil)
        }
        for index in 0..<granted.count {
            var buffer = Self.buffer(index)
            try device.perform("find its buffers", CLINUX_VIDIOC_QUERYBUF, &buffer)
            let length = Int(buffer.length)
            let address = mmap(
                nil, length, PROT_READ | PROT_WRITE, MAP_SHARED, device.descriptor,
                off_t(buffer.m.offset))
            guard let address, address != UnsafeMutableRawPointer(bitPattern: -1) else {
                throw V4L2Error(
                    operation: "map its buffers", errno: Glibc.errno, device: device.path)
            }
            buffers.append(UnsafeMutableRawBufferPointer(start: address, count: length))
        }
    }

    private func queue(_ index: UInt32) throws(V4L2Error) {
        var buffer = Self.buffer(index)
        try device.perform("queue a buffer", CLINUX_VIDIOC_QBUF, &buffer)
    }

    private func streamOn() throws(V4L2Error) {
        var type = Int32(CLINUX_V4L2_BUF_TYPE_VIDEO_CAPTURE)
        try device.perform("start the stream", CLINUX_VIDIOC_STREAMON, &type)
    }

    private func streamOff() {
        var type = Int32(CLINUX_V4L2_BUF_TYPE_VIDEO_CAPTURE)
        _ = device.request(CLINUX_VIDIOC_STREAMOFF, &type)
    }

    /// HDMI inputs tell when their picture changes. Webcams refuse, which is fine.
    private func listenForChanges() {
        var input: Int32 = 0
        // A device that has no inputs refuses and leaves the 0.
        _ = device.request(CLINUX_VIDIOC_G_INPUT, &input)
        var subscription = v4l2_event_subscription()
        subscription.type = CLINUX_V4L2_EVENT_SOURCE_CHANGE
        subscription.id = UInt32(truncatingIfNeeded: input)
        listensForChanges = device.request(CLINUX_VIDIOC_SUBSCRIBE_EVENT, &subscription) >= 0
    }

    private static func buffer(_ index: UInt32) -> v4l2_buffer {
        var buffer = v4l2_buffer()
        buffer.index = index
        buffer.type = CLINUX_V4L2_BUF_TYPE_VIDEO_CAPTURE
        buffer.memory = CLINUX_V4L2_MEMORY_MMAP
        return buffer
    }

    // MARK: Steady state

    /// Waits for a frame. Capture thread; at most one frame may be on loan.
    ///
    /// - Parameter timeoutMilliseconds: how long to wait; keep it short, so that the caller can stop.
    /// - Realtime: allocates nothing
    public func dequeue(timeoutMilliseconds: Int32 = 100) -> CaptureStatus {
        guard !buffers.isEmpty else { return .deviceLost }
        let events = listensForChanges ? POLLIN | POLLPRI : POLLIN
        var request = pollfd(fd: device.descriptor, events: Int16(events), revents: 0)
        let ready = poll(&request, 1, timeoutMilliseconds)
        guard ready > 0 else { return .again }
        let happened = Int32(request.revents)
        if happened & (POLLERR | POLLHUP | POLLNVAL) != 0 && happened & POLLIN == 0 {
            return afterFailure()
        }
        if happened & POLLPRI != 0 && listensForChanges && sourceChanged() {
            return .formatChanged
        }
        return happened & POLLIN != 0 ? take() : .again
    }

    /// Gives a frame's buffer back to the driver. Capture thread.
    ///
    /// - Realtime: allocates nothing
    public func requeue(_ frame: CapturedFrame) {
        requeue(index: frame.index)
    }

    private func requeue(index: UInt32) {
        guard !buffers.isEmpty else { return }
        leftOver |= 1 << index
        queueLeftOver()
    }

    /// A failure that lasts means that the device is gone, and the next dequeue says so. One that does
    /// not must not leave the stream a buffer short.
    private func queueLeftOver() {
        for index in 0..<UInt32(buffers.count) where leftOver & (1 << index) != 0 {
            var buffer = Self.buffer(index)
            if device.request(CLINUX_VIDIOC_QBUF, &buffer) >= 0 { leftOver &= ~(1 << index) }
        }
    }

    private func take() -> CaptureStatus {
        var buffer = Self.buffer(0)
        switch device.request(CLINUX_VIDIOC_DQBUF, &buffer) {
        case 0...: break
        case -EAGAIN: return .again
        case -EIO:
            // A transient fault of the hardware; if it lasts, no frames come, and the stream is restarted.
            tally.flaggedFaulty += 1
            return .badFrame
        default: return .deviceLost
        }
        guard Int(buffer.index) < buffers.count else { return .deviceLost }
        let mapped = buffers[Int(buffer.index)]
        let used = min(Int(buffer.bytesused), mapped.count)
        let now = MonotonicClock.nowNanoseconds
        let sequence = sequences.accept(buffer.sequence)
        guard isGood(buffer, bytes: mapped, used: used) else {
            requeue(index: buffer.index)
            return .badFrame
        }
        wasRestarted = false
        tally.frames += 1
        let kind = buffer.flags & CLINUX_V4L2_BUF_FLAG_TIMESTAMP_MASK
        let stamp = timestamps.accept(
            Int64(buffer.timestamp.tv_sec) * 1_000_000_000
                + Int64(buffer.timestamp.tv_usec) * 1000,
            isMonotonic: kind == CLINUX_V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC, now: now)
        return .frame(
            CapturedFrame(
                bytes: UnsafeRawBufferPointer(rebasing: mapped[0..<used]),
                metadata: FrameMetadata(timestampNanoseconds: stamp, sequence: sequence),
                index: buffer.index))
    }

    private func isGood(
        _ buffer: v4l2_buffer, bytes: UnsafeMutableRawBufferPointer, used: Int
    ) -> Bool {
        if buffer.flags & CLINUX_V4L2_BUF_FLAG_ERROR != 0 {
            tally.flaggedFaulty += 1
            return false
        }
        // A JPEG begins with the marker SOI, FF D8.
        let isWhole =
            used >= format.imageBytesMin
            && (format.pixelFormat != .mjpeg || (bytes[0] == 0xFF && bytes[1] == 0xD8))
        if !isWhole { tally.short += 1 }
        return isWhole
    }

    // MARK: Trouble

    /// poll reports an error and no frame: gone if it answers nothing, else stuck. Once it is restarted
    /// at once; an error that comes again before any good frame would only be met again and again.
    private func afterFailure() -> CaptureStatus {
        var answer = v4l2_capability()
        guard !wasRestarted, device.request(CLINUX_VIDIOC_QUERYCAP, &answer) >= 0 else {
            return .deviceLost
        }
        return restart() ? .again : .deviceLost
    }

    /// Stops the stream and starts it again, which wakes many a stuck camera. Capture thread.
    ///
    /// - Returns: whether it runs again; otherwise the device is lost.
    public func restart() -> Bool {
        guard !buffers.isEmpty else { return false }
        wasRestarted = true
        tally.restarts += 1
        streamOff()
        leftOver = (1 << UInt64(buffers.count)) - 1
        queueLeftOver()
        var type = Int32(CLINUX_V4L2_BUF_TYPE_VIDEO_CAPTURE)
        return device.request(CLINUX_VIDIOC_STREAMON, &type) >= 0
    }

    private func sourceChanged() -> Bool {
        var event = v4l2_event()
        guard device.request(CLINUX_VIDIOC_DQEVENT, &event) >= 0 else { return false }
        return event.type == CLINUX_V4L2_EVENT_SOURCE_CHANGE
            && event.u.src_change.changes & CLINUX_V4L2_EVENT_SRC_CH_RESOLUTION != 0
    }
}
