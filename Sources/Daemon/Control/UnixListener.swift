// A Unix socket that listens for those who may use cameras. Control plane.

internal import CLinux
internal import FoundationEssentials
internal import Glibc

/// A listening socket, and the lock that says whose its name is.
///
/// The socket has mode 0660 and, as far as this process may, the group `video`, like the nodes of
/// cameras: who can use those may connect.
final class UnixListener {
    let path: String
    /// What to wait for.
    let descriptor: Int32
    // Held while this process serves: whose lock it is owns the name.
    private let lock: Int32

    /// Listens at `path`; what an ended process has left there is removed.
    ///
    /// - Parameters:
    ///   - type: `SOCK_STREAM` or `SOCK_SEQPACKET`.
    ///   - whenTaken: what to say where another process listens.
    /// - Throws: why that cannot be.
    init(path: String, type: __socket_type, whenTaken: String) throws(ControlError) {
        self.path = path
        let folder = URL(filePath: path).deletingLastPathComponent().path
        // Usually there; what is wrong otherwise, the lock tells.
        mkdir(folder, 0o755)
        lock = open(path + ".lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard lock >= 0 else { throw Self.failure("write", path + ".lock") }
        guard clinux_try_lock(lock) == 0 else {
            Glibc.close(lock)
            throw ControlError(whenTaken)
        }
        do throws(ControlError) {
            descriptor = try Self.listen(path, type)
        } catch {
            Glibc.close(lock)
            throw error
        }
    }

    private static func failure(_ action: String, _ path: String) -> ControlError {
        ControlError("cannot \(action) \(path): \(String(cString: strerror(errno)))")
    }

    private static func listen(_ path: String, _ type: __socket_type) throws(ControlError) -> Int32
    {
        var status = stat()
        if lstat(path, &status) == 0 {
            guard status.st_mode & S_IFMT == S_IFSOCK else {
                throw ControlError("\(path) is there already and no socket: name another path")
            }
            unlink(path)
        }
        let listener = makeUnixSocket(type, nonBlocking: true)
        guard listener >= 0 else { throw failure("make the socket", path) }
        let isBound = withSocketAddress(path) { bind(listener, $0, $1) } == 0
        guard isBound, chmod(path, 0o660) == 0, Glibc.listen(listener, 8) == 0 else {
            let error = failure("listen at", path)
            Glibc.close(listener)
            throw error
        }
        // As far as this process may. If not, the unit does it, or the socket is for its owner and
        // root.
        if let video = getgrnam("video") { _ = lchown(path, uid_t.max, video.pointee.gr_gid) }
        return listener
    }

    /// The next connection, which does not block; `nil` if nobody waits.
    func accept() -> Int32? {
        let connection = clinux_accept(descriptor)
        return connection < 0 ? nil : connection
    }

    /// Whether who is at the other end is root, our own user or in the socket's group.
    func isForPeer(of connection: Int32) -> Bool {
        var status = stat()
        let group = stat(path, &status) == 0 ? status.st_gid : nil
        return PeerCredentials(of: connection)?
            .mayControl(daemonUser: geteuid(), socketGroup: group) == true
    }

    /// Removes the socket. Once.
    func close() {
        unlink(path)
        Glibc.close(descriptor)
        Glibc.close(lock)
    }
}
