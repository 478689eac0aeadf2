// Open descriptors that systemd hands to a starting service: sd_listen_fds(3). Control thread.

internal import Glibc

/// What LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES say.
enum PassedDescriptors {
    private static let first: Int32 = 3
    // systemd allows no more either: FileDescriptorStoreMax of a unit is far below.
    private static let countMax = 1024

    /// The descriptors with the name `name`, in their order.
    ///
    /// - Parameters:
    ///   - environment: the process's environment.
    ///   - process: this process; variables meant for another one, such as a parent, count for nothing.
    static func named(
        _ name: String, environment: [String: String], process: Int32
    ) -> [Int32] {
        all(environment: environment, process: process).filter { $0.name == name }
            .map(\.descriptor)
    }

    /// Takes over the open ones called `name`, closed at exec from now on, and closes the others.
    static func take(_ name: String, environment: [String: String]) -> [Int32] {
        var taken: [Int32] = []
        for passed in all(environment: environment, process: getpid()) {
            guard fcntl(passed.descriptor, F_SETFD, FD_CLOEXEC) == 0 else { continue }
            if passed.name == name {
                taken.append(passed.descriptor)
            } else {
                close(passed.descriptor)
            }
        }
        return taken
    }

    private static func all(
        environment: [String: String], process: Int32
    ) -> [(descriptor: Int32, name: String)] {
        guard environment["LISTEN_PID"].flatMap({ Int32($0) }) == process,
            let count = environment["LISTEN_FDS"].flatMap({ Int($0) }),
            (1...countMax).contains(count)
        else { return [] }
        let names =
            environment["LISTEN_FDNAMES"]?
            .split(separator: ":", omittingEmptySubsequences: false).map(String.init) ?? []
        return (0..<count).map { index in
            (first + Int32(index), index < names.count ? names[index] : "unknown")
        }
    }
}
