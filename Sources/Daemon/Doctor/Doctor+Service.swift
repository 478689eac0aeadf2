// Checks of the systemd service: installed, in force, running, as shipped.

internal import FoundationEssentials
internal import V4L2

extension Doctor {
    /// Does the service run, and will it after the next start?
    static func service(_ machine: Machine) -> [Finding] {
        guard machine.exists("/run/systemd/system") else {
            return [
                .ok("service.no_systemd", "systemd does not run here", "`lucida run` needs none.")
            ]
        }
        let state = machine.serviceState
        guard !state.isEmpty else {
            return [
                .warning(
                    "service.no_answer", "systemd does not say how the service is",
                    "It is very busy, or hangs.", command: "systemctl status lucida")
            ]
        }
        guard let unit = state["FragmentPath"], !unit.isEmpty else {
            return [
                .ok(
                    "service.not_installed", "the service is not installed",
                    "`lucida run` in a terminal needs none.")
            ]
        }
        return serviceFiles(machine, unit, state) + serviceAccess(machine)
            + serviceOutputs(machine, unit) + serviceNetwork(machine, unit)
            + serviceActivity(machine, state)
    }

    private static func serviceFiles(
        _ machine: Machine, _ unit: String, _ state: [String: String]
    ) -> [Finding] {
        var findings: [Finding] = []
        let text = machine.read(unit) ?? ""
        if let program = Machine.program(of: text), !machine.exists(program) {
            findings.append(
                .problem(
                    "service.no_program", "the service starts \(program), which is not there",
                    "\(unit) says so.", command: "make release && sudo make install"))
        } else if let shipped = machine.shippedUnit(like: text), shipped.text != text {
            let isCopy = unit.hasPrefix("/etc/")
            findings.append(
                .warning(
                    "service.differs", "\(unit) is not the unit that this lucida comes with",
                    "Own settings belong into a drop-in (systemctl edit lucida), which stays when "
                        + "Lucida is renewed.",
                    command: (isCopy ? "sudo rm \(shellWord(unit))" : "sudo make install")
                        + " && sudo systemctl daemon-reload"))
        }
        if state["NeedDaemonReload"] == "yes" {
            findings.append(
                .warning(
                    "service.reload_needed", "systemd has not read the unit since it was changed",
                    "",
                    command: "sudo systemctl daemon-reload && sudo systemctl restart lucida"))
        }
        return findings
    }

    /// The service belongs to a user of its own, who has the devices by the group video alone.
    private static func serviceAccess(_ machine: Machine) -> [Finding] {
        guard let group = machine.groups.first(where: { $0.name == "video" }) else {
            return [
                .problem(
                    "service.no_group", "there is no group video",
                    "The service gets at cameras by that group.",
                    command: "sudo groupadd --system video")
            ]
        }
        let closed = machine.devices.map(\.path).filter { path in
            guard let node = machine.permissions(path) else { return false }
            return node.group != group.id || node.mode & 0o060 != 0o060
        }
        guard !closed.isEmpty else { return [] }
        let names = closed.joined(separator: " ")
        return [
            .problem(
                "service.node_group", "the service may not use \(names)",
                "udev usually makes them root:video with mode 660; something changed that here.",
                command: "sudo chgrp video \(names) && sudo chmod 660 \(names)")
        ]
    }

    /// The service may write where its unit says so, and nowhere else.
    private static func serviceOutputs(_ machine: Machine, _ unit: String) -> [Finding] {
        let lines = unitLines(machine, unit)
        guard let configuration = machine.serviceConfiguration else { return [] }
        guard lines.contains("ProtectSystem=strict") else { return [] }
        let key = "ReadWritePaths="
        let open: [Substring] = lines.filter { $0.hasPrefix(key) }
            .flatMap { $0.dropFirst(key.count).split(separator: " ") }
        let closed: [String] = configuration.outputPaths.map(folderName).filter { path in
            !(open + ["/tmp"]).contains { path == $0 || path.hasPrefix($0 + "/") }
        }
        guard let path = closed.first else { return [] }
        let title = "the service may not write to \(path)"
        if ["/home/", "/root", "/run/user/"].contains(where: path.hasPrefix) {
            return [
                .problem(
                    "service.read_only", title,
                    "Home folders are hidden from it. Name another folder, such as one in /srv.",
                    command: "sudoedit \(Machine.systemConfiguration)")
            ]
        }
        let word = shellWord(path)
        return [
            .problem(
                "service.read_only", title,
                "It belongs to a user of its own and may write nowhere but where a drop-in of its unit "
                    + "allows it.",
                command: "sudo mkdir -p \(word) \(dropIns) && sudo chgrp video \(word) && "
                    + "sudo chmod g+rwx \(word) && "
                    + "printf '[Service]\\nReadWritePaths=%s\\n' \(word) | "
                    + "sudo tee \(dropIns)/outputs.conf && sudo systemctl daemon-reload && "
                    + "sudo systemctl restart lucida")
        ]
    }

    /// The service has no network unless a drop-in gives it one.
    private static func serviceNetwork(_ machine: Machine, _ unit: String) -> [Finding] {
        guard let address = machine.serviceConfiguration?.addresses.first else { return [] }
        let isPrivate = unitLines(machine, unit).last { $0.hasPrefix("PrivateNetwork=") }
        guard isPrivate == "PrivateNetwork=yes" else { return [] }
        return [
            .problem(
                "service.no_network", "the service may not reach \(address)",
                "So that no picture leaves the machine unnoticed, it has no network until a drop-in of "
                    + "its unit gives it one.",
                command: "sudo mkdir -p \(dropIns) && "
                    + "printf '[Service]\\nPrivateNetwork=no\\nIPAddressDeny=\\n"
                    + "RestrictAddressFamilies=AF_INET AF_INET6\\n' | "
                    + "sudo tee \(dropIns)/network.conf && sudo systemctl daemon-reload && "
                    + "sudo systemctl restart lucida")
        ]
    }

    private static let dropIns = "/etc/systemd/system/lucida.service.d"

    /// Of the unit and its drop-ins, in the order in which they count.
    private static func unitLines(_ machine: Machine, _ unit: String) -> [Substring] {
        let files = [unit] + machine.list(dropIns).sorted().map { "\(dropIns)/\($0)" }
        return files.flatMap { (machine.read($0) ?? "").split(separator: "\n") }
    }

    private static func folderName(_ output: String) -> String {
        output.hasSuffix("/")
            ? String(output.dropLast()) : URL(filePath: output).deletingLastPathComponent().path
    }

    private static func serviceActivity(
        _ machine: Machine, _ state: [String: String]
    ) -> [Finding] {
        let isEnabled = state["UnitFileState"]?.hasPrefix("enabled") ?? false
        switch (state["ActiveState"], state["SubState"]) {
        case ("failed", _), (_, "auto-restart"):
            return [
                .problem(
                    "service.failed", "the service does not start",
                    "It says last: \(machine.lastLogLine(of: "lucida")). Mend what stands above first.",
                    command: "sudo systemctl restart lucida")
            ]
        case ("active", _):
            let status = state["StatusText"] ?? ""
            return [.ok("service", "the service runs", status)]
                + (isEnabled
                    ? []
                    : [
                        .warning(
                            "service.not_enabled", "the service does not start at boot", "",
                            command: "sudo systemctl enable lucida")
                    ])
        case ("activating", _):
            return [
                .warning(
                    "service.starting", "the service is starting",
                    "It is ready after its first frame. It says last: \(machine.lastLogLine(of: "lucida"))",
                    command: "journalctl -u lucida -f")
            ]
        default:
            return [
                .warning(
                    "service.off", "the service is installed, but does not run",
                    "`lucida run` in a terminal needs none.",
                    command: "sudo systemctl \(isEnabled ? "start" : "enable --now") lucida")
            ]
        }
    }
}

extension Machine {
    /// What the service is configured to do; nil if that cannot be read.
    fileprivate var serviceConfiguration: Configuration? {
        readBytes(Self.systemConfiguration).flatMap {
            try? Configuration.parse($0, file: Self.systemConfiguration).configuration
        }
    }

    /// What systemd says of a service; empty where there is no systemd, or it does not answer.
    func askSystemd(_ service: String) -> [String: String] {
        guard exists("/run/systemd/system") else { return [:] }
        let names =
            "FragmentPath,ActiveState,SubState,UnitFileState,NeedDaemonReload,StatusText"
        let lines = run(["systemctl", "show", "\(service).service", "-p", names]) ?? ""
        let pairs = lines.split(separator: "\n").compactMap { line -> (String, String)? in
            let parts = line.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            return parts.count == 2 ? (String(parts[0]), String(parts[1])) : nil
        }
        return Dictionary(pairs) { $1 }
    }

    func lastLogLine(of service: String) -> String {
        let text = run(
            ["journalctl", "-u", "\(service).service", "-n", "1", "-o", "cat", "--no-pager"])
        let line = text?.split(separator: "\n").last.map(String.init) ?? ""
        return line.isEmpty ? "nothing that you may read (sudo journalctl -u \(service))" : line
    }

    /// What a unit starts.
    static func program(of unit: String) -> String? {
        unit.split(separator: "\n").first { $0.hasPrefix("ExecStart=") }?
            .dropFirst("ExecStart=".count).split(separator: " ").first.map(String.init)
    }

    /// The unit that came with this program: installed beside it, or in its source tree.
    func shippedUnit(like installed: String) -> (path: String, text: String)? {
        let bin = URL(filePath: program).deletingLastPathComponent()
        let beside = bin.appending(path: "../lib/systemd/system/lucida.service").standardized.path
        if let text = read(beside) { return (beside, text) }
        // .build/<target>/release/lucida → the source tree
        let tree = bin.appending(path: "../../../systemd/lucida.service").standardized.path
        guard let text = read(tree) else { return nil }
        let prefix = Self.program(of: installed).map {
            $0.hasSuffix("/bin/lucida") ? String($0.dropLast("/bin/lucida".count)) : $0
        }
        return (
            tree,
            text.split(separator: "@PREFIX@", omittingEmptySubsequences: false)
                .joined(separator: prefix ?? "")
        )
    }
}
