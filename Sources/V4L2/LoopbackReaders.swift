// Who looks at a virtual camera, whatever the driver's version. Control thread.
//
// - v4l2loopback from 0.13 on queues an event when an app starts or stops to stream, whatever becomes
//   of the app, and tells how things are when one subscribes. Merely listing cameras is no event.
// - 0.12 has no such event (Ubuntu's has one of another number, which no longer comes after the first
//   app has left). Its other traces of a reader are none: QUERYBUF hides the buffers' state, a mapped
//   buffer stays marked. What it has is the kernel's count of the module's users, which is the number
//   of descriptors that are open on its devices. So there an app counts that only holds a device of
//   this driver open, be it another one; what it holds for less than two looks does not count.

internal import CLinux
internal import Glibc

/// Watches how many apps look at a v4l2loopback device, through a descriptor of its own.
public final class LoopbackReaders {
    /// The kernel's count of the descriptors that are open on devices of the driver.
    static let useCountPath = "/sys/module/v4l2loopback/refcnt"

    /// Readable for `poll(2)` with POLLPRI when `count` may have changed; negative if the driver has no
    /// events, and `count` must be asked for.
    public var eventDescriptor: Int32 { device?.descriptor ?? -1 }

    // nil once closed, or if the driver has no events.
    private var device: VideoDevice?
    private let hasEvents: Bool
    private var eventCount = 0
    private var lastUses = 0

    /// - Parameter path: of the device, which somebody writes to already.
    public init(path: String) {
        guard let device = try? VideoDevice(path: path) else {
            hasEvents = false
            return
        }
        var subscription = v4l2_event_subscription()
        subscription.type = LoopbackOutput.clientUsageEvent
        subscription.flags = CLINUX_V4L2_EVENT_SUB_FL_SEND_INITIAL
        hasEvents = device.request(CLINUX_VIDIOC_SUBSCRIBE_EVENT, &subscription) >= 0
        if hasEvents { self.device = device }
    }

    /// Apps that stream from the device; where the driver has no events, descriptors that others have
    /// open at this call and had at the last one. `nil` if neither can be told.
    public func count() -> Int? {
        guard hasEvents else { return usesByOthers() }
        guard let device else { return nil }
        var event = v4l2_event()
        while device.request(CLINUX_VIDIOC_DQEVENT, &event) >= 0 {
            guard event.type == LoopbackOutput.clientUsageEvent else { continue }
            eventCount = withUnsafeBytes(of: event.u) { Int($0.loadUnaligned(as: UInt32.self)) }
        }
        return eventCount
    }

    /// Closes the descriptor, so that the driver can settle things when the writer leaves. Idempotent.
    public func close() { device = nil }

    // MARK: Drivers without events

    private func usesByOthers() -> Int? {
        guard let all = Self.useCount(at: Self.useCountPath) else { return nil }
        let uses = max(0, all - Self.ownUses())
        defer { lastUses = uses }
        return min(uses, lastUses)
    }

    /// The number that the file at `path` holds; nil if it cannot be read or holds none.
    static func useCount(at path: String) -> Int? {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return nil }
        defer { Glibc.close(file) }
        var bytes = [UInt8](repeating: 0, count: 32)
        let count = read(file, &bytes, bytes.count)
        guard count > 0 else { return nil }
        let digits = bytes[..<count].prefix { $0 != 0x0A }
        return Int(String(decoding: digits, as: UTF8.self)).flatMap { $0 >= 0 ? $0 : nil }
    }

    /// Descriptors that this process has open on devices of the driver: as writer, or as a camera.
    private static func ownUses() -> Int {
        guard let folder = opendir("/proc/self/fd") else { return 0 }
        defer { closedir(folder) }
        var uses = 0
        while let entry = readdir(folder) {
            guard let descriptor = Int32(text(entry.pointee.d_name)) else { continue }
            var status = stat()
            guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFCHR,
                status.st_rdev >> 8 & 0xFFF == videoMajor
            else { continue }
            var answer = v4l2_capability()
            if clinux_ioctl(descriptor, CLINUX_VIDIOC_QUERYCAP, &answer) >= 0,
                DeviceCapabilities(answer).isLoopback
            {
                uses += 1
            }
        }
        return uses
    }

    /// Of /dev/video*: Documentation/admin-guide/devices.txt of the kernel.
    private static let videoMajor: UInt = 81
}
