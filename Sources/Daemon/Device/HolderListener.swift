// The socket of the holder of the virtual camera, and who is connected to it. One thread.

internal import CLinux
internal import FoundationEssentials
internal import Glibc

/// An answer to a borrower.
struct HolderReply {
    var text: String
    var descriptor: Int32?

    static let refused = HolderReply(text: "refused")
}

/// Accepts borrowers and carries their messages; what those mean is the holder's.
///
/// Who may open the device may borrow it: the socket has the mode and the group of the node, 0660
/// and `video`. A message is one packet of at most 512 bytes, nothing is kept between two of them, and
/// nobody is waited for.
final class HolderListener {
    private static let clientsMax = 8

    private let path: String
    private let listener: Int32
    private let lock: Int32
    private var clients: [Int32] = []

    /// Listens at `path`. What an ended process has left there is removed.
    ///
    /// - Throws: why that cannot be.
    init(path: String) throws(ControlError) {
        self.path = path
        mkdir(URL(filePath: path).deletingLastPathComponent().path, 0o755)
        lock = open(path + ".lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard lock >= 0 else { throw Self.failure("write", path + ".lock") }
        guard clinux_try_lock(lock) == 0 else {
            Glibc.close(lock)
            throw ControlError("another lucida holds the virtual camera already (\(path))")
        }
        unlink(path)
        listener = DescriptorMessage.makeSocket()
        let isBound =
            listener >= 0 && withSocketAddress(path) { bind(listener, $0, $1) } == 0
        guard isBound, chmod(path, 0o660) == 0, listen(listener, 8) == 0 else {
            let error = Self.failure("listen at", path)
            if listener >= 0 { Glibc.close(listener) }
            Glibc.close(lock)
            throw error
        }
        // In the service the group is this process's own; elsewhere as far as it may.
        if let video = getgrnam("video") { _ = lchown(path, uid_t.max, video.pointee.gr_gid) }
    }

    deinit {
        for client in clients { Glibc.close(client) }
        unlink(path)
        Glibc.close(listener)
        Glibc.close(lock)
    }

    private static func failure(_ action: String, _ path: String) -> ControlError {
        ControlError("cannot \(action) \(path): \(String(cString: strerror(errno)))")
    }

    /// What to wait for.
    var descriptors: [pollfd] {
        let all = (clients.count < Self.clientsMax ? [listener] : []) + clients
        return all.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
    }

    /// Answers what has come, and says who has gone.
    ///
    /// - Parameters:
    ///   - answer: what to say to a message of a client.
    ///   - ended: a client has gone, in order or not.
    func serve(
        _ answer: (DescriptorMessage, Int32) -> HolderReply,
        ended: (Int32, Bool) -> Void
    ) {
        for client in clients { serve(client, answer, ended) }
        // Those who wait longest go first, beyond the limit none.
        while clients.count < Self.clientsMax {
            let client = clinux_accept(listener)
            guard client >= 0 else { return }
            clients.append(client)
            serve(client, answer, ended)
        }
    }

    private func serve(
        _ client: Int32, _ answer: (DescriptorMessage, Int32) -> HolderReply,
        _ ended: (Int32, Bool) -> Void
    ) {
        // So many at a time, lest one that talks without end keep the others out.
        for _ in 0..<4 {
            switch DescriptorMessage.receive(from: client) {
            case .nothing: return
            case .end: return end(client, isOrderly: false, ended)
            case .message(let message):
                defer { message.descriptor.map { _ = Glibc.close($0) } }
                if message.text == "stop" { return end(client, isOrderly: true, ended) }
                let reply = answer(message, client)
                guard
                    DescriptorMessage.send(
                        reply.text, descriptor: reply.descriptor, to: client)
                else { return end(client, isOrderly: false, ended) }
            }
        }
    }

    private func end(_ client: Int32, isOrderly: Bool, _ ended: (Int32, Bool) -> Void) {
        clients.removeAll { $0 == client }
        ended(client, isOrderly)
        Glibc.close(client)
    }
}

/// Paths of devices.
enum DevicePath {
    /// The node that a descriptor was opened by; nil if it has gone since.
    static func of(_ descriptor: Int32) -> String? {
        let path = try? FileManager.default.destinationOfSymbolicLink(
            atPath: "/proc/self/fd/\(descriptor)")
        return path.flatMap { $0.hasPrefix("/dev/") && access($0, F_OK) == 0 ? $0 : nil }
    }

    /// Whether both are the same device.
    static func isSame(_ first: String, _ second: String) -> Bool {
        var (one, other) = (stat(), stat())
        return stat(first, &one) == 0 && stat(second, &other) == 0 && one.st_rdev == other.st_rdev
    }
}
