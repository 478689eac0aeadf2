// Unix stream sockets: addresses, where ours is, who is at the other end. Control plane.

internal import CLinux
internal import FoundationEssentials
internal import Glibc

/// Where the control socket is.
public enum ControlSocketPath {
    private static let ofService = "/run/lucida/control.sock"

    /// Where a daemon listens; `nil`: nowhere.
    static func listening(_ name: SocketName, environment: [String: String]) -> String? {
        switch name {
        case .off: return nil
        case .path(let path): return path
        case .auto: break
        }
        // systemd.exec(5): several folders are separated by colons.
        if let folder = environment["RUNTIME_DIRECTORY"]?.split(separator: ":").first {
            return folder + "/control.sock"
        }
        return ofUser(environment) ?? (geteuid() == 0 ? ofService : nil)
    }

    /// Where `lucida ctl` looks, first things first: what the configuration says, the user's own
    /// Lucida, the service.
    public static func candidates(
        _ configuration: Configuration?, environment: [String: String]
    ) -> [String] {
        if case .path(let path) = configuration?.control.socket { return [path] }
        return [ofUser(environment), ofService].compactMap(\.self)
    }

    private static func ofUser(_ environment: [String: String]) -> String? {
        guard let folder = environment["XDG_RUNTIME_DIR"], folder.hasPrefix("/") else { return nil }
        return folder + "/lucida/control.sock"
    }
}

/// Calls `body` with the address of a Unix socket.
///
/// - Returns: what `body` returns; -1 with `errno` if the path is too long for an address.
func withSocketAddress(
    _ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
) -> Int32 {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let bytes = Array(path.utf8)
    guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else {
        errno = ENAMETOOLONG
        return -1
    }
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
    return withUnsafePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
        }
    }
}

/// A Unix socket that is not inherited; negative with `errno` if there is none to be had.
func makeUnixSocket(_ type: __socket_type = SOCK_STREAM, nonBlocking: Bool) -> Int32 {
    let flags = Int32(O_CLOEXEC) | (nonBlocking ? Int32(O_NONBLOCK) : 0)
    return socket(AF_UNIX, Int32(type.rawValue) | flags, 0)
}

/// Who is at the other end of a connection: unix(7), SO_PEERCRED and SO_PEERGROUPS. The kernel says
/// so, as of the moment of connecting.
struct PeerCredentials {
    // struct ucred, which needs a macro to be seen.
    private struct Raw {
        var process: Int32 = 0
        var user: UInt32 = 0
        var group: UInt32 = 0
    }

    let user: uid_t
    let groups: Set<gid_t>

    private static let peerGroups: Int32 = 59

    /// `nil` if the kernel does not tell.
    init?(of connection: Int32) {
        var raw = Raw()
        var length = socklen_t(MemoryLayout<Raw>.size)
        guard getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &raw, &length) == 0 else {
            return nil
        }
        user = raw.user
        // As many as a process can have: NGROUPS_MAX.
        var list = [gid_t](repeating: 0, count: 65_536)
        length = socklen_t(list.count * MemoryLayout<gid_t>.size)
        let isKnown = getsockopt(connection, SOL_SOCKET, Self.peerGroups, &list, &length) == 0
        let count = isKnown ? Int(length) / MemoryLayout<gid_t>.size : 0
        groups = Set(list[..<count] + [raw.group])
    }

    init(user: uid_t, groups: Set<gid_t>) {
        self.user = user
        self.groups = groups
    }

    /// Root, whoever runs the daemon, and members of the socket's group may steer it.
    func mayControl(daemonUser: uid_t, socketGroup: gid_t?) -> Bool {
        user == 0 || user == daemonUser || socketGroup.map(groups.contains) == true
    }
}
