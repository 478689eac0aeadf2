// Makes sure that the virtual camera of the configuration exists: at boot, as root. Control thread.

internal import CLinux
internal import FoundationEssentials
internal import Glibc
internal import V4L2

/// `lucida device prepare`.
public struct DevicePreparation {
    /// What apps show it as.
    private static let label = "Lucida"
    /// The least lag that a reader can fall behind.
    private static let buffers: Int32 = 2

    private let configuration: Configuration
    private let environment: [String: String]
    private let configPath: String?

    /// Prepares nothing yet.
    ///
    /// - Parameter configPath: the argument of `--config`, for what the doctor says of a driver that is
    ///   missing.
    public init(
        configuration: Configuration, configPath: String?, environment: [String: String]
    ) {
        self.configuration = configuration
        self.configPath = configPath
        self.environment = environment
    }

    /// Makes the device unless it is there. Does nothing where `output.sinks` names none.
    ///
    /// - Returns: what to tell the user.
    /// - Throws: `V4L2Error` or `SessionError`, with what to do.
    public func run() throws -> String {
        guard let name = configuration.loopbackName else {
            return "no virtual camera is wanted: output.sinks names none"
        }
        if let path = try existing(name) { return "\(path) is there" }
        try requireDriver()
        let path = try create(name)
        return "\(path) was made, called \(Self.label)"
    }

    private func existing(_ name: String) throws -> String? {
        let loopbacks = DeviceDirectory.devices().filter { $0.kind == .loopback }
        if name == "auto" { return loopbacks.first?.path }
        guard access(name, F_OK) == 0 else { return nil }
        guard loopbacks.contains(where: { DevicePath.isSame($0.path, name) }) else {
            throw SessionError(
                "\(name) is no virtual camera: name another device in output.sinks, or \"auto\"")
        }
        return name
    }

    /// The doctor knows why a driver may be missing: not installed, not built, not signed …
    private func requireDriver() throws(SessionError) {
        let machine = Machine.current(configPath: configPath, environment: environment)
        guard let finding = Doctor.driver(machine).first(where: { $0.severity == .problem })
        else { return }
        throw SessionError(
            "\(finding.title). \(finding.explanation)"
                + (finding.command.map { "\nThis mends it: \($0)" } ?? ""))
    }

    private func create(_ name: String) throws -> String {
        let control = open(DevicePath.loopbackControl, O_RDWR | O_CLOEXEC)
        guard control >= 0 else {
            if errno == ENOENT { throw SessionError(Self.reloadAdvice(name)) }
            throw V4L2Error(
                operation: "make a virtual camera", errno: errno,
                device: DevicePath.loopbackControl,
                advice: "run this as root: sudo lucida device prepare")
        }
        defer { close(control) }
        let number = clinux_add_loopback(
            control, try Self.number(of: name), Self.label, Self.buffers)
        guard number >= 0 else {
            throw V4L2Error(
                operation: "make a virtual camera for \(name)", errno: -number,
                device: DevicePath.loopbackControl,
                advice: number == -EEXIST || number == -EFAULT
                    ? "another device has that number: name another one in output.sinks" : nil)
        }
        let path = "/dev/video\(number)"
        // The node comes from devtmpfs, at once; its group from udev, which the holder waits for.
        guard access(path, F_OK) == 0 else {
            throw V4L2Error(operation: "find what was made", errno: ENOENT, device: path)
        }
        return path
    }

    /// -1: any.
    private static func number(of name: String) throws(SessionError) -> Int32 {
        if name == "auto" { return -1 }
        guard name.hasPrefix("/dev/video"), let number = Int32(name.dropFirst(10)), number >= 0
        else {
            throw SessionError(
                "\(name) is not there, and cannot be made: a device that is to be made is called "
                    + "/dev/videoN, or \"auto\"")
        }
        return number
    }

    /// Before 0.13 the driver makes devices when it is loaded, and never later.
    static func reloadAdvice(_ name: String) -> String {
        let number = (try? number(of: name)).flatMap { $0 < 0 ? nil : "video_nr=\($0) " } ?? ""
        let device = name == "auto" ? "Lucida" : name
        return "v4l2loopback is loaded without a device for \(device), and this version makes "
            + "devices only when it is loaded.\nThis mends it: sudo modprobe -r v4l2loopback && "
            + "sudo modprobe v4l2loopback \(number)exclusive_caps=1 card_label=Lucida"
    }
}

extension DevicePath {
    /// Where drivers from 0.13 on take orders, root's alone.
    static let loopbackControl = "/dev/v4l2loopback"
}
