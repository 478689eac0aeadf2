// `lucida doctor` on machines built in a folder: a healthy one, and ones broken on purpose.

import Foundation
import Glibc
import NeuralEngine
import Testing

@testable import Daemon
@testable import V4L2

/// A machine in a temporary folder; healthy until something is broken.
private final class Workshop {
    let root = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString).path
    var machine: Machine
    /// What programs answer, by how their command line begins.
    var answers: [String: String] = [:]
    /// What follows model and style in `[transform]`.
    var configuration = ""
    var model = Workshop.small
    var style = "oil"

    static let kernel = "6.1.0-9-amd64"
    static let repository = URL(filePath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent()
    /// Without figures of reduced precision.
    static let small = repository.appending(
        path: "Tests/ModelsTests/Resources/streaming-unet.safetensors"
    ).path
    static let unit =
        "[Service]\nExecStart=/usr/local/bin/lucida run\nProtectSystem=strict\nPrivateNetwork=yes"

    init() throws {
        machine = Machine(
            root: root,
            environment: [
                "LUCIDA_MODELS": Self.repository.appending(path: "Models").path,
                "XDG_CACHE_HOME": root + "/cache",
            ], kernel: Self.kernel,
            user: Machine.User(name: "ada", id: 1000, groups: [1000, getegid()]),
            devices: [Self.camera, Self.loopback], configuration: .success(try Self.parse("")),
            processors: [0, 1], run: { _ in nil }, mayUse: { _ in true },
            loadBLAS: { () throws(EngineError) in "Haswell" }, program: "/usr/local/bin/lucida")
        try buildDriver()
        try buildDevices()
        try buildProcessor()
        try buildService()
    }

    deinit { try? FileManager.default.removeItem(atPath: root) }

    private func buildDriver() throws {
        try write(
            "/lib/modules/\(Self.kernel)/modules.dep",
            "updates/dkms/v4l2loopback.ko: kernel/videodev.ko")
        try write("/lib/modules/\(Self.kernel)/build/Makefile")
        try write("/usr/src/v4l2loopback-0.12.7/dkms.conf")
        try write("/sys/module/v4l2loopback/version", "0.12.7")
        try write("/sys/module/v4l2loopback/parameters/exclusive_caps", "Y,N,N,N")
        try write(
            "/etc/modprobe.d/lucida.conf",
            "# The virtual camera.\noptions v4l2loopback card_label=\"Lucida\" exclusive_caps=1")
        try write("/etc/modules-load.d/lucida.conf", "# At boot.\nv4l2loopback")
        try write("/usr/bin/apt-get")
        answers["modinfo -F version"] = "0.12.7\n"
    }

    private func buildDevices() throws {
        for node in ["/dev/video0", "/dev/video10"] {
            try write(node)
            chmod(root + node, 0o660)
        }
        try write("/etc/group", "root:x:77777:\nvideo:x:\(try videoGroup()):ada,lin")
    }

    /// That of the nodes: only root could give them another.
    func videoGroup() throws -> UInt32 { try #require(machine.permissions("/dev/video0")).group }

    private func buildProcessor() throws {
        try write("/proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu fma avx2 f16c")
        try write("/proc/self/stat", "7 (a (b) c) R 1 7 7 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1")
        try write("/proc/self/cgroup", "0::/user.slice/user-1000.slice")
        try write("/sys/fs/cgroup/user.slice/cpu.max", "max 100000")
    }

    private func buildService() throws {
        try write("/run/systemd/system/.keep")
        try write("/usr/local/bin/lucida")
        try write("/usr/local/lib/systemd/system/lucida.service", Self.unit)
        service()
        service(unit: "lucida-device")
    }

    func service(
        active: String = "active", sub: String = "running", file: String = "enabled",
        reload: String = "no", unit: String = "lucida",
        path: String = "/usr/local/lib/systemd/system/lucida.service"
    ) {
        answers["systemctl show \(unit).service"] = """
            FragmentPath=\(path)
            ActiveState=\(active)
            SubState=\(sub)
            UnitFileState=\(file)
            NeedDaemonReload=\(reload)
            StatusText=30.0 fps
            """
    }

    func write(_ path: String, _ text: String = "") throws {
        let url = URL(filePath: root + path)
        try FileManager.default.createDirectory(
            at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data((text + "\n").utf8).write(to: url)
    }

    func remove(_ path: String) throws { try FileManager.default.removeItem(atPath: root + path) }

    /// A process that has `node` open.
    func process(_ number: Int, _ name: String, holds node: String) throws {
        try write("/proc/\(number)/comm", name)
        let folder = root + "/proc/\(number)/fd"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        try FileManager.default.createSymbolicLink(
            atPath: folder + "/5", withDestinationPath: node)
    }

    private static func parse(
        _ text: String
    ) throws(ConfigurationError) -> LoadedConfiguration {
        try Configuration.parse(Array(text.utf8), file: "/etc/lucida/lucida.toml")
    }

    func examine() -> [Finding] {
        do throws(ConfigurationError) {
            machine.configuration = .success(
                try Self.parse(
                    """
                    [transform]
                    model = "\(model)"
                    style = "\(style)"

                    """ + configuration))
        } catch {
            machine.configuration = .failure(error)
        }
        let answers = answers
        machine.run = { words in
            let line = words.joined(separator: " ")
            return answers.first { line.hasPrefix($0.key) }?.value
        }
        return Doctor.examine(machine).findings
    }

    static let camera = DeviceReport(
        path: "/dev/video0", stablePaths: ["/dev/v4l/by-id/usb-C920-video-index0"], kind: .camera,
        card: "HD Webcam", driver: "uvcvideo", busInfo: "usb", offersCapture: true, isUsable: true,
        modes: [], controls: [])

    static let loopback = DeviceReport(
        path: "/dev/video10", stablePaths: [], kind: .loopback, card: "Lucida",
        driver: "v4l2 loopback", busInfo: "platform", offersCapture: true, usedBy: .lucida,
        isUsable: false, modes: [], controls: [])
}

/// A way to break a machine, and what the doctor must say of it.
private struct Breakage: Sendable, CustomTestStringConvertible {
    let id: String
    var severity = Finding.Severity.problem
    /// Exactly what mends it.
    let command: String?
    /// Words that the title must hold.
    var title: String?
    let change: @Sendable (Workshop) throws -> Void

    var testDescription: String { id }
}

private let enrol =
    "sudo mokutil --import /var/lib/dkms/mok.pub && sudo reboot  # and confirm \"Enroll MOK\" at start"

private let reload =
    "sudo systemctl stop lucida && sudo modprobe -r v4l2loopback && sudo modprobe v4l2loopback"

/// Of the service as it is without a driver.
@Sendable private func unload(_ shop: Workshop) throws {
    try shop.remove("/sys/module/v4l2loopback")
    shop.machine.devices = [Workshop.camera]
}

private let driverBreakages: [Breakage] = [
    Breakage(
        id: "driver.missing",
        command: "sudo apt install v4l2loopback-dkms linux-headers-6.1.0-9-amd64"
    ) { shop in
        try unload(shop)
        try shop.write("/lib/modules/\(Workshop.kernel)/modules.dep", "kernel/videodev.ko:")
        try shop.remove("/usr/src/v4l2loopback-0.12.7")
    },
    Breakage(
        id: "driver.missing", command: "sudo pacman -S v4l2loopback-dkms linux-headers"
    ) { shop in
        try unload(shop)
        try shop.write("/lib/modules/\(Workshop.kernel)/modules.dep", "kernel/videodev.ko:")
        try shop.remove("/usr/src/v4l2loopback-0.12.7")
        try shop.remove("/usr/bin/apt-get")
        try shop.write("/usr/bin/pacman")
    },
    Breakage(
        id: "driver.foreign_kernel",
        command: "sudo apt install linux-image-amd64 linux-headers-amd64 v4l2loopback-dkms"
            + " && sudo reboot  # not in a container",
        title: Workshop.kernel
    ) { shop in
        try unload(shop)
        try shop.remove("/lib/modules/\(Workshop.kernel)")
        try shop.remove("/usr/src/v4l2loopback-0.12.7")
        // Of another version alone.
        shop.answers["apt-cache pkgnames"] = "linux-headers-\(Workshop.kernel)-dbg\n"
        try shop.write("/etc/os-release", "NAME=Debian\nID=debian")
    },
    Breakage(
        id: "driver.missing",
        command: "sudo apt install v4l2loopback-dkms linux-headers-6.1.0-9-amd64"
    ) { shop in
        try unload(shop)
        try shop.remove("/lib/modules/\(Workshop.kernel)")
        try shop.remove("/usr/src/v4l2loopback-0.12.7")
        shop.answers["apt-cache pkgnames"] = "linux-headers-\(Workshop.kernel)\n"
    },
    Breakage(
        id: "driver.headers_missing",
        command: "sudo apt install linux-headers-6.1.0-9-amd64"
            + " && sudo dkms autoinstall -k 6.1.0-9-amd64 && sudo modprobe v4l2loopback"
    ) { shop in
        try unload(shop)
        try shop.remove("/lib/modules/\(Workshop.kernel)")
    },
    Breakage(
        id: "driver.not_built",
        command: "sudo dkms install v4l2loopback/0.12.7 -k 6.1.0-9-amd64"
            + " && sudo modprobe v4l2loopback"
    ) { shop in
        try unload(shop)
        try shop.write("/lib/modules/\(Workshop.kernel)/modules.dep", "kernel/videodev.ko:")
    },
    Breakage(
        id: "driver.not_indexed", command: "sudo depmod -a && sudo modprobe v4l2loopback"
    ) { shop in
        try unload(shop)
        try shop.write("/lib/modules/\(Workshop.kernel)/modules.dep", "kernel/videodev.ko:")
        try shop.write("/lib/modules/\(Workshop.kernel)/updates/dkms/v4l2loopback.ko.xz")
    },
    Breakage(
        id: "driver.blocked",
        command: "sudo sed -i -E '/^ *(blacklist|install) +v4l2loopback/d'"
            + " /etc/modprobe.d/video.conf && sudo modprobe v4l2loopback"
    ) { shop in
        try unload(shop)
        try shop.write("/etc/modprobe.d/video.conf", "install v4l2loopback /bin/false")
    },
    Breakage(
        id: "driver.unsigned",
        command: "sudo dkms build --force v4l2loopback/0.12.7 -k 6.1.0-9-amd64"
            + " && sudo dkms install --force v4l2loopback/0.12.7 -k 6.1.0-9-amd64 && " + enrol
    ) { shop in
        try unload(shop)
        let variables = "/sys/firmware/efi/efivars/"
        try shop.write(variables + "x")
        try Data([6, 0, 0, 0, 1]).write(
            to: URL(
                filePath: shop.root + variables
                    + "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"))
        shop.answers["modinfo -F signer"] = "\n"
    },
    Breakage(id: "driver.key_not_enrolled", command: enrol) { shop in
        try unload(shop)
        try shop.write("/sys/kernel/security/lockdown", "none [integrity] confidentiality")
        shop.answers["modinfo -F signer"] = "DKMS module signing key\n"
        shop.answers["mokutil --test-key"] = "/var/lib/dkms/mok.pub is not enrolled\n"
    },
    Breakage(id: "driver.not_loaded", command: "sudo modprobe v4l2loopback", change: unload),
    Breakage(
        id: "driver.stale", severity: .warning, command: reload + " && sudo systemctl start lucida"
    ) { $0.answers["modinfo -F version"] = "0.15.0\n" },
    Breakage(
        id: "driver.old", severity: .warning,
        command: "sudo apt install v4l2loopback-dkms linux-headers-6.1.0-9-amd64"
    ) { shop in
        try shop.write("/sys/module/v4l2loopback/version", "0.10.0")
        shop.answers["modinfo -F version"] = "0.10.0\n"
    },
    Breakage(
        id: "driver.exclusive_caps", command: reload + " && sudo systemctl start lucida"
    ) { shop in
        try shop.write("/sys/module/v4l2loopback/parameters/exclusive_caps", "N,N,N,N")
        shop.machine.devices[1].offersOutput = true
    },
    Breakage(
        id: "driver.options", severity: .warning,
        command: "echo 'options v4l2loopback exclusive_caps=1 card_label=Lucida'"
            + " | sudo tee -a /etc/modprobe.d/lucida.conf"
    ) { try $0.remove("/etc/modprobe.d/lucida.conf") },
    Breakage(
        id: "driver.options", severity: .warning,
        command: "echo 'options v4l2loopback exclusive_caps=1'"
            + " | sudo tee -a /etc/modprobe.d/zz-lucida.conf", title: "/etc/modprobe.d/obs.conf"
    ) { try $0.write("/etc/modprobe.d/obs.conf", "options v4l2loopback exclusive_caps=0") },
    Breakage(
        id: "driver.options", severity: .warning,
        command: "sudoedit /etc/default/grub && sudo update-grub"
    ) { try $0.write("/proc/cmdline", "quiet v4l2loopback.exclusive_caps=0 splash") },
    Breakage(
        id: "driver.not_at_boot", severity: .warning,
        command: "echo v4l2loopback | sudo tee -a /etc/modules-load.d/lucida.conf"
    ) { try $0.write("/etc/modules-load.d/lucida.conf", "# v4l2loopback") },
]

private let deviceBreakages: [Breakage] = [
    Breakage(id: "device.group", command: "sudo usermod -aG video bob", title: "bob") { shop in
        shop.machine.user = Machine.User(name: "bob", id: 1001, groups: [1001])
        shop.machine.mayUse = { !$0.contains("/video") }
    },
    Breakage(id: "device.group_not_in_force", command: "newgrp video", title: "ada") { shop in
        shop.machine.user.groups = [1000]
        shop.machine.mayUse = { !$0.contains("/video") }
    },
    Breakage(id: "device.denied", command: "ls -l /dev/video0 /dev/video10") { shop in
        shop.machine.mayUse = { !$0.contains("/video") }
    },
    Breakage(
        id: "service.node_group",
        command: "sudo chgrp video /dev/video0 && sudo chmod 660 /dev/video0"
    ) { chmod($0.root + "/dev/video0", 0o600) },
    Breakage(
        id: "loopback.none",
        command: reload + " exclusive_caps=1 card_label=Lucida && sudo systemctl start lucida"
    ) { $0.machine.devices = [Workshop.camera] },
    Breakage(
        id: "loopback.not_there",
        command: reload
            + " video_nr=42 exclusive_caps=1 card_label=Lucida && sudo systemctl start lucida"
    ) { $0.configuration = "[output]\nsinks = [\"v4l2:/dev/video42\"]" },
    Breakage(
        id: "loopback.label", severity: .warning,
        command: reload + " exclusive_caps=1 card_label=Lucida && sudo systemctl start lucida",
        title: "Dummy video device"
    ) { $0.machine.devices[1].card = "Dummy video device (0x0000)" },
    Breakage(
        id: "loopback.size", severity: .warning, command: "sudoedit /etc/lucida/lucida.toml",
        title: "640×360"
    ) { $0.configuration = "[output]\nwidth = 640\nheight = 360" },
    Breakage(
        id: "loopback.other_writer",
        command: reload + " devices=2 exclusive_caps=1,1 card_label=Other,Lucida"
            + " && sudo systemctl start lucida", title: "obs (process 812)"
    ) { shop in
        shop.machine.devices[1].usedBy = .other
        try shop.process(812, "obs", holds: "/dev/video10")
    },
    Breakage(
        id: "loopback.second_reader", severity: .warning, command: "kill 902",
        title: "chrome (process 901), zoom (process 902)"
    ) { shop in
        try shop.write("/sys/module/v4l2loopback/version", "0.13.2")
        shop.answers["modinfo -F version"] = "0.13.2\n"
        try shop.process(900, "lucida", holds: "/dev/video10")
        try shop.process(901, "chrome", holds: "/dev/video10")
        try shop.process(902, "zoom", holds: "/dev/video10")
    },
    Breakage(
        id: "camera.none",
        command: "lucida run --source test --sink file:test.mp4  # without a camera"
    ) { shop in
        shop.machine.devices = [Workshop.loopback]
        try shop.write("/sys/bus/usb/devices/1-2:1.0/bInterfaceClass", "03")
    },
    Breakage(id: "camera.no_driver", command: "sudo modprobe uvcvideo") { shop in
        shop.machine.devices = [Workshop.loopback]
        try shop.write("/sys/bus/usb/devices/1-2:1.0/bInterfaceClass", "0e")
    },
    Breakage(id: "camera.not_there", command: "lucida devices", title: "/dev/video7") {
        $0.configuration = "[camera]\nsource = \"v4l2:/dev/video7\""
    },
    Breakage(id: "camera.busy", command: "kill 77", title: "cheese (process 77)") { shop in
        shop.machine.devices[0].isUsable = false
        shop.machine.devices[0].usedBy = .other
        try shop.process(77, "cheese", holds: "/dev/video0")
        shop.service(active: "active")
    },
    Breakage(
        id: "camera.unusable",
        command: "lucida run --source test --sink file:test.mp4  # without a camera"
    ) { shop in
        shop.machine.devices[0].isUsable = false
        shop.machine.devices[0].remark = "offers no colour format (only Y16): an infrared sensor"
    },
]

private let otherBreakages: [Breakage] = [
    Breakage(id: "cpu.isa", command: "unset LUCIDA_ISA") {
        $0.machine.environment["LUCIDA_ISA"] = "avx512"
    },
    Breakage(id: "cpu.isa_held", severity: .warning, command: "unset LUCIDA_ISA") {
        $0.machine.environment["LUCIDA_ISA"] = "scalar"
    },
    Breakage(id: "cpu.no_avx2", severity: .warning, command: nil, title: "virtual machine") {
        try $0.write("/proc/cpuinfo", "flags\t\t: fpu sse2 hypervisor")
    },
    Breakage(
        id: "cpu.threads", severity: .warning,
        command: "lucida run --threads 0  # or performance.threads = 0 in /etc/lucida/lucida.toml"
    ) { $0.configuration = "[performance]\nthreads = 8" },
    Breakage(
        id: "cpu.quota", severity: .warning,
        command: "sudo systemctl set-property user.slice CPUQuota="
    ) { try $0.write("/sys/fs/cgroup/user.slice/cpu.max", "150000 100000") },
    Breakage(id: "cpu.quota", severity: .warning, command: "lucida run --threads 1") { shop in
        try shop.write("/proc/self/cgroup", "0::/docker/0123")
        try shop.write("/sys/fs/cgroup/docker/0123/cpu.max", "50000 100000")
    },
    Breakage(id: "priority.low", severity: .warning, command: "sudo renice -n 0 -p $$") {
        try $0.write("/proc/self/stat", "7 (a (b) c) R 1 7 7 0 -1 4194304 1 0 0 0 0 0 0 0 39 19 1")
    },
    Breakage(id: "blas.missing", command: "sudo apt install libopenblas0") {
        $0.machine.loadBLAS = { () throws(EngineError) in throw .blas("cannot load OpenBLAS") }
    },
    Breakage(
        id: "blas.core_overridden", severity: .warning, command: "unset OPENBLAS_CORETYPE"
    ) { $0.machine.environment["OPENBLAS_CORETYPE"] = "Prescott" },
    Breakage(id: "config.invalid", command: "sudoedit /etc/lucida/lucida.toml") {
        $0.configuration = "strenght = 1"
    },
    Breakage(id: "model.missing", command: "sudo make install  # in Lucida's source folder") {
        $0.model = "inkk"
    },
    Breakage(
        id: "model.unusable",
        command: "lucida run --model base  # or set transform.model, or copy the file again"
    ) {
        $0.model = $0.root + "/etc/group"
    },
    Breakage(
        id: "model.not_calibrated", severity: .warning,
        command: "lucida calibrate --model \(Workshop.small)"
    ) { try $0.write("/proc/cpuinfo", "flags\t\t: fpu fma avx2 f16c avx_vnni") },
    Breakage(
        id: "model.style",
        command: "lucida run --style ink  # or in /etc/lucida/lucida.toml"
    ) { $0.style = "cubism" },
    Breakage(id: "output.folder", command: "mkdir -p /nonexistent/films") {
        $0.configuration = "[output]\nsinks = [\"auto\", \"file:/nonexistent/films/a.mkv\"]"
    },
    Breakage(id: "cache.none", severity: .warning, command: "export XDG_CACHE_HOME=/var/tmp") {
        $0.machine.environment["XDG_CACHE_HOME"] = nil
    },
    Breakage(id: "service.no_program", command: "make release && sudo make install") {
        try $0.remove("/usr/local/bin/lucida")
    },
    Breakage(
        id: "service.differs", severity: .warning,
        command: "sudo rm /etc/systemd/system/lucida.service && sudo systemctl daemon-reload"
    ) { shop in
        let copy = "/etc/systemd/system/lucida.service"
        try shop.write(copy, Workshop.unit + " --style oil")
        shop.service(path: copy)
    },
    Breakage(
        id: "service.read_only",
        command: "sudo mkdir -p /srv/films /etc/systemd/system/lucida.service.d"
            + " && sudo chgrp video /srv/films && sudo chmod g+rwx /srv/films"
            + " && printf '[Service]\\nReadWritePaths=%s\\n' /srv/films"
            + " | sudo tee /etc/systemd/system/lucida.service.d/outputs.conf"
            + " && sudo systemctl daemon-reload && sudo systemctl restart lucida"
    ) { try $0.write("/etc/lucida/lucida.toml", "[output]\nsinks = [\"file:/srv/films/a.mkv\"]") },
    Breakage(
        id: "service.read_only", command: "sudoedit /etc/lucida/lucida.toml", title: "/home/ada"
    ) { try $0.write("/etc/lucida/lucida.toml", "[report]\npath = \"/home/ada/report.json\"") },
    Breakage(
        id: "service.no_network",
        command: "sudo mkdir -p /etc/systemd/system/lucida.service.d && "
            + "printf '[Service]\\nPrivateNetwork=no\\nIPAddressDeny=\\n"
            + "RestrictAddressFamilies=AF_INET AF_INET6\\n'"
            + " | sudo tee /etc/systemd/system/lucida.service.d/network.conf"
            + " && sudo systemctl daemon-reload && sudo systemctl restart lucida"
    ) {
        try $0.write("/etc/lucida/lucida.toml", "[output]\nsinks = [\"file:udp://10.0.0.2:9000\"]")
    },
    Breakage(
        id: "service.reload_needed", severity: .warning,
        command: "sudo systemctl daemon-reload && sudo systemctl restart lucida"
    ) { $0.service(reload: "yes") },
    Breakage(id: "service.failed", command: "sudo systemctl restart lucida") { shop in
        shop.service(active: "activating", sub: "auto-restart")
        shop.answers["journalctl -u lucida.service -n 1"] = "error: no camera\n"
    },
    Breakage(
        id: "service.not_enabled", severity: .warning, command: "sudo systemctl enable lucida"
    ) { $0.service(file: "disabled") },
    Breakage(
        id: "service.off", severity: .warning, command: "sudo systemctl enable --now lucida"
    ) { $0.service(active: "inactive", sub: "dead", file: "disabled") },
    Breakage(
        id: "service.no_answer", severity: .warning, command: "systemctl status lucida"
    ) { $0.answers["systemctl show lucida.service"] = nil },
    Breakage(
        id: "holder.not_installed", severity: .warning,
        command: "make release && sudo make install && sudo systemctl daemon-reload && "
            + "sudo systemctl enable --now lucida-device"
    ) { $0.service(active: "inactive", sub: "dead", file: "", unit: "lucida-device", path: "") },
    Breakage(
        id: "holder.not_enabled", severity: .warning,
        command: "sudo systemctl enable lucida-device"
    ) { $0.service(file: "disabled", unit: "lucida-device") },
    Breakage(
        id: "holder.off", severity: .warning, command: "sudo systemctl enable --now lucida-device"
    ) { $0.service(active: "inactive", sub: "dead", file: "disabled", unit: "lucida-device") },
    Breakage(
        id: "holder.off", severity: .warning, command: "sudo systemctl start lucida-device"
    ) { $0.service(active: "inactive", sub: "dead", unit: "lucida-device") },
    Breakage(
        id: "holder.reload_needed", severity: .warning,
        command: "sudo systemctl daemon-reload && sudo systemctl restart lucida-device"
    ) { $0.service(reload: "yes", unit: "lucida-device") },
    Breakage(id: "holder.failed", command: "sudo systemctl restart lucida-device") { shop in
        shop.service(active: "activating", sub: "auto-restart", unit: "lucida-device")
        shop.machine.devices[1].usedBy = .nobody
        shop.machine.devices[1].isUsable = true
        shop.answers["journalctl -u lucida-device.service -n 1"] = "Error: /dev/video10\n"
    },
    Breakage(
        id: "holder.taken", command: "kill 77 && sudo systemctl restart lucida-device",
        title: "/dev/video10"
    ) { shop in
        shop.service(active: "failed", sub: "failed", unit: "lucida-device")
        try shop.process(77, "lucida", holds: "/dev/video10")
    },
    Breakage(id: "holder.taken", command: "sudo fuser -v /dev/video10") {
        $0.service(active: "failed", sub: "failed", unit: "lucida-device")
    },
    Breakage(id: "service.no_group", command: "sudo groupadd --system video") {
        try $0.write("/etc/group", "root:x:77777:")
    },
]

@Suite struct DoctorTests {
    @Test func aHealthyMachineHasNothingToMend() throws {
        let shop = try Workshop()
        let findings = shop.examine()
        #expect(findings.filter { $0.severity != .ok } == [])
        #expect(findings.allSatisfy { $0.command == nil })
        #expect(Diagnosis(findings: findings).isHealthy)
        #expect(Diagnosis(findings: findings).text.hasSuffix("\n\nNothing is wrong.\n"))
        // Every theme has been looked at.
        let themes = Set(findings.map { $0.id.split(separator: ".")[0] })
        #expect(
            themes == [
                "driver", "loopback", "camera", "cpu", "priority", "blas", "config", "model",
                "cache",
                "service", "holder",
            ])
    }

    @Test(arguments: driverBreakages + deviceBreakages + otherBreakages)
    fileprivate func whatIsBrokenIsNamedAndMended(_ breakage: Breakage) throws {
        let shop = try Workshop()
        try breakage.change(shop)
        let findings = shop.examine().filter { $0.severity != .ok }
        // That and nothing else.
        #expect(findings.map(\.id) == [breakage.id])
        let finding = try #require(findings.first)
        #expect(finding.severity == breakage.severity)
        #expect(finding.command == breakage.command)
        if let words = breakage.title { #expect(finding.title.contains(words)) }
        #expect(Diagnosis(findings: findings).isHealthy == (breakage.severity != .problem))
    }

    @Test func whoHasNotInstalledTheServiceNeedsNoHolder() throws {
        let shop = try Workshop()
        shop.service(active: "inactive", sub: "dead", file: "", path: "")
        shop.service(active: "inactive", sub: "dead", file: "", unit: "lucida-device", path: "")
        let findings = shop.examine()
        #expect(findings.filter { $0.severity != .ok } == [])
        #expect(findings.contains { $0.id == "service.not_installed" })
    }

    @Test func whoeverOnlyWritesFilesNeedsNoDevices() throws {
        let shop = try Workshop()
        try unload(shop)
        shop.machine.mayUse = { _ in false }
        shop.configuration = "[camera]\nsource = \"test\"\n[output]\nsinks = [\"null\"]"
        #expect(shop.examine().filter { $0.severity != .ok } == [])
    }

    @Test func devicesThatMayNotBeOpenedAreNotSaidToBeMissing() throws {
        let shop = try Workshop()
        for index in 0..<2 { shop.machine.devices[index].kind = .other }
        shop.machine.user = Machine.User(name: "bob", id: 1001, groups: [1001])
        shop.machine.mayUse = { !$0.contains("/video") }
        #expect(shop.examine().filter { $0.severity != .ok }.map(\.id) == ["device.group"])
    }

    @Test func lucidasOwnUseOfACameraIsNoFault() throws {
        let shop = try Workshop()
        shop.machine.devices[0].isUsable = false
        shop.machine.devices[0].usedBy = .other
        // Not everyone may see which devices the service's process has open.
        #expect(shop.examine().contains { $0.id == "camera.in_use" })
        // One in a terminal.
        shop.service(active: "inactive", sub: "dead")
        #expect(shop.examine().contains { $0.id == "camera.busy" })
        try shop.process(77, "lucida", holds: "/dev/video0")
        // Nor does it make one of an infrared sensor that nobody can use.
        shop.machine.devices.append(Workshop.camera)
        shop.machine.devices[2].path = "/dev/video2"
        shop.machine.devices[2].isUsable = false
        let cameras = shop.examine().filter { $0.id.hasPrefix("camera") }
        #expect(cameras.map(\.id) == ["camera.in_use"])
    }

    @Test func aSecondReaderIsNoFaultBefore013() throws {
        let shop = try Workshop()
        try shop.process(901, "chrome", holds: "/dev/video10")
        try shop.process(902, "zoom", holds: "/dev/video10")
        #expect(shop.examine().filter { $0.severity != .ok } == [])
    }

    @Test func ofSeveralOptionsTheLastOneCounts() throws {
        let shop = try Workshop()
        try shop.write("/etc/modprobe.d/obs.conf", "options v4l2loopback exclusive_caps=0")
        // As the finding advises.
        try shop.write("/etc/modprobe.d/zz-lucida.conf", "options v4l2loopback exclusive_caps=1")
        #expect(shop.examine().filter { $0.severity != .ok } == [])
        // One in /etc hides one of the same name.
        try shop.write(
            "/usr/lib/modprobe.d/zz-lucida.conf", "options v4l2loopback exclusive_caps=0")
        #expect(shop.examine().filter { $0.severity != .ok } == [])
        try shop.write("/usr/lib/modprobe.d/zzz.conf", "options v4l2loopback exclusive_caps=0")
        #expect(shop.examine().contains { $0.id == "driver.options" })
    }

    @Test func aDropInOpensAFolderToTheService() throws {
        let shop = try Workshop()
        try shop.write("/etc/lucida/lucida.toml", "[output]\nsinks = [\"frames:/srv/films/a\"]")
        try shop.write(
            "/etc/systemd/system/lucida.service.d/outputs.conf",
            "[Service]\nReadWritePaths=/srv/films")
        #expect(shop.examine().filter { $0.severity != .ok } == [])
    }

    @Test func aDropInGivesTheServiceANetwork() throws {
        let shop = try Workshop()
        try shop.write(
            "/etc/lucida/lucida.toml", "[output]\nsinks = [\"file:udp://10.0.0.2:9000\"]")
        try shop.write(
            "/etc/systemd/system/lucida.service.d/network.conf", "[Service]\nPrivateNetwork=no")
        #expect(shop.examine().filter { $0.severity != .ok } == [])
    }

    @Test func theConfigurationsLineIsNamed() throws {
        let shop = try Workshop()
        shop.configuration = "strenght = 1"
        let finding = try #require(shop.examine().first { $0.id == "config.invalid" })
        #expect(finding.explanation.contains("/etc/lucida/lucida.toml:4"))
        #expect(finding.explanation.contains("strenght"))
    }

    @Test func aFileInTheWayOfTheCacheIsNamed() throws {
        let shop = try Workshop()
        try shop.write("/cache")
        let finding = try #require(shop.examine().first { $0.id == "cache.not_writable" })
        #expect(finding.command == "mv \(shop.root)/cache \(shop.root)/cache.old")
    }

    @Test func nobodyIsToldToTakeWhatIsNotTheirs() throws {
        var machine = try Workshop().machine
        let home = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString).path
        for folder in ["/.cache", "/.cache/x"] {
            try FileManager.default.createDirectory(
                atPath: home + folder, withIntermediateDirectories: true)
        }
        try FileManager.default.createSymbolicLink(
            atPath: home + "/films", withDestinationPath: "/srv")
        defer { try? FileManager.default.removeItem(atPath: home) }
        machine.user.id = getuid()
        machine.environment["HOME"] = home
        #expect(machine.mayHave(home + "/.cache"))
        #expect(machine.mayHave(home + "/.cache/x"))
        for folder in ["/", "/etc", home, home + "/films", home + "/../.cache", home + "/none"] {
            #expect(!machine.mayHave(folder), "\(folder)")
        }
        machine.user.id = getuid() + 1
        #expect(!machine.mayHave(home + "/.cache"))
        machine.user.id = getuid()
        for other in ["/", "/nonexistent"] {
            machine.environment["HOME"] = other
            #expect(!machine.mayHave(home + "/.cache"), "\(other)")
        }
    }

    @Test func namesOfStrangersReachNoTerminal() throws {
        let shop = try Workshop()
        shop.machine.devices[1].card = "\u{1B}[2JEvil"
        try shop.process(901, "a\u{1B}]0;b", holds: "/dev/video10")
        let text = Diagnosis(findings: shop.examine()).text
        #expect(text.contains("Evil"))
        #expect(!text.contains("\u{1B}"))
    }

    @Test func jsonSaysTheSame() throws {
        let shop = try Workshop()
        try unload(shop)
        let diagnosis = Diagnosis(findings: shop.examine())
        let document = try #require(
            try JSONSerialization.jsonObject(with: Data(diagnosis.json().utf8)) as? [String: Any])
        #expect(document["problems"] as? Int == 1)
        #expect(document["warnings"] as? Int == 0)
        let findings = try #require(document["findings"] as? [[String: Any]])
        #expect(findings.count == diagnosis.findings.count)
        #expect(findings[0]["id"] as? String == "driver.not_loaded")
        #expect(findings[0]["command"] as? String == "sudo modprobe v4l2loopback")
    }

    @Test func programsAnswerOrAreGivenUp() {
        #expect(runSystemProgram(["echo", "two words"]) == "two words\n")
        #expect(runSystemProgram(["no-such-program-anywhere"]) == nil)
        // Endless output is cut off, and the program with it.
        #expect(runSystemProgram(["yes"]) == nil)
    }

    @Test func pathsBecomeWordsOfTheShell() {
        #expect(shellWord("/etc/a-b_c.toml") == "/etc/a-b_c.toml")
        #expect(shellWord("/a b") == "'/a b'")
        #expect(shellWord("user@1000.service") == "user@1000.service")
        #expect(shellWord("it's; rm") == "'it'\\''s; rm'")
        #expect(shellWord("") == "''")
    }
}
