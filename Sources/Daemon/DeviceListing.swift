// What `lucida devices` prints. Control thread.

internal import FoundationEssentials
internal import V4L2

/// All video devices, for people and for programs.
public struct DeviceListing {
    /// A device that can be used as it is.
    public struct Device {
        /// `/dev/video0`.
        public let path: String
        /// The name that apps show.
        public let card: String
    }

    private let devices: [DeviceReport]

    /// Looks at the machine now.
    public static func current() -> DeviceListing {
        DeviceListing(
            devices: HeldDevice.describe(
                DeviceDirectory.devices(),
                socket: HolderSocketPath.of(ProcessInfo.processInfo.environment)))
    }

    /// The camera that `auto` means.
    public var usableCamera: Device? {
        devices.first { $0.kind == .camera && $0.isUsable }
            .map { Device(path: $0.path, card: $0.card) }
    }
    /// The virtual camera that `auto` means.
    public var usableLoopback: Device? {
        DeviceDirectory.preferredLoopback(of: devices).map { Device(path: $0.path, card: $0.card) }
    }

    /// The devices as JSON.
    ///
    /// - Throws: `EncodingError`.
    public func json() throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(devices), as: UTF8.self) + "\n"
    }

    /// The devices for a terminal.
    public var text: String {
        var lines = ["Cameras"] + block(.camera, ifNone: "none found: plug one in")
        lines += ["", "Virtual cameras"]
        lines += block(.loopback, ifNone: "none found: \(Self.loopbackAdvice)")
        if usableLoopback != nil { lines.append("      \(Self.oneReaderNote)") }
        let others = devices.filter { $0.kind != .camera && $0.kind != .loopback }
        if !others.isEmpty { lines += ["", "Others"] + others.flatMap(Self.lines) }
        return lines.joined(separator: "\n") + "\n"
    }

    /// One sentence for each of the two devices that is missing.
    public var whyNoLiveDemo: String {
        var sentences: [String] = []
        if usableCamera == nil { sentences.append("There is no camera that can be used.") }
        if usableLoopback == nil {
            sentences.append("There is no virtual camera: \(Self.loopbackAdvice).")
        }
        return sentences.joined(separator: "\n")
    }

    /// Why a second app may get no picture.
    static let oneReaderNote =
        "v4l2loopback 0.13 and later serve one app at a time, a second one sees \"device busy\""

    private static let loopbackAdvice =
        "install v4l2loopback-dkms, then: modprobe v4l2loopback exclusive_caps=1 card_label=Lucida"

    private func block(_ kind: DeviceReport.Kind, ifNone: String) -> [String] {
        let found = devices.filter { $0.kind == kind }
        return found.isEmpty ? ["  " + ifNone] : found.flatMap(Self.lines)
    }

    private static func lines(of device: DeviceReport) -> [String] {
        let state = device.isUsable ? "usable" : "NOT usable"
        var lines = ["  \(device.path)  \(device.card) [\(device.driver)]  \(state)"]
        if let remark = device.remark { lines.append("      \(remark)") }
        for path in device.stablePaths { lines.append("      also \(path)") }
        for mode in device.modes {
            let rates = mode.rates.map { rate in
                rate == rate.rounded() ? "\(Int(rate))" : "\((rate * 100).rounded() / 100)"
            }
            lines.append(
                "      \(mode.format) \(mode.width)×\(mode.height)"
                    + (rates.isEmpty ? "" : " at \(rates.joined(separator: ", ")) fps"))
        }
        return lines
    }
}
