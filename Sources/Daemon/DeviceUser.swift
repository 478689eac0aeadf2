// Which programs have a device open, from /proc. Any thread.

internal import FoundationEssentials
internal import Glibc

/// A process that has a device open.
struct DeviceUser {
    let process: Int
    let name: String

    /// `chrome (process 1234)`
    var text: String { "\(name) (process \(process))" }

    /// Who has `path` open, as far as this user may see; not this process. The service may look into no
    /// other user's processes.
    ///
    /// - Parameter root: in front of every path that is read.
    static func all(of path: String, root: String = "") -> [DeviceUser] {
        func list(_ folder: String) -> [String] {
            (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
        }
        let processes = list(root + "/proc").compactMap { Int($0) }
        return processes.filter { $0 != Int(getpid()) }.sorted().compactMap { process in
            let folder = root + "/proc/\(process)"
            let hasIt = list(folder + "/fd").contains { name in
                (try? FileManager.default.destinationOfSymbolicLink(atPath: "\(folder)/fd/\(name)"))
                    == path
            }
            guard hasIt else { return nil }
            let name = try? readRegularFile(folder + "/comm", bytesMax: 4096, kind: "file")
            let line = String(decoding: name ?? [], as: UTF8.self).prefix { !$0.isNewline }
            return DeviceUser(process: process, name: line.isEmpty ? "unknown" : String(line))
        }
    }
}
