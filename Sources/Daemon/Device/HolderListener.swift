// The socket of the holder of the virtual camera, and who is connected to it. One thread.

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
/// Who may open the device may borrow it. A message is one packet of at most 512 bytes, nothing is kept
/// between two of them, and nobody is waited for: who connects and says nothing has to leave for who
/// comes later.
final class HolderListener {
    static let clientsMax = 8

    private let listener: UnixListener
    // Those who have been here longest first.
    private var clients: [Int32] = []

    /// Listens at `path`. What an ended process has left there is removed.
    ///
    /// - Throws: why that cannot be.
    init(path: String) throws(ControlError) {
        listener = try UnixListener(
            path: path, type: SOCK_SEQPACKET,
            whenTaken: "another lucida holds the virtual camera already (\(path))")
    }

    deinit {
        for client in clients { Glibc.close(client) }
        listener.close()
    }

    /// What to wait for.
    var descriptors: [pollfd] {
        ([listener.descriptor] + clients).map {
            pollfd(fd: $0, events: Int16(POLLIN), revents: 0)
        }
    }

    /// Answers what has come, and says who has gone.
    ///
    /// - Parameters:
    ///   - borrower: the client that may stay for as long as it likes.
    ///   - answer: what to say to a message of a client.
    ///   - ended: a client has gone, in order or not.
    func serve(
        borrower: () -> Int32?, _ answer: (DescriptorMessage, Int32) -> HolderReply,
        ended: (Int32, Bool) -> Void
    ) {
        for client in clients { serve(client, answer, ended) }
        // So many at a time, lest those who come without end keep the others waiting.
        for _ in 0..<Self.clientsMax {
            guard let client = listener.accept() else { return }
            guard listener.isForPeer(of: client) else {
                Glibc.close(client)
                continue
            }
            if clients.count == Self.clientsMax,
                let silent = clients.first(where: { $0 != borrower() })
            {
                end(silent, isOrderly: false, ended)
            }
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
    /// The node of an open video device; nil if it has gone since. By its number: the name that
    /// /proc has for it is one of the mount namespace that it was opened in, which ends with a service.
    static func of(_ descriptor: Int32) -> String? {
        var own = stat()
        guard fstat(descriptor, &own) == 0, own.st_mode & S_IFMT == S_IFCHR else { return nil }
        let names = (try? FileManager.default.contentsOfDirectory(atPath: "/dev")) ?? []
        return names.lazy.filter { $0.hasPrefix("video") }.map { "/dev/" + $0 }.first {
            var node = stat()
            return stat($0, &node) == 0 && node.st_rdev == own.st_rdev
        }
    }

    /// Whether both are the same device.
    static func isSame(_ first: String, _ second: String) -> Bool {
        var (one, other) = (stat(), stat())
        return stat(first, &one) == 0 && stat(second, &other) == 0 && one.st_rdev == other.st_rdev
    }
}
