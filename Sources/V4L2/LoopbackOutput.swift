// Writes pictures to v4l2loopback, whatever its version. Set-up by the control thread, `write` and
// `close` by the sink's thread.
//
// The protocol is what versions 0.12.7, 0.13.2 and 0.15.0 have in common, found by running them:
// - S_PARM, S_FMT, then one `write()` a picture, of the size computed from the format (0.12 and 0.13
//   answer S_FMT with a page-aligned size). A bare STREAMON fails from 0.14 on.
// - S_FMT never fails for a format that is locked; it answers with the old one. So it is compared.
// - `keep_format` is set once frames flow (before S_FMT it would lock the driver's default format).
//   While it is set, apps that restart their stream during a pause are not turned away.
// - `keep_format` is cleared when leaving unless an app is still streaming, so that the device is
//   free for other programs and other formats.

internal import CLinux
internal import Glibc
public import Video

/// What became of a picture.
public enum LoopbackStatus: Sendable, Equatable {
    /// The driver has it.
    case written
    /// Not taken: a JPEG larger than the driver's buffer, or the driver is busy; the next may be.
    case again
    /// The device is gone or no longer takes this format.
    case lost
}

/// A v4l2loopback device that we write to.
public final class LoopbackOutput: @unchecked Sendable {
    /// Upper bound of the driver's buffers (its MAX_BUFFERS); so many writes reach every one.
    static let bufferCountMax = 32
    /// V4L2_EVENT_PRI_CLIENT_USAGE of v4l2loopback 0.13 and later, which is in no public header.
    static let clientUsageEvent = CLINUX_V4L2_EVENT_PRIVATE_START + 0x08E0_0000 + 1

    /// What is written. Immutable.
    public let format: VideoFormat
    /// Path of the device.
    public let path: String
    /// The name apps show.
    public let card: String
    /// The largest picture the driver takes; exceeded only by a JPEG of an improbable size.
    public let imageBytesMax: Int
    /// Bytes of one picture; nil for MJPEG, whose pictures differ.
    public let imageBytes: Int?

    /// Why a `write` returned `.lost`, where the driver said so. Sink thread only.
    public private(set) var lastError: V4L2Error?

    /// Whether somebody else keeps a descriptor of the same opening, so that the driver knows nothing
    /// of our leaving: then `close` leaves the device as it is. Whoever owns this object.
    public var isHeldElsewhere = false

    // nil once closed. Used by one thread at a time: control before the sink's thread runs and after
    // it has ended.
    private var device: VideoDevice?
    private var hasWritten = false
    private let tellsReaders: Bool
    // Newest count from the driver's events.
    private var readerCount = 0

    /// Opens `path` and fixes its format. Nothing is shown yet.
    ///
    /// - Throws: `V4L2Error` if it is no v4l2loopback device, another program writes to it, or an app
    ///   holds it with another format.
    public init(path: String, format: VideoFormat) throws(V4L2Error) {
        self.path = path
        self.format = format
        let device = try Self.openRepaired(path, for: format)
        card = device.capabilities.card
        try Self.lock(device)
        Self.setRate(of: device, to: format.frameRate)
        let answer = try Self.setFormat(of: device, to: format)
        let isCompressed = format.pixelFormat == .mjpeg
        imageBytes =
            isCompressed
            ? nil : format.pixelFormat.imageBytes(width: format.width, height: format.height)
        imageBytesMax = Int(answer.sizeimage)
        tellsReaders = Self.subscribeToReaders(device)
        self.device = device
        try Self.check(answer, wanted: format, device: device)
    }

    /// Goes on with a descriptor through which somebody has written already, in the format that it
    /// has. To the driver the writer stays the same one, so readers notice nothing.
    ///
    /// - Parameters:
    ///   - descriptor: closed by this object, or at once if this throws.
    ///   - path: the device that it must belong to.
    /// - Throws: `V4L2Error` if it is no v4l2loopback device, another one than `path`, or gone.
    public init(adopting descriptor: Int32, path: String) throws(V4L2Error) {
        self.path = path
        let device = try VideoDevice(adopting: descriptor, path: path)
        card = device.capabilities.card
        try Self.requireLoopback(device)
        let answer = try Self.presentFormat(of: device)
        guard let pixels = FourCC(rawValue: answer.pixelformat).pixelFormat, answer.width > 0,
            answer.height > 0
        else {
            throw V4L2Error(
                operation: "go on with an open descriptor", errno: 0, device: path,
                advice: "its format is \(FourCC(rawValue: answer.pixelformat)), not one of ours")
        }
        format = VideoFormat(
            pixelFormat: pixels, width: Int(answer.width), height: Int(answer.height),
            frameRate: Self.rate(of: device) ?? FrameRate(30),
            colorRange: pixels == .mjpeg ? .full : .limited)
        imageBytes =
            pixels == .mjpeg
            ? nil : pixels.imageBytes(width: format.width, height: format.height)
        imageBytesMax = max(Int(answer.sizeimage), imageBytes ?? 0)
        tellsReaders = Self.subscribeToReaders(device)
        self.device = device
    }

    deinit { close(card: nil) }

    /// The descriptor, for handing on; nil once closed. It stays this object's.
    public var descriptor: Int32? { device?.descriptor }

    /// What the driver offers now, as `DeviceCapabilities`; nil once closed or if the device is gone.
    public func presentCapabilities() -> DeviceCapabilities? {
        var answer = v4l2_capability()
        guard let device, device.request(CLINUX_VIDIOC_QUERYCAP, &answer) >= 0 else { return nil }
        return DeviceCapabilities(answer)
    }

    /// The rate that readers are told.
    public func setRate(_ rate: FrameRate) {
        if let device { Self.setRate(of: device, to: rate) }
    }

    /// Whether somebody writes through another descriptor of the same opening. Takes a quarter of a
    /// second; a writer of fewer than four pictures a second is taken for nobody.
    public func isWrittenElsewhere() -> Bool { device?.isWritten() == true }

    /// After somebody else has written through the same opening: settles again what that may have
    /// changed, and asks the driver anew who reads.
    public func resume() {
        hasWritten = false
        readerCount = 0
        if let device { _ = Self.subscribeToReaders(device) }
    }

    // MARK: Steady state

    /// Shows one picture. Sink thread.
    ///
    /// - Parameter picture: `imageBytes` bytes, rows unpadded; or one JPEG.
    /// - Realtime: allocates nothing; a copy in the kernel, never waits for readers
    public func write(_ picture: UnsafeRawBufferPointer) -> LoopbackStatus {
        guard let device else { return .lost }
        guard picture.count <= imageBytesMax, picture.count > 0 else { return .again }
        if let imageBytes, picture.count != imageBytes { return .again }
        var written: Int
        repeat {
            written = Glibc.write(device.descriptor, picture.baseAddress, picture.count)
        } while written < 0 && errno == EINTR
        guard written == picture.count else { return failed(written < 0 ? errno : 0) }
        if !hasWritten {
            hasWritten = true
            Self.keepFormat(true, of: device)
        }
        return .written
    }

    private func failed(_ error: Int32) -> LoopbackStatus {
        if error == EAGAIN { return .again }
        lastError = V4L2Error(
            operation: "write a picture", errno: error, device: path,
            advice: error == 0
                ? "the driver took a part of it: the device has another, smaller format now" : nil)
        return .lost
    }

    /// Apps that stream from the device now; nil on drivers before 0.13, which do not tell.
    /// From 0.13 on the driver lets one app stream and answers EBUSY to the others.
    ///
    /// - Realtime: safe
    public func streamingReaders() -> Int? {
        guard let device, tellsReaders else { return nil }
        var event = v4l2_event()
        while device.request(CLINUX_VIDIOC_DQEVENT, &event) >= 0 {
            guard event.type == Self.clientUsageEvent else { continue }
            readerCount = withUnsafeBytes(of: event.u) { Int($0.loadUnaligned(as: UInt32.self)) }
        }
        return readerCount
    }

    // MARK: Leaving

    /// Overwrites every buffer of the device with `card`, a whole picture of the format.
    ///
    /// Drivers 0.12 and 0.13 hand the last picture to a reader that comes later; after this it is
    /// the card.
    ///
    /// - Returns: what became of the last that was tried.
    @discardableResult
    public func overwriteAll(with card: UnsafeRawBufferPointer) -> LoopbackStatus {
        guard format.pixelFormat == .mjpeg, card.count < imageBytesMax else {
            return writeRepeatedly(card)
        }
        // A short JPEG would leave the tail of a longer one behind it in the buffer.
        let padded = UnsafeMutableRawBufferPointer.allocate(byteCount: imageBytesMax, alignment: 64)
        defer { padded.deallocate() }
        padded.initializeMemory(as: UInt8.self, repeating: 0)
        padded.copyMemory(from: card)
        return writeRepeatedly(UnsafeRawBufferPointer(padded))
    }

    private func writeRepeatedly(_ picture: UnsafeRawBufferPointer) -> LoopbackStatus {
        for _ in 0..<Self.bufferCountMax {
            let status = write(picture)
            if status != .written { return status }
        }
        return .written
    }

    /// Overwrites the buffers with `card`, leaves the device usable for the next writer and closes
    /// it. The sink's thread when it is done, or whoever owns the sink before it ran. Idempotent.
    ///
    /// - Parameter isLast: false if somebody may yet write through the same opening.
    public func close(card: UnsafeRawBufferPointer?, isLast: Bool = true) {
        if let card { overwriteAll(with: card) }
        guard let device else { return }
        if isHeldElsewhere {
            self.device = nil
            return
        }
        // An app that is streaming may restart its stream while we are away (Chrome does after a
        // second without frames); without keep_format the driver would turn it away.
        let isWatched = (streamingReaders() ?? 0) > 0
        if hasWritten && !isWatched {
            Self.keepFormat(false, of: device)
            // 0.13 counts a writer until it says this, and lets nobody set another format as long as
            // anyone has the device open, be it only to look what it is. From 0.14 on nothing can be
            // written through the same opening afterwards.
            if isLast { Self.streamOff(device) }
        }
        // The version that does not tell its readers is 0.12, which must be told who wrote.
        if hasWritten && !tellsReaders { Self.streamOn(device) }
        self.device = nil
    }

    /// A driver without the control works as well, it only forgets the format sooner.
    private static func keepFormat(_ isKept: Bool, of device: VideoDevice) {
        try? device.setControl("keep_format", to: .boolean(isKept))
    }

    // MARK: Set-up

    /// Opens the device in a state in which it takes `format`, whatever an earlier writer left.
    private static func openRepaired(
        _ path: String, for format: VideoFormat
    ) throws(V4L2Error) -> VideoDevice {
        try releaseFormat(path, unless: format)
        try announceOutput(path)
        return try open(path)
    }

    /// A kept format would lock another one. The driver frees it when its last user closes, which
    /// is why each of these steps opens the device for itself. If it is the right one it stays kept:
    /// from 0.14 on an app that restarts its stream before our first write would else be refused.
    private static func releaseFormat(
        _ path: String, unless wanted: VideoFormat
    ) throws(V4L2Error) {
        let device = try open(path)
        // Not while another Lucida or any other program writes to it.
        try lock(device)
        guard !device.isWrittenByOthers() else {
            throw V4L2Error(
                operation: "write to it", errno: EBUSY, device: path,
                advice: "another program writes to this device (`fuser -v \(path)` names it); stop "
                    + "it, or \(ownDeviceAdvice)")
        }
        var format = v4l2_format()
        format.type = CLINUX_V4L2_BUF_TYPE_VIDEO_OUTPUT
        let isKnown = device.request(CLINUX_VIDIOC_G_FMT, &format) >= 0
        if isKnown && isSame(format.fmt.pix, wanted) { return }
        keepFormat(false, of: device)
    }

    /// 0.12 forgets to announce itself after a writer that only used write(). A STREAMON, even a
    /// failing one, marks us as the writer, and closing the writer sets it right.
    private static func announceOutput(_ path: String) throws(V4L2Error) {
        let device = try open(path)
        if !device.capabilities.isCapture && !device.capabilities.isOutput { streamOn(device) }
    }

    private static func open(_ path: String) throws(V4L2Error) -> VideoDevice {
        let device = try VideoDevice(path: path)
        try requireLoopback(device)
        return device
    }

    private static func requireLoopback(_ device: VideoDevice) throws(V4L2Error) {
        guard !device.capabilities.isLoopback else { return }
        throw V4L2Error(
            operation: "write to it", errno: 0, device: device.path,
            advice: "it is not a virtual camera but \(device.capabilities.card) "
                + "(driver \(device.capabilities.driver)); load one with "
                + "sudo modprobe v4l2loopback exclusive_caps=1 card_label=Lucida")
    }

    private static func presentFormat(
        of device: VideoDevice
    ) throws(V4L2Error) -> v4l2_pix_format {
        var format = v4l2_format()
        format.type = CLINUX_V4L2_BUF_TYPE_VIDEO_OUTPUT
        try device.perform("read its format", CLINUX_VIDIOC_G_FMT, &format)
        return format.fmt.pix
    }

    private static func rate(of device: VideoDevice) -> FrameRate? {
        var parameters = v4l2_streamparm()
        parameters.type = CLINUX_V4L2_BUF_TYPE_VIDEO_OUTPUT
        guard device.request(CLINUX_VIDIOC_G_PARM, &parameters) >= 0 else { return nil }
        return FrameRate(interval: parameters.parm.output.timeperframe)
    }

    /// 0.12 lets several programs write to one device; an advisory lock keeps two of us apart.
    private static func lock(_ device: VideoDevice) throws(V4L2Error) {
        guard clinux_try_lock(device.descriptor) < 0 else { return }
        throw V4L2Error(
            operation: "write to it", errno: EBUSY, device: device.path,
            advice: "another lucida writes to this device; stop it, or \(ownDeviceAdvice)")
    }

    /// What to do about a device that is taken.
    static let ownDeviceAdvice =
        "give Lucida a device of its own (v4l2loopback options devices=2 exclusive_caps=1,1 "
        + "card_label=Other,Lucida)"

    private static func streamOn(_ device: VideoDevice) {
        var type = Int32(CLINUX_V4L2_BUF_TYPE_VIDEO_OUTPUT)
        _ = device.request(CLINUX_VIDIOC_STREAMON, &type)
    }

    private static func streamOff(_ device: VideoDevice) {
        var type = Int32(CLINUX_V4L2_BUF_TYPE_VIDEO_OUTPUT)
        _ = device.request(CLINUX_VIDIOC_STREAMOFF, &type)
    }

    /// The rate is what readers are told; a driver that refuses it only tells less.
    private static func setRate(of device: VideoDevice, to rate: FrameRate) {
        var parameters = v4l2_streamparm()
        parameters.type = CLINUX_V4L2_BUF_TYPE_VIDEO_OUTPUT
        parameters.parm.output = v4l2_outputparm()
        parameters.parm.output.capability = CLINUX_V4L2_CAP_TIMEPERFRAME
        parameters.parm.output.timeperframe = rate.interval
        _ = device.request(CLINUX_VIDIOC_S_PARM, &parameters)
    }

    private static func setFormat(
        of device: VideoDevice, to wanted: VideoFormat
    ) throws(V4L2Error) -> v4l2_pix_format {
        let pixels = wanted.pixelFormat
        let isFull = wanted.colorRange == .full
        var format = v4l2_format()
        format.type = CLINUX_V4L2_BUF_TYPE_VIDEO_OUTPUT
        format.fmt.pix = v4l2_pix_format()
        format.fmt.pix.width = UInt32(clamping: wanted.width)
        format.fmt.pix.height = UInt32(clamping: wanted.height)
        format.fmt.pix.pixelformat = FourCC(pixels).rawValue
        format.fmt.pix.field = CLINUX_V4L2_FIELD_NONE
        format.fmt.pix.bytesperline = UInt32(
            clamping: pixels.rowBytes(plane: 0, width: wanted.width))
        format.fmt.pix.sizeimage = UInt32(
            clamping: pixels.imageBytes(width: wanted.width, height: wanted.height))
        format.fmt.pix.priv = CLINUX_V4L2_PIX_FMT_PRIV_MAGIC
        format.fmt.pix.colorspace =
            pixels == .mjpeg ? CLINUX_V4L2_COLORSPACE_JPEG : CLINUX_V4L2_COLORSPACE_SRGB
        format.fmt.pix.ycbcr_enc = pixels.isYCbCr ? CLINUX_V4L2_YCBCR_ENC_601 : 0
        format.fmt.pix.quantization =
            isFull ? CLINUX_V4L2_QUANTIZATION_FULL_RANGE : CLINUX_V4L2_QUANTIZATION_LIM_RANGE
        try device.perform("set the format \(wanted)", CLINUX_VIDIOC_S_FMT, &format)
        return format.fmt.pix
    }

    private static func check(
        _ answer: v4l2_pix_format, wanted: VideoFormat, device: VideoDevice
    ) throws(V4L2Error) {
        if isSame(answer, wanted) { return }
        let fourCC = FourCC(rawValue: answer.pixelformat)
        throw V4L2Error(
            operation: "set the format \(wanted)", errno: 0, device: device.path,
            advice:
                "it is held with \(fourCC) \(answer.width)×\(answer.height) by an app that reads "
                + "it; close that app (`fuser -v \(device.path)`), or use that format")
    }

    private static func isSame(_ answer: v4l2_pix_format, _ wanted: VideoFormat) -> Bool {
        Int(answer.width) == wanted.width && Int(answer.height) == wanted.height
            && FourCC(rawValue: answer.pixelformat).pixelFormat == wanted.pixelFormat
    }

    private static func subscribeToReaders(_ device: VideoDevice) -> Bool {
        var subscription = v4l2_event_subscription()
        subscription.type = clientUsageEvent
        subscription.flags = CLINUX_V4L2_EVENT_SUB_FL_SEND_INITIAL
        // Only a new subscription is told how things are.
        _ = device.request(CLINUX_VIDIOC_UNSUBSCRIBE_EVENT, &subscription)
        return device.request(CLINUX_VIDIOC_SUBSCRIBE_EVENT, &subscription) >= 0
    }
}
