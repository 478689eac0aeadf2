// The facts that `lucida doctor` judges: files below a root, answers of programs, devices. Tests build
// machines of their own in a folder. Control thread.

internal import FoundationEssentials
internal import Glibc
internal import NeuralEngine
internal import Realtime
internal import V4L2

/// A machine as the checks see it; the defaults are this one.
struct Machine {
    /// In front of every path; a folder that stands for `/`, or empty.
    var root = ""
    var environment: [String: String]
    /// What `uname -r` says.
    var kernel: String
    var user: User
    var devices: [DeviceReport]
    /// The configuration in force, or why there is none.
    var configuration: Result<LoadedConfiguration, ConfigurationError>
    /// Processors that this process may run on; nil: not known.
    var processors: Set<Int>?
    /// Runs a program of the system; nil if it is not there or does not end.
    var run: ([String]) -> String?
    /// Whether this user may open a path below the root for reading and writing.
    var mayUse: (String) -> Bool
    /// Loads OpenBLAS: the kernel family it uses.
    var loadBLAS: () throws(EngineError) -> String
    /// This program.
    var program: String
    /// What systemd says of the service, asked once; empty before.
    var serviceState: [String: String] = [:]
    /// The same of the one that keeps the virtual camera there.
    var holderState: [String: String] = [:]

    /// Who runs the doctor.
    struct User {
        var name: String
        var id: UInt32
        /// Those of this login, which may be older than /etc/group.
        var groups: Set<UInt32>
    }

    /// This machine, looked at now.
    static func current(configPath: String?, environment: [String: String]) -> Machine {
        Machine(
            environment: environment, kernel: kernelRelease(), user: .current,
            devices: HeldDevice.describe(
                DeviceDirectory.devices(), socket: HolderSocketPath.of(environment)),
            configuration: loadConfiguration(configPath, environment),
            processors: ProcessorAffinity.current, run: runSystemProgram,
            mayUse: { access($0, R_OK | W_OK) == 0 },
            loadBLAS: { () throws(EngineError) in try Backend.shared().blasCore },
            program: (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe"))
                ?? "")
    }

    private static func loadConfiguration(
        _ path: String?, _ environment: [String: String]
    ) -> Result<LoadedConfiguration, ConfigurationError> {
        do throws(ConfigurationError) {
            return .success(
                try Configuration.load(explicitPath: path, environment: environment))
        } catch {
            return .failure(error)
        }
    }

    // MARK: Files

    /// The text of a small file, without the last newline; nil if it cannot be read.
    func read(_ path: String) -> String? {
        readBytes(path).map {
            var text = String(decoding: $0, as: UTF8.self)
            while text.last?.isNewline == true { text.removeLast() }
            return text
        }
    }

    func readBytes(_ path: String) -> [UInt8]? {
        try? readRegularFile(root + path, bytesMax: 4 << 20, kind: "file")
    }

    func exists(_ path: String) -> Bool { access(root + path, F_OK) == 0 }

    /// Names in a folder, sorted; empty if it cannot be read.
    func list(_ folder: String) -> [String] {
        ((try? FileManager.default.contentsOfDirectory(atPath: root + folder)) ?? []).sorted()
    }

    /// What a symbolic link says.
    func link(_ path: String) -> String? {
        try? FileManager.default.destinationOfSymbolicLink(atPath: root + path)
    }

    /// Permission bits and group of a file.
    func permissions(_ path: String) -> (mode: UInt32, group: UInt32)? {
        var status = stat()
        guard stat(root + path, &status) == 0 else { return nil }
        return (status.st_mode & 0o777, status.st_gid)
    }

    /// A group of /etc/group.
    struct Group {
        let name: String
        let id: UInt32
        let members: [String]
    }

    var groups: [Group] {
        (read("/etc/group") ?? "").split(separator: "\n").compactMap { line in
            let fields = line.split(separator: ":", omittingEmptySubsequences: false)
            guard fields.count >= 4, let id = UInt32(fields[2]) else { return nil }
            return Group(
                name: String(fields[0]), id: id,
                members: fields[3].split(separator: ",").map(String.init))
        }
    }

    // MARK: Programs that hold a device

    /// Who has `path` open, as far as this user may see; not this process.
    func holders(of path: String) -> [DeviceUser] { DeviceUser.all(of: path, root: root) }

    // MARK: The configuration

    /// The settings; the defaults where there is no configuration that can be used.
    var settings: Configuration {
        (try? configuration.get().configuration) ?? Configuration()
    }

    /// Whether pictures go to a virtual camera.
    var wantsLoopback: Bool {
        settings.output.sinks.contains {
            switch $0 {
            case .auto, .device: true
            case .null, .file, .frames: false
            }
        }
    }

    /// Whether pictures come from a camera.
    var wantsCamera: Bool {
        switch settings.camera.source {
        case .auto, .device: true
        case .test, .file: false
        }
    }
}

extension Machine.User {
    fileprivate static var current: Machine.User {
        let id = geteuid()
        var groups = [gid_t](repeating: 0, count: 1 << 10)
        let count = max(0, Int(getgroups(Int32(groups.count), &groups)))
        let name = getpwuid(id).map { String(cString: $0.pointee.pw_name) }
        return Machine.User(
            name: name ?? "\(id)", id: id, groups: Set(groups[..<count] + [getegid()]))
    }
}

private func kernelRelease() -> String {
    var names = utsname()
    guard uname(&names) == 0 else { return "unknown" }
    return withUnsafeBytes(of: names.release) {
        String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
    }
}

/// A path as a word of a shell command.
func shellWord(_ text: String) -> String {
    let isPlain = text.utf8.allSatisfy {
        switch $0 {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "/"), UInt8(ascii: "."),
            UInt8(ascii: "_"), UInt8(ascii: "-"), UInt8(ascii: "+"), UInt8(ascii: "="),
            UInt8(ascii: ":"), UInt8(ascii: "@"):
            true
        default: false
        }
    }
    if isPlain && !text.isEmpty { return text }
    return "'"
        + text.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''")
        + "'"
}
