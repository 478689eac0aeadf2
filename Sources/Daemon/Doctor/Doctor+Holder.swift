// Checks of the service that keeps the virtual camera there: installed, running, from the next start on.

internal import V4L2

extension Doctor {
    /// Is somebody there who keeps the camera while no Lucida runs? Asked only where the service is
    /// installed: without it, a Lucida in a terminal holds the camera by itself.
    static func holder(_ machine: Machine) -> [Finding] {
        let service = machine.serviceState["FragmentPath"] ?? ""
        guard machine.wantsLoopback, !service.isEmpty, !machine.holderState.isEmpty else {
            return []
        }
        let state = machine.holderState
        let isEnabled = state["UnitFileState"]?.hasPrefix("enabled") ?? false
        let unit = "lucida-device"
        guard state["FragmentPath"]?.isEmpty == false else {
            return [
                .warning(
                    "holder.not_installed", "nobody keeps the virtual camera there",
                    "The service \(unit) is missing: apps lose the camera when Lucida is restarted.",
                    command: "make release && sudo make install && sudo systemctl daemon-reload && "
                        + "sudo systemctl enable --now \(unit)")
            ]
        }
        let reload =
            state["NeedDaemonReload"] == "yes"
            ? [
                Finding.warning(
                    "holder.reload_needed",
                    "systemd has not read the unit \(unit) since it was changed", "",
                    command: "sudo systemctl daemon-reload && sudo systemctl restart \(unit)")
            ] : []
        return reload + [holderActivity(machine, isEnabled)]
    }

    private static func holderActivity(_ machine: Machine, _ isEnabled: Bool) -> Finding {
        let state = machine.holderState
        switch (state["ActiveState"], state["SubState"]) {
        case ("failed", _), (_, "auto-restart"): return holderFailure(machine)
        case ("active", _), ("activating", _):
            guard isEnabled else {
                return .warning(
                    "holder.not_enabled",
                    "the virtual camera is not kept there from the next boot on",
                    "Apps look for cameras early, and remember what they have found.",
                    command: "sudo systemctl enable lucida-device")
            }
            return .ok("holder", "lucida-device keeps the virtual camera there", "")
        default:
            return .warning(
                "holder.off", "lucida-device does not run",
                "Apps lose the camera when Lucida is stopped or restarted.",
                command: "sudo systemctl \(isEnabled ? "start" : "enable --now") lucida-device")
        }
    }

    private static func holderFailure(_ machine: Machine) -> Finding {
        let restart = "sudo systemctl restart lucida-device"
        // One that was started by hand before has the device, and the holder waits for it in vain.
        if let device = machine.loopbackDevice, device.usedBy == .lucida {
            let others = machine.holders(of: device.path).filter { $0.name == "lucida" }
            return .problem(
                "holder.taken",
                "lucida-device cannot keep \(device.path): another lucida writes to it",
                "One in a terminal goes beside the service only if it was started later.",
                command: others.isEmpty
                    ? "sudo fuser -v \(device.path)"
                    : "kill " + others.map { "\($0.process)" }.joined(separator: " ")
                        + " && \(restart)")
        }
        return .problem(
            "holder.failed", "lucida-device does not start",
            "It says last: \(machine.lastLogLine(of: "lucida-device")). Mend what stands above first.",
            command: restart)
    }
}
