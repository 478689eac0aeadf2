// Checks of the devices: permissions, the virtual camera, the camera, and who uses them.

internal import V4L2

extension Doctor {
    // MARK: Permissions

    /// May this user open the devices, and could the service?
    static func permissions(_ machine: Machine) -> [Finding] {
        guard machine.wantsCamera || machine.wantsLoopback else { return [] }
        let denied = machine.devices.map(\.path).filter { !machine.mayUse(machine.root + $0) }
        guard let path = denied.first else { return [] }
        let names = denied.joined(separator: " ")
        guard let node = machine.permissions(path),
            let group = machine.groups.first(where: { $0.id == node.group }),
            node.mode & 0o060 == 0o060, group.name == "video"
        else { return [nodeMode(names)] }
        let user = machine.user
        if group.members.contains(user.name), !user.groups.contains(group.id) {
            return [
                .problem(
                    "device.group_not_in_force",
                    "\(user.name) is in the group video, but not in this login",
                    "Groups count from the next login on. The command is for this terminal alone.",
                    command: "newgrp video")
            ]
        }
        guard !user.groups.contains(group.id) else {
            return [
                .problem(
                    "device.denied", "\(names) cannot be opened",
                    "The permissions allow it; a container or sandbox does not.",
                    command: "ls -l \(names)")
            ]
        }
        return [
            .problem(
                "device.group", "\(user.name) may not use \(names)",
                "Cameras belong to the group video. Log in again afterwards.",
                command: "sudo usermod -aG video \(shellWord(user.name))")
        ]
    }

    private static func nodeMode(_ names: String) -> Finding {
        .problem(
            "device.mode", "\(names): not for the group video",
            "udev usually makes it root:video with mode 660; something changed that here.",
            command: "sudo chgrp video \(names) && sudo chmod 660 \(names)")
    }

    // MARK: The virtual camera

    /// Is there a device to write to, that apps find by its name?
    static func loopback(_ machine: Machine) -> [Finding] {
        guard machine.wantsLoopback, machine.isModuleLoaded else { return [] }
        guard let device = machine.loopbackDevice else { return noLoopback(machine) }
        if device.usedBy == .other { return [foreignWriter(device, machine)] }
        var findings = [loopbackState(device, machine)]
        if machine.namedLoopback == nil, !device.card.lowercased().hasPrefix("lucida") {
            findings.append(
                .warning(
                    "loopback.label", "the virtual camera is called \"\(device.card)\"",
                    "Apps list it under that name; and a program that it was made for may take it.",
                    command: machine.reloadDriver(Machine.usualOptions)))
        }
        findings += pictureSize(machine)
        let readers = machine.readers(of: device)
        if readers.count > 1, let version = machine.loadedVersion,
            version >= DriverVersion(0, 13, 0)
        {
            findings.append(secondReader(device, readers))
        }
        return findings
    }

    private static func noLoopback(_ machine: Machine) -> [Finding] {
        // Nodes that cannot be opened do not tell what they are.
        if machine.devices.contains(where: { !machine.mayUse(machine.root + $0.path) }) {
            return []
        }
        guard let path = machine.namedLoopback else {
            return [
                .problem(
                    "loopback.none", "v4l2loopback is loaded, but has no device",
                    "It was loaded with devices=0, or the device was removed.",
                    command: machine.reloadDriver(Machine.usualOptions))
            ]
        }
        let number = path.drop { !$0.isNumber }
        return [
            .problem(
                "loopback.not_there", "output.sinks names \(path), which is no virtual camera",
                "\"auto\" finds the device wherever it is.",
                command: machine.reloadDriver("video_nr=\(number) " + Machine.usualOptions))
        ]
    }

    private static func loopbackState(_ device: DeviceReport, _ machine: Machine) -> Finding {
        let node = device.path.split(separator: "/").last ?? ""
        let format = machine.read("/sys/devices/virtual/video4linux/\(node)/format") ?? ""
        let sides = [device.offersCapture ? "capture" : nil, device.offersOutput ? "output" : nil]
            .compactMap { $0 }.joined(separator: " and ")
        let readers = machine.readers(of: device).map(\.text).joined(separator: ", ")
        return .ok(
            "loopback.device", "the virtual camera is \(device.path), \"\(device.card)\"",
            "Offers \(sides.isEmpty ? "nothing" : sides) now; "
                + (format.isEmpty ? "no format set" : "format \(format)") + "; "
                + (device.usedBy == .lucida ? "a lucida writes to it" : "nobody writes to it")
                + (readers.isEmpty ? "" : "; open in \(readers)") + ".")
    }

    private static func foreignWriter(_ device: DeviceReport, _ machine: Machine) -> Finding {
        let names = machine.holders(of: device.path).map(\.text).joined(separator: ", ")
        return .problem(
            "loopback.other_writer",
            "another program writes to \(device.path)" + (names.isEmpty ? "" : ": \(names)"),
            "A virtual camera has one writer. Close that program, or give Lucida a device of its own.",
            command: machine.reloadDriver(
                "devices=2 exclusive_caps=1,1 card_label=Other,Lucida"))
    }

    /// Firefox asks a camera for these sizes and lists what it answers; a virtual camera answers with
    /// the one that it has.
    private static let widelyKnownSizes = [
        (128, 96), (160, 120), (176, 144), (320, 240), (352, 288), (640, 480), (704, 576),
        (800, 600), (960, 720), (1024, 768), (1280, 720), (1440, 1080), (1920, 1080),
    ].map { FrameSize(width: $0, height: $1) }

    private static func pictureSize(_ machine: Machine) -> [Finding] {
        guard let loaded = try? machine.configuration.get(),
            let size = loaded.configuration.frameSize, !widelyKnownSizes.contains(size)
        else { return [] }
        return [
            .warning(
                "loopback.size", "pictures of \(size.width)×\(size.height) are unknown to Firefox",
                "It asks cameras for certain sizes only, and may not take this one. Others do: set "
                    + "output.width = 1280 and output.height = 720, or 640 and 480.",
                command: editing(machine.configurationPath))
        ]
    }

    private static func secondReader(
        _ device: DeviceReport, _ readers: [DeviceUser]
    ) -> Finding {
        let names = readers.map(\.text).joined(separator: ", ")
        return .warning(
            "loopback.second_reader", "several programs have \(device.path) open: \(names)",
            "From v4l2loopback 0.13 on one of them gets pictures, the others \"device busy\" (EBUSY). "
                + "Leave the camera in one, or end that program.",
            command: "kill \(readers.last?.process ?? 0)")
    }

    // MARK: The camera

    /// Is there a camera to film with?
    static func camera(_ machine: Machine) -> [Finding] {
        guard machine.wantsCamera else {
            return [
                .ok("camera.not_needed", "no camera is wanted (camera.source)")
            ]
        }
        let cameras = machine.wantedCameras
        if cameras.isEmpty { return noCamera(machine) }
        var findings: [Finding] = []
        if let camera = cameras.first(where: { machine.isFilmedByLucida($0) }) {
            findings.append(
                .ok("camera.in_use", "Lucida films with \(camera.path), \"\(camera.card)\""))
        }
        if let camera = cameras.first(where: \.isUsable) {
            findings.append(
                .ok(
                    "camera.usable", "the camera is \(camera.path), \"\(camera.card)\"",
                    formats(camera)))
        }
        if !findings.isEmpty { return findings }
        // One that is busy works; another may be an infrared sensor that never will.
        if let camera = cameras.first(where: { $0.usedBy == .other }) {
            return [busyCamera(camera, machine)]
        }
        return cameras.prefix(1).map(uselessCamera)
    }

    private static func formats(_ camera: DeviceReport) -> String {
        var names: [String] = []
        for mode in camera.modes where !names.contains(mode.format) { names.append(mode.format) }
        guard let largest = camera.modes.max(by: { $0.width * $0.height < $1.width * $1.height })
        else { return "" }
        return
            "It offers \(names.joined(separator: ", ")), up to \(largest.width)×\(largest.height)."
    }

    private static func busyCamera(_ camera: DeviceReport, _ machine: Machine) -> Finding {
        let holders = machine.holders(of: camera.path)
        let names = holders.map(\.text).joined(separator: ", ")
        return .problem(
            "camera.busy",
            "another program films with \(camera.path)" + (names.isEmpty ? "" : ": \(names)"),
            "Only one program can film with a camera. Let it go there, or end that program.",
            command: holders.isEmpty
                ? "sudo fuser -v \(camera.path)"
                : "kill " + holders.map { "\($0.process)" }.joined(separator: " "))
    }

    private static func uselessCamera(_ camera: DeviceReport) -> Finding {
        .problem(
            "camera.unusable", "\(camera.path), \"\(camera.card)\", cannot be used",
            camera.remark ?? "It offers no format that Lucida knows.",
            command: "lucida run --source test --sink file:test.mp4  # without a camera")
    }

    private static func noCamera(_ machine: Machine) -> [Finding] {
        if machine.devices.contains(where: { !machine.mayUse(machine.root + $0.path) }) {
            return []
        }
        if case .device(let name) = machine.settings.camera.source {
            return [
                .problem(
                    "camera.not_there", "camera.source names \(name), which is not there",
                    "It is unplugged, or has another number now; names in /dev/v4l/by-id stay.",
                    command: "lucida devices")
            ]
        }
        if machine.hasUSBCameraWithoutDriver {
            return [
                .problem(
                    "camera.no_driver", "a USB camera is plugged in, but its driver is not loaded",
                    "The kernel module for USB cameras is uvcvideo.",
                    command: "sudo modprobe uvcvideo")
            ]
        }
        return [
            .problem(
                "camera.none", "there is no camera",
                "Plug one in. What is built in may be switched off by a key, a slider or the firmware.",
                command: "lucida run --source test --sink file:test.mp4  # without a camera")
        ]
    }
}

extension Machine {
    /// The path of a virtual camera in `output.sinks`; nil: "auto".
    var namedLoopback: String? {
        settings.output.sinks.lazy.compactMap {
            if case .device(let path) = $0 { path } else { nil }
        }.first
    }

    /// The virtual camera that Lucida would write to, or does.
    var loopbackDevice: DeviceReport? {
        let all = devices.filter { $0.kind == .loopback }
        if let path = namedLoopback { return all.first { $0.path == path } }
        return all.first { $0.usedBy == .lucida } ?? DeviceDirectory.preferredLoopback(of: all)
            ?? all.first
    }

    /// Programs other than Lucida that have a virtual camera open.
    func readers(of device: DeviceReport) -> [DeviceUser] {
        holders(of: device.path).filter { $0.name != "lucida" }
    }

    /// Whether a Lucida has this camera, as far as this user may see.
    func isFilmedByLucida(_ camera: DeviceReport) -> Bool {
        guard camera.usedBy == .other else { return false }
        let holders = holders(of: camera.path)
        // The service belongs to a user whose processes only root may look into.
        return holders.contains { $0.name == "lucida" }
            || holders.isEmpty && serviceState["ActiveState"] == "active"
    }

    /// The cameras that `camera.source` may mean.
    var wantedCameras: [DeviceReport] {
        let cameras = devices.filter { $0.kind == .camera }
        guard case .device(let name) = settings.camera.source else { return cameras }
        return cameras.filter { camera in
            camera.path == name
                || camera.stablePaths.contains { $0 == name || $0.hasSuffix("/\(name)") }
        }
    }

    /// Whether a USB interface of the class video (0e) has no driver.
    var hasUSBCameraWithoutDriver: Bool {
        list("/sys/bus/usb/devices").contains { name in
            let folder = "/sys/bus/usb/devices/\(name)"
            return read(folder + "/bInterfaceClass") == "0e" && !exists(folder + "/driver")
        }
    }
}
