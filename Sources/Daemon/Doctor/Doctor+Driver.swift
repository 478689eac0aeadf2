// Checks of the kernel module v4l2loopback: installed, loaded, signed, with which options.

internal import V4L2

extension Doctor {
    /// Is the module there for the running kernel, and in use?
    static func driver(_ machine: Machine) -> [Finding] {
        guard machine.wantsLoopback else {
            return [
                .ok("driver.not_needed", "no virtual camera is wanted (output.sinks)")
            ]
        }
        if machine.isModuleLoaded { return loadedDriver(machine) }
        guard let file = machine.moduleFile else { return missingDriver(machine) }
        if !machine.isModuleIndexed {
            return [
                .problem(
                    "driver.not_indexed", "v4l2loopback is there, but modprobe does not know it",
                    "The list of modules of kernel \(machine.kernel) was not renewed after it was "
                        + "installed.",
                    command: "sudo depmod -a && sudo modprobe v4l2loopback")
            ]
        }
        if let blocked = machine.moduleOptions.blockedBy { return [blockedDriver(blocked)] }
        if let unsigned = signature(machine, file) { return [unsigned] }
        return [
            .problem(
                "driver.not_loaded", "v4l2loopback is installed, but not loaded",
                "Without it there is no virtual camera.", command: "sudo modprobe v4l2loopback")
        ]
    }

    private static func loadedDriver(_ machine: Machine) -> [Finding] {
        let version = machine.loadedVersion
        var findings: [Finding] = [
            .ok(
                "driver.loaded", "v4l2loopback \(version?.text ?? "of unknown version") is loaded",
                abilities(of: version))
        ]
        if let version, version < DriverVersion(0, 12, 5) {
            findings.append(
                .warning(
                    "driver.old", "v4l2loopback \(version.text) is older than anything tested",
                    "Lucida is tested with 0.12.7, 0.13.2 and 0.15.0.",
                    command: machine.packages.install(driver: machine.kernel)))
        }
        if let version, let installed = machine.installedVersion, installed != version {
            findings.append(
                .warning(
                    "driver.stale",
                    "v4l2loopback \(version.text) is loaded, \(installed.text) is installed",
                    "It was renewed while in use. Close what uses the virtual camera first.",
                    command: machine.reloadDriver()))
        }
        return findings
    }

    /// What the versions differ in, as tried on real drivers.
    private static func abilities(of version: DriverVersion?) -> String {
        guard let version else { return "" }
        return version < DriverVersion(0, 13, 0)
            ? "Several apps can read at once. It does not tell whether one does."
            : "One app can read at a time, a second one sees \"device busy\". It tells whether one does."
    }

    private static func missingDriver(_ machine: Machine) -> [Finding] {
        let kernel = machine.kernel
        let hasHeaders = machine.exists("/lib/modules/\(kernel)/build")
        if !hasHeaders, machine.isKernelForeign { return [foreignKernel(machine)] }
        guard let source = machine.driverSource else {
            return [
                .problem(
                    "driver.missing", "v4l2loopback is not installed",
                    "It is the kernel module that makes the virtual camera.",
                    command: machine.packages.install(driver: kernel))
            ]
        }
        guard hasHeaders else {
            return [
                .problem(
                    "driver.headers_missing",
                    "v4l2loopback cannot be built: the headers of kernel \(kernel) are missing",
                    "The module is built for each kernel anew, and its source alone is installed. If "
                        + "there are no such headers any more, start the newest kernel.",
                    command: machine.packages.install(headers: kernel)
                        + " && sudo dkms autoinstall -k \(kernel)"
                        + " && sudo modprobe v4l2loopback")
            ]
        }
        return [
            .problem(
                "driver.not_built", "v4l2loopback is not built for the running kernel \(kernel)",
                "If building fails, /var/lib/dkms/v4l2loopback/\(source)/build/make.log says why; often "
                    + "the kernel is newer than this version of the module can be built for.",
                command: "sudo dkms install v4l2loopback/\(source) -k \(kernel)"
                    + " && sudo modprobe v4l2loopback")
        ]
    }

    /// There is no package of its headers, so a command that installs one would fail.
    private static func foreignKernel(_ machine: Machine) -> Finding {
        .problem(
            "driver.foreign_kernel",
            "v4l2loopback cannot be built: kernel \(machine.kernel) is not one of this distribution's",
            "There is no package with its headers. In a container the kernel is its host's: install "
                + "v4l2loopback there, and hand /dev/videoN in. Where the kernel was built by hand, or "
                + "came with the machine, build the module with its source, or start a kernel of the "
                + "distribution.",
            command: machine.packages.installKernel(isUbuntu: machine.isUbuntu))
    }

    private static func blockedDriver(_ file: String) -> Finding {
        .problem(
            "driver.blocked", "\(file) keeps v4l2loopback out",
            "A line \"blacklist\" does so at boot, a line \"install\" always.",
            command: "sudo sed -i -E '/^ *(blacklist|install) +v4l2loopback/d' \(shellWord(file))"
                + " && sudo modprobe v4l2loopback")
    }

    /// Whether Secure Boot keeps the module out. Nil if not, or if it cannot be told.
    private static func signature(_ machine: Machine, _ file: String) -> Finding? {
        guard machine.demandsSignatures,
            let signer = machine.run(["modinfo", "-F", "signer", file])
        else { return nil }
        let key = machine.ownKey
        let enrol =
            "sudo mokutil --import \(key) && sudo reboot  # and confirm \"Enroll MOK\" at start"
        if signer.allSatisfy(\.isWhitespace) {
            let module = "v4l2loopback/\(machine.driverSource ?? "VERSION") -k \(machine.kernel)"
            return .problem(
                "driver.unsigned", "Secure Boot keeps v4l2loopback out: it is not signed",
                "The kernel loads only modules whose signature it knows. dkms signs what it builds "
                    + "with a key of this machine, which the firmware has to be told once.",
                command:
                    "sudo dkms build --force \(module) && sudo dkms install --force \(module) && "
                    + enrol)
        }
        guard let answer = machine.run(["mokutil", "--test-key", key]),
            answer.contains("is not enrolled")
        else { return nil }
        return .problem(
            "driver.key_not_enrolled",
            "Secure Boot keeps v4l2loopback out: the firmware does not know its key",
            "The module is signed with a key of this machine that nobody has enrolled.",
            command: enrol)
    }

    // MARK: Options

    /// Do apps see the device as a camera, now and after the next start?
    static func moduleOptions(_ machine: Machine) -> [Finding] {
        guard machine.wantsLoopback, machine.isModuleLoaded || machine.moduleFile != nil else {
            return []
        }
        var findings: [Finding] = []
        let options = machine.moduleOptions
        let isConfigured = options.exclusiveCaps == true
        if let device = machine.loopbackDevice, device.offersCapture, device.offersOutput,
            machine.runsWithoutExclusiveCaps
        {
            findings.append(
                .problem(
                    "driver.exclusive_caps",
                    "v4l2loopback runs without exclusive_caps=1",
                    "Chrome and what is built on it (Meet, Teams, Discord) hide the virtual camera. "
                        + "Close what uses it first.",
                    command: machine.reloadDriver(isConfigured ? "" : Machine.usualOptions)))
        }
        if !isConfigured { findings.append(missingOptions(options)) }
        if !machine.isLoadedAtBoot {
            findings.append(
                .warning(
                    "driver.not_at_boot", "v4l2loopback is not loaded at boot",
                    "The virtual camera is gone after the next start, and browsers look for cameras "
                        + "early.",
                    command: "echo v4l2loopback | sudo tee -a /etc/modules-load.d/lucida.conf"))
        }
        return findings
    }

    private static func missingOptions(_ options: ModuleOptions) -> Finding {
        let meaning = "Whenever the module is loaded without it, Chrome hides the virtual camera."
        let target = "| sudo tee -a /etc/modprobe.d/"
        switch options.exclusiveCapsFile {
        case nil:
            return .warning(
                "driver.options", "exclusive_caps=1 is not among the options that modprobe knows",
                meaning,
                command: "echo 'options v4l2loopback \(Machine.usualOptions)' \(target)lucida.conf")
        case "/proc/cmdline":
            return .warning(
                "driver.options", "the kernel's command line switches exclusive_caps off", meaning,
                command: "sudoedit /etc/default/grub && sudo update-grub")
        case let file?:
            // Of several lines the last one counts, and files are read in the order of their names.
            return .warning(
                "driver.options", "\(file) switches exclusive_caps off", meaning,
                command: "echo 'options v4l2loopback exclusive_caps=1' \(target)zz-lucida.conf")
        }
    }
}
