// Which cameras and loopback devices there are, and which of them can be used. Control thread.

internal import Glibc
internal import Video

/// A video node of this machine, as `lucida devices --json` prints it.
public struct DeviceReport: Sendable, Codable, Equatable {
    /// What a node is for.
    public enum Kind: String, Sendable, Codable {
        /// Offers pictures: a possible `--source`.
        case camera
        /// v4l2loopback: a possible `--sink`.
        case loopback
        /// Metadata, radio, a decoder, or not to be opened.
        case other
    }

    /// Who has it now.
    public enum User: String, Sendable, Codable {
        /// Nobody, or it cannot be told.
        case nobody
        /// A Lucida writes to this loopback.
        case lucida
        /// Another program films with this camera or writes to this loopback. A Lucida that films
        /// with it counts as one, too: cameras do not tell.
        case other
    }

    /// `/dev/video0`.
    public var path: String
    /// Stable names in `/dev/v4l/by-id`, which survive another USB port or order of plugging.
    public var stablePaths: [String]
    /// What it is for.
    public var kind: Kind
    /// The name apps show.
    public var card: String
    /// Kernel driver.
    public var driver: String
    /// Where it is attached.
    public var busInfo: String
    /// Whether pictures can be captured from it now.
    public var offersCapture = false
    /// Whether pictures can be written to it now.
    public var offersOutput = false
    /// Who uses it as `kind` says.
    public var usedBy = User.nobody
    /// Whether Lucida can use it as `kind` says.
    public var isUsable: Bool
    /// Why not, or what to know: a sentence; nil if there is nothing to say.
    public var remark: String?
    /// What it offers for capture.
    public var modes: [ModeReport]
    /// What can be set with `[camera.controls]`.
    public var controls: [ControlReport]

    enum CodingKeys: String, CodingKey {
        case path, kind, card, driver, remark, modes, controls
        case stablePaths = "stable_paths"
        case busInfo = "bus_info"
        case offersCapture = "capture"
        case offersOutput = "output"
        case usedBy = "used_by"
        case isUsable = "usable"
    }
}

/// One format and size in a device report.
public struct ModeReport: Sendable, Codable, Equatable {
    /// Four-character code.
    public var format: String
    /// Pixels in a row; the largest of a range.
    public var width: Int
    /// Rows; the largest of a range.
    public var height: Int
    /// The smallest size if this is a range, else nil.
    public var smallest: [Int]?
    /// Frames a second, each; of a range its highest.
    public var rates: [Double]
}

/// One control in a device report.
public struct ControlReport: Sendable, Codable, Equatable {
    /// The name it is set by.
    public var name: String
    /// The value now; nil if it cannot be read.
    public var value: Int?
    /// What it takes, in words.
    public var allowed: String
}

/// The video nodes of this machine.
public enum DeviceDirectory {
    /// Where nodes and their stable names are.
    static let nodes = "/dev"
    static let stableNames = "/dev/v4l/by-id"

    /// Every `/dev/video*`, in numerical order, opened and asked.
    public static func devices() -> [DeviceReport] {
        let names = stablePaths()
        return nodePaths().map { report(path: $0, stablePaths: names[$0] ?? []) }
    }

    /// The paths to try, in this order, for what the user wrote: `auto`, a path, or a name in
    /// `/dev/v4l/by-id`. More than one for `auto` only; never none.
    ///
    /// - Throws: `V4L2Error` that lists the cameras there are and why none can be used.
    public static func cameraPaths(for name: String) throws(V4L2Error) -> [String] {
        if name.hasPrefix("/") { return [name] }
        if name != "auto" {
            let path = "\(stableNames)/\(name)"
            if access(path, F_OK) == 0 { return [path] }
            throw V4L2Error(
                operation: "find the camera \(name)", errno: ENOENT, device: path,
                advice: "give a path, or one of the names in \(stableNames): "
                    + list(entries(of: stableNames)))
        }
        let all = devices()
        let cameras = all.filter { $0.kind == .camera && $0.isUsable }
        if !cameras.isEmpty { return cameras.map(\.path) }
        let taken = all.first { $0.kind == .camera && $0.usedBy == .other }
        throw V4L2Error(
            operation: "find a camera", errno: taken == nil ? ENODEV : EBUSY,
            device: taken?.path ?? "\(nodes)/video*",
            advice: whyNone(all.filter { $0.kind != .loopback }))
    }

    /// Where a camera is now that was seen before, under whatever number: what has its driver and name
    /// and is attached to the same port first, then what is attached elsewhere.
    public static func paths(of camera: DeviceCapabilities) -> [String] {
        let found = nodePaths().compactMap { path -> (path: String, isSamePort: Bool)? in
            guard let now = try? VideoDevice(path: path).capabilities, now.isCapture,
                now.driver == camera.driver, now.card == camera.card
            else { return nil }
            return (path, now.busInfo == camera.busInfo)
        }
        return found.filter(\.isSamePort).map(\.path) + found.filter { !$0.isSamePort }.map(\.path)
    }

    /// The loopback to write to for what the user wrote: `auto` or a path.
    ///
    /// - Throws: `V4L2Error` if there is none, or others write to all of them.
    public static func loopbackPath(for name: String) throws(V4L2Error) -> String {
        if name != "auto" { return name }
        let all = devices()
        if let device = preferredLoopback(of: all) { return device.path }
        let loopbacks = all.filter { $0.kind == .loopback }
        throw V4L2Error(
            operation: "find a virtual camera", errno: loopbacks.isEmpty ? ENODEV : EBUSY,
            device: "\(nodes)/video*",
            advice: loopbacks.isEmpty
                ? "load the driver: sudo modprobe v4l2loopback exclusive_caps=1 card_label=Lucida "
                    + "(if that fails, `lucida doctor` says why)"
                : whyNone(loopbacks) + "; \(LoopbackOutput.ownDeviceAdvice)")
    }

    /// The loopback that `auto` means: one called Lucida before any other, for that is ours, and
    /// never one that another program writes to.
    public static func preferredLoopback(of devices: [DeviceReport]) -> DeviceReport? {
        let usable = devices.filter { $0.kind == .loopback && $0.isUsable }
        return usable.first { $0.card.lowercased().hasPrefix("lucida") } ?? usable.first
    }

    private static func whyNone(_ devices: [DeviceReport]) -> String {
        devices.isEmpty
            ? "no video device is there; plug a camera in, or use --source test"
            : devices.map { "\($0.path) (\($0.card)): \($0.remark ?? "no camera")" }
                .joined(separator: "; ")
    }

    private static func list(_ names: [String]) -> String {
        names.isEmpty ? "there are none" : names.sorted().joined(separator: ", ")
    }

    // MARK: One node

    private static func report(path: String, stablePaths: [String]) -> DeviceReport {
        do {
            return report(of: try VideoDevice(path: path), stablePaths: stablePaths)
        } catch {
            return DeviceReport(
                path: path, stablePaths: stablePaths, kind: .other, card: "", driver: "",
                busInfo: "", isUsable: false, remark: error.description, modes: [], controls: [])
        }
    }

    private static func report(of device: VideoDevice, stablePaths: [String]) -> DeviceReport {
        let capabilities = device.capabilities
        let formats = capabilities.isCapture ? device.cameraFormats() : []
        let user: DeviceReport.User
        let verdict: (kind: DeviceReport.Kind, isUsable: Bool, remark: String?)
        if capabilities.isLoopback {
            let writer = device.loopbackWriter()
            user = DeviceReport.User(writer)
            verdict = Self.verdict(loopback: capabilities, writer: writer)
        } else {
            let isInUse = capabilities.isCapture && device.isCameraInUse
            user = isInUse ? .other : .nobody
            verdict = Self.verdict(
                capabilities: capabilities, formats: formats, isInUse: isInUse)
        }
        return DeviceReport(
            path: device.path, stablePaths: stablePaths, kind: verdict.kind,
            card: capabilities.card, driver: capabilities.driver, busInfo: capabilities.busInfo,
            offersCapture: capabilities.isCapture, offersOutput: capabilities.isOutput,
            usedBy: user, isUsable: verdict.isUsable, remark: verdict.remark, modes: modes(formats),
            controls: device.controls().map { control in
                ControlReport(
                    name: control.name, value: try? device.controlValue(control.name),
                    allowed: control.allowed)
            })
    }

    /// What a node is good for that is no loopback. Pure, so that it can be tested on nodes we do not
    /// have.
    static func verdict(
        capabilities: DeviceCapabilities, formats: [CameraFormat], isInUse: Bool
    ) -> (kind: DeviceReport.Kind, isUsable: Bool, remark: String?) {
        if capabilities.isMetadata && !capabilities.isCapture {
            return (.other, false, "carries the camera's metadata, not pictures")
        }
        guard capabilities.isCapture else { return (.other, false, "offers no video capture") }
        guard capabilities.isStreaming else {
            return (.camera, false, "the driver cannot stream into memory")
        }
        guard formats.contains(where: { $0.fourCC.isUsableColour && !$0.sizes.isEmpty }) else {
            let codes = formats.map(\.fourCC.description).joined(separator: ", ")
            let remark =
                if formats.isEmpty {
                    "lists no formats (used by another program, or an output in disguise)"
                } else if formats.contains(where: \.fourCC.isUsableColour) {
                    "names no size (\(codes)): nothing is connected, or it has to be set up first"
                } else {
                    "offers no colour format (only \(codes)): an infrared or depth sensor"
                }
            return (.camera, false, remark)
        }
        if isInUse { return (.camera, false, "another program uses it (fuser -v names it)") }
        return (.camera, true, nil)
    }

    /// What a loopback is good for. Pure.
    static func verdict(
        loopback: DeviceCapabilities, writer: LoopbackWriter
    ) -> (kind: DeviceReport.Kind, isUsable: Bool, remark: String?) {
        switch writer {
        case .lucida: (.loopback, false, "another lucida writes to it")
        case .otherProgram: (.loopback, false, "another program writes to it (fuser -v names it)")
        case .nobody: (.loopback, true, freeLoopbackRemark(loopback))
        }
    }

    private static func freeLoopbackRemark(_ capabilities: DeviceCapabilities) -> String? {
        switch (capabilities.isCapture, capabilities.isOutput) {
        case (true, true):
            "apps like Chrome hide it unless the driver is loaded with exclusive_caps=1"
        case (true, false):
            "its format is kept from an earlier writer; nobody seems to write to it now"
        case (false, false): "left behind by an earlier writer; the next start repairs it"
        case (false, true): nil
        }
    }

    private static func modes(_ formats: [CameraFormat]) -> [ModeReport] {
        formats.flatMap { format in
            format.sizes.map { size in
                let isRange =
                    size.width.minimum != size.width.maximum
                    || size.height.minimum != size.height.maximum
                return ModeReport(
                    format: format.fourCC.description, width: size.width.maximum,
                    height: size.height.maximum,
                    smallest: isRange ? [size.width.minimum, size.height.minimum] : nil,
                    rates: size.rates.map { $0.maximum.framesPerSecond })
            }
        }
    }

    // MARK: Folders

    private static func nodePaths() -> [String] {
        entries(of: nodes).compactMap { name in
            name.hasPrefix("video") ? Int(name.dropFirst(5)) : nil
        }.sorted().map { "\(nodes)/video\($0)" }
    }

    private static func stablePaths() -> [String: [String]] {
        var names = [String: [String]]()
        for entry in entries(of: stableNames).sorted() {
            let link = "\(stableNames)/\(entry)"
            guard let resolved = realpath(link, nil) else { continue }
            names[String(cString: resolved), default: []].append(link)
            free(resolved)
        }
        return names
    }

    private static func entries(of folder: String) -> [String] {
        guard let stream = opendir(folder) else { return [] }
        defer { closedir(stream) }
        var names = [String]()
        while let entry = readdir(stream) {
            let name = text(entry.pointee.d_name)
            if !name.hasPrefix(".") { names.append(name) }
        }
        return names
    }
}

extension DeviceReport.User {
    fileprivate init(_ writer: LoopbackWriter) {
        switch writer {
        case .nobody: self = .nobody
        case .lucida: self = .lucida
        case .otherProgram: self = .other
        }
    }
}
