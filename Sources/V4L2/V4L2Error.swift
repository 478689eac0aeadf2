// What a V4L2 device refused, and what the user can do about it.

internal import Glibc

/// A failed operation on a video device. Thrown at set-up only; the steady state returns values.
public struct V4L2Error: Error, Sendable, Equatable, CustomStringConvertible {
    /// What was tried, as it reads after "cannot": `open the device`, `set the format to …`.
    public let operation: String
    /// The system's error number; 0 when the device answered but not with what is needed.
    public let errno: Int32
    /// Path of the device.
    public let device: String
    /// Why, and what to do, where that is more than `errno` says.
    public let advice: String?

    /// An error; `advice` replaces the standard advice for `errno`.
    public init(operation: String, errno: Int32, device: String, advice: String? = nil) {
        self.operation = operation
        self.errno = errno
        self.device = device
        self.advice = advice
    }

    /// One sentence for the user: what failed, on which device, why, and what to do.
    public var description: String {
        var parts = ["\(device): cannot \(operation)"]
        if errno != 0 { parts.append(String(cString: strerror(errno))) }
        if let advice = advice ?? Self.standardAdvice(errno: errno) { parts.append(advice) }
        return parts.joined(separator: ": ")
    }

    private static func standardAdvice(errno: Int32) -> String? {
        switch errno {
        case EACCES, EPERM:
            "your user may not use it; join the group video (sudo usermod -aG video $USER) and log in again"
        case ENOENT:
            "there is no such device; `lucida devices` lists those there are"
        case ENODEV, ENXIO:
            "the device is gone; plug it in again, or load its driver"
        case EBUSY:
            "another program uses it: close the browser tab, conferencing app or recorder that holds "
                + "it (`fuser -v` with this path names it)"
        case ENOTTY, EINVAL:
            "the driver does not support this; `lucida devices` shows what it offers"
        case EIO:
            "the driver reports a hardware error; unplug the camera or try another port"
        case ENOSPC:
            "the USB bus has no bandwidth left; use another port, a smaller size or MJPEG"
        case ENOMEM:
            "the kernel has no memory for the buffers; choose a smaller size"
        case EMFILE, ENFILE:
            "too many open files"
        default: nil
        }
    }
}
