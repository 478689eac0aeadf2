// What a machine knows of v4l2loopback: files, versions, signatures, options. Control thread.

private let moduleName = "v4l2loopback"

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

    /// A kernel of the distribution's own, with all that the module needs.
    func installKernel(isUbuntu: Bool) -> String {
        let flavour = isUbuntu ? "generic" : "amd64"
        return "sudo apt install linux-image-\(flavour) linux-headers-\(flavour) v4l2loopback-dkms"
            + " && sudo reboot  # not in a container"
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

    /// Whether the running kernel came from elsewhere than the packages of a Debian or a relative of
    /// it; false where that cannot be told.
    var isKernelForeign: Bool {
        guard packages.manager == "apt-get" else { return false }
        let files = ["linux-image-\(kernel)", "linux-image-unsigned-\(kernel)"]
        if files.contains(where: { exists("/var/lib/dpkg/info/\($0).list") }) { return false }
        let headers = "linux-headers-\(kernel)"
        guard let known = run(["apt-cache", "pkgnames", headers]) else { return false }
        return !known.split(whereSeparator: \.isNewline).contains(Substring(headers))
    }

    var isUbuntu: Bool {
        (read("/etc/os-release") ?? "").split(separator: "\n").contains {
            $0.hasPrefix("ID") && $0.contains("ubuntu")
        }
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
        // Both have the device open.
        let services = [
            serviceState["ActiveState"] == "active" ? "lucida" : nil,
            exists("/run/lucida-device/writer.sock") ? "lucida-device" : nil,
        ].compactMap { $0 }.joined(separator: " ")
        guard !services.isEmpty else { return load }
        return "sudo systemctl stop \(services) && \(load) && sudo systemctl start \(services)"
    }
}
