// Checks of the kernel module v4l2loopback: installed, loaded, signed, with which options.

internal import V4L2

private let moduleName = "v4l2loopback"

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
        guard let source = machine.driverSource else {
            return [
                .problem(
                    "driver.missing", "v4l2loopback is not installed",
                    "It is the kernel module that makes the virtual camera.",
                    command: machine.packages.install(driver: kernel))
            ]
        }
        guard machine.exists("/lib/modules/\(kernel)/build") else {
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

/// `0.12.7` as numbers.
struct DriverVersion: Equatable, Comparable {
    private let numbers: [Int]
    let text: String

    init(_ major: Int, _ minor: Int, _ patch: Int) {
        numbers = [major, minor, patch]
        text = "\(major).\(minor).\(patch)"
    }

    /// Nil for what does not begin with two numbers.
    init?(_ text: String) {
        let numbers = text.split(separator: "-", maxSplits: 1).first?.split(separator: ".")
            .compactMap { Int($0) }
        guard let numbers, numbers.count >= 2 else { return nil }
        self.numbers = Array((numbers + [0]).prefix(3))
        self.text = text
    }

    static func == (a: DriverVersion, b: DriverVersion) -> Bool { a.numbers == b.numbers }
    static func < (a: DriverVersion, b: DriverVersion) -> Bool {
        a.numbers.lexicographicallyPrecedes(b.numbers)
    }
}

/// How this distribution installs things.
struct Packages {
    let manager: String?

    func install(driver kernel: String) -> String {
        switch manager {
        case "apt-get": "sudo apt install v4l2loopback-dkms linux-headers-\(kernel)"
        case "dnf": "sudo dnf install akmod-v4l2loopback kernel-devel-\(kernel)  # from RPM Fusion"
        case "pacman": "sudo pacman -S v4l2loopback-dkms linux-headers"
        default:
            "# install the package v4l2loopback-dkms, or https://github.com/v4l2loopback/v4l2loopback"
        }
    }

    func install(headers kernel: String) -> String {
        switch manager {
        case "dnf": "sudo dnf install kernel-devel-\(kernel)"
        case "pacman": "sudo pacman -S linux-headers"
        default: "sudo apt install linux-headers-\(kernel)"
        }
    }

    var installBLAS: String {
        switch manager {
        case "dnf": "sudo dnf install openblas"
        case "pacman": "sudo pacman -S openblas"
        default: "sudo apt install libopenblas0"
        }
    }
}

/// What modprobe is told about v4l2loopback.
struct ModuleOptions {
    /// The last that was said; nil: nothing.
    var exclusiveCaps: Bool?
    /// Where it was said that it is off.
    var exclusiveCapsFile: String?
    /// The file that keeps the module from being loaded.
    var blockedBy: String?

    /// A line of a file of modprobe.d(5), split at spaces.
    mutating func read(_ words: [Substring], file: String) {
        guard words.count >= 2, words[1] == moduleName else { return }
        switch words[0] {
        case "options": for word in words.dropFirst(2) { readOption(word, file: file) }
        case "blacklist": blockedBy = file
        case "install":
            let program = words.dropFirst(2).first ?? ""
            if program.hasSuffix("/false") || program.hasSuffix("/true") { blockedBy = file }
        default: break
        }
    }

    mutating func readOption(_ word: Substring, file: String) {
        let parts = word.split(separator: "=", maxSplits: 1)
        guard parts.count == 2, parts[0] == "exclusive_caps" else { return }
        let isOn = parts[1].split(separator: ",").contains { ["1", "Y", "y"].contains($0) }
        exclusiveCaps = isOn
        exclusiveCapsFile = isOn ? nil : file
    }
}

extension Machine {
    /// What `make install` puts into modprobe.d, as far as it matters here.
    static let usualOptions = "exclusive_caps=1 card_label=Lucida"

    var packages: Packages {
        Packages(manager: ["apt-get", "dnf", "pacman"].first { exists("/usr/bin/\($0)") })
    }

    var isModuleLoaded: Bool { exists("/sys/module/\(moduleName)") }

    var loadedVersion: DriverVersion? {
        read("/sys/module/\(moduleName)/version").flatMap { DriverVersion($0) }
    }

    /// Of the module file that modprobe would load.
    var installedVersion: DriverVersion? {
        guard moduleFile != nil else { return nil }
        return run(["modinfo", "-F", "version", moduleName]).flatMap {
            DriverVersion(String($0.prefix { !$0.isNewline }))
        }
    }

    private var indexedModuleFile: String? {
        (read("/lib/modules/\(kernel)/modules.dep") ?? "").split(separator: "\n")
            .compactMap { $0.split(separator: ":", maxSplits: 1).first }
            .first { $0.contains("/\(moduleName).ko") || $0.hasPrefix("\(moduleName).ko") }
            .map { "/lib/modules/\(kernel)/\($0)" }
    }

    var isModuleIndexed: Bool { indexedModuleFile != nil }

    /// The module for the running kernel.
    var moduleFile: String? {
        if let indexedModuleFile { return indexedModuleFile }
        return ["updates/dkms", "updates", "extra", "extra/\(moduleName)", "misc"]
            .map { "/lib/modules/\(kernel)/\($0)" }
            .compactMap { folder in
                list(folder).first { $0.hasPrefix("\(moduleName).ko") }.map { "\(folder)/\($0)" }
            }.first
    }

    /// Version of the source that dkms builds from; nil if there is none.
    var driverSource: String? {
        list("/usr/src").last { $0.hasPrefix("\(moduleName)-") }
            .map { String($0.dropFirst(moduleName.count + 1)) }
    }

    /// Secure Boot, or a kernel that is locked down for another reason.
    var demandsSignatures: Bool {
        let variable = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
        // Four bytes of attributes, then the value: UEFI 2.10, 3.3.
        let isSecure = readBytes("/sys/firmware/efi/efivars/\(variable)").map {
            $0.count == 5 && $0[4] == 1
        }
        let lockdown = read("/sys/kernel/security/lockdown") ?? ""
        return isSecure == true || lockdown.contains("[integrity]")
            || lockdown.contains("[confidentiality]")
    }

    /// The key that dkms signs with: Debian's, or Ubuntu's.
    var ownKey: String {
        let ubuntu = "/var/lib/shim-signed/mok/MOK.der"
        return exists(ubuntu) ? ubuntu : "/var/lib/dkms/mok.pub"
    }

    /// True only if the driver says so.
    var runsWithoutExclusiveCaps: Bool {
        guard let values = read("/sys/module/\(moduleName)/parameters/exclusive_caps") else {
            return false
        }
        return !values.split(separator: ",").contains { $0.hasPrefix("Y") || $0 == "1" }
    }

    /// All that modprobe.d(5) and the kernel's command line say.
    var moduleOptions: ModuleOptions {
        var options = ModuleOptions()
        var seen: Set<String> = []
        var files: [(name: String, path: String)] = []
        // A file hides those of the same name in later folders.
        for folder in ["/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib"].map({
            $0 + "/modprobe.d"
        }) {
            for name in list(folder) where name.hasSuffix(".conf") && seen.insert(name).inserted {
                files.append((name, "\(folder)/\(name)"))
            }
        }
        for file in files.sorted(by: { $0.name < $1.name }) {
            for line in (read(file.path) ?? "").split(separator: "\n") {
                options.read(line.split { $0 == " " || $0 == "\t" }, file: file.path)
            }
        }
        for word in (read("/proc/cmdline") ?? "").split(separator: " ")
        where word.hasPrefix("\(moduleName).") {
            options.readOption(word.dropFirst(moduleName.count + 1), file: "/proc/cmdline")
        }
        return options
    }

    var isLoadedAtBoot: Bool {
        let folders = ["/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib"].map {
            $0 + "/modules-load.d"
        }
        let files = folders.flatMap { folder in
            list(folder).filter { $0.hasSuffix(".conf") }.map { "\(folder)/\($0)" }
        }
        return (files + ["/etc/modules"]).contains { file in
            (read(file) ?? "").split(separator: "\n").contains {
                $0.split(separator: " ").first == Substring(moduleName)
            }
        }
    }

    /// The command that loads the module anew, which nobody may use meanwhile.
    func reloadDriver(_ options: String = "") -> String {
        let load =
            "sudo modprobe -r v4l2loopback && sudo modprobe v4l2loopback"
            + (options.isEmpty ? "" : " " + options)
        guard serviceState["ActiveState"] == "active" else { return load }
        return "sudo systemctl stop lucida && \(load) && sudo systemctl start lucida"
    }
}
