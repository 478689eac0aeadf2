// An open video device: owns the file descriptor. Control thread, except as its users document.

internal import CLinux
internal import Glibc

/// An open V4L2 device node.
///
/// Owns the descriptor (`O_RDWR | O_NONBLOCK | O_CLOEXEC`) and closes it with its last reference.
/// One thread at a time.
public final class VideoDevice {
    /// The path that was opened.
    public let path: String
    /// What the driver says about the node, asked at opening.
    public let capabilities: DeviceCapabilities
    let descriptor: Int32

    /// Opens `path` and asks for its capabilities.
    ///
    /// - Throws: `V4L2Error` if it does not exist, may not be opened or is no video device.
    public init(path: String) throws(V4L2Error) {
        self.path = path
        let descriptor = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw V4L2Error(operation: "open the device", errno: Glibc.errno, device: path)
        }
        var answer = v4l2_capability()
        let result = clinux_ioctl(descriptor, CLINUX_VIDIOC_QUERYCAP, &answer)
        guard result >= 0 else {
            Glibc.close(descriptor)
            let isOther = result == -ENOTTY || result == -EINVAL
            throw V4L2Error(
                operation: "ask for its capabilities", errno: -result, device: path,
                advice: isOther
                    ? "this is not a video device; `lucida devices` lists those there are" : nil)
        }
        self.descriptor = descriptor
        capabilities = DeviceCapabilities(answer)
    }

    /// Takes over `descriptor`, which somebody else has opened, as the device at `path`. It is closed
    /// with the last reference, or at once if this throws.
    ///
    /// - Throws: `V4L2Error` if it is another file than `path`, or the device is gone.
    init(adopting descriptor: Int32, path: String) throws(V4L2Error) {
        self.path = path
        var (own, named) = (stat(), stat())
        guard fstat(descriptor, &own) == 0, own.st_mode & S_IFMT == S_IFCHR,
            stat(path, &named) == 0, own.st_rdev == named.st_rdev
        else {
            Glibc.close(descriptor)
            throw V4L2Error(
                operation: "go on with an open descriptor", errno: ENODEV, device: path,
                advice: "it belongs to another device, or to one that is gone")
        }
        var answer = v4l2_capability()
        let result = clinux_ioctl(descriptor, CLINUX_VIDIOC_QUERYCAP, &answer)
        guard result >= 0 else {
            Glibc.close(descriptor)
            throw V4L2Error(
                operation: "go on with an open descriptor", errno: -result, device: path)
        }
        self.descriptor = descriptor
        capabilities = DeviceCapabilities(answer)
    }

    deinit { Glibc.close(descriptor) }

    /// One ioctl; returns 0 or more, or -errno.
    ///
    /// - Realtime: safe
    func request<T>(_ code: UInt, _ argument: inout T) -> Int32 {
        withUnsafeMutablePointer(to: &argument) { clinux_ioctl(descriptor, code, $0) }
    }

    /// One ioctl of set-up; throws with `operation` in the message.
    func perform<T>(_ operation: String, _ code: UInt, _ argument: inout T) throws(V4L2Error) {
        let result = request(code, &argument)
        if result < 0 { throw V4L2Error(operation: operation, errno: -result, device: path) }
    }
}

/// What a driver says about a node (VIDIOC_QUERYCAP).
public struct DeviceCapabilities: Sendable, Equatable, Codable {
    /// Name of the kernel driver: `uvcvideo`, `vivid`, `v4l2 loopback`.
    public let driver: String
    /// Name of the device, as apps show it.
    public let card: String
    /// Where it is attached, for example `usb-0000:00:14.0-8`.
    public let busInfo: String
    /// `V4L2_CAP_*` of this node.
    public let flags: UInt32

    init(_ answer: v4l2_capability) {
        driver = text(answer.driver)
        card = text(answer.card)
        busInfo = text(answer.bus_info)
        // Old drivers know only the flags of the whole device.
        flags =
            answer.capabilities & CLINUX_V4L2_CAP_DEVICE_CAPS != 0
            ? answer.device_caps : answer.capabilities
    }

    /// Capabilities as a test makes them up.
    public init(driver: String, card: String, busInfo: String, flags: UInt32) {
        self.driver = driver
        self.card = card
        self.busInfo = busInfo
        self.flags = flags
    }

    /// Whether frames can be captured now.
    public var isCapture: Bool { flags & CLINUX_V4L2_CAP_VIDEO_CAPTURE != 0 }
    /// Whether frames can be written now.
    public var isOutput: Bool { flags & CLINUX_V4L2_CAP_VIDEO_OUTPUT != 0 }
    /// Whether buffers can be streamed, which `CaptureStream` needs.
    public var isStreaming: Bool { flags & CLINUX_V4L2_CAP_STREAMING != 0 }
    /// Whether the node carries the camera's metadata instead of pictures.
    public var isMetadata: Bool { flags & CLINUX_V4L2_CAP_META_CAPTURE != 0 }
    /// Whether this is v4l2loopback. By driver name: its capability flags change with its state
    /// and its version.
    public var isLoopback: Bool { driver == "v4l2 loopback" }
}

/// A fixed-size C array of characters up to its first zero.
func text<Tuple>(_ characters: Tuple) -> String {
    withUnsafeBytes(of: characters) { bytes in
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
}
