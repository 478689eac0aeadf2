// The control socket of a running Lucida. Control thread: nothing here waits.

internal import Glibc
internal import Logging
internal import Realtime

/// Listens, checks who asks, and hands each request to a function of the control thread.
///
/// The loop that owns it waits with poll(2) for `descriptors` and then calls `serve`. A client that
/// does not read, or sends without end, costs its own connection and nothing else.
final class ControlServer {
    /// More are turned away, but that one who watches has to leave for who comes: watching can wait, a
    /// pause cannot.
    static let clientsMax = 8

    private let listener: UnixListener
    private var clients: [ControlConnection] = []
    private let log: Logger

    var path: String { listener.path }

    /// Listens at `path`; what an ended process has left there is removed.
    ///
    /// - Throws: why that cannot be.
    init(path: String, log: Logger) throws(ControlError) {
        self.log = log
        listener = try UnixListener(
            path: path, type: SOCK_STREAM,
            whenTaken: "\(path) belongs to another Lucida. Give this one a path of its own, "
                + "control.socket in the configuration or --set control.socket=PATH; then `lucida ctl "
                + "status --socket PATH`")
    }

    /// Ends all connections and removes the socket.
    func close() {
        for client in clients { client.close() }
        clients.removeAll()
        listener.close()
    }

    // MARK: The loop

    /// What to wait for.
    var descriptors: [pollfd] {
        [pollfd(fd: listener.descriptor, events: Int16(POLLIN), revents: 0)]
            + clients.map(\.interest)
    }

    /// Whether a request is waiting in memory, of which poll knows nothing.
    var hasWork: Bool { clients.contains(where: \.hasRequest) }

    /// Takes one request of each client that has one, and sends what can be sent.
    ///
    /// - Parameters:
    ///   - now: `CLOCK_MONOTONIC` nanoseconds.
    ///   - answer: carries a request out. `watch` is answered like `status`, again and again.
    func serve(at now: Int64, _ answer: (ControlRequest) -> ControlReply) {
        for client in clients { client.serve(at: now, answer) }
        for client in clients where client.isOver { client.close() }
        clients.removeAll(where: \.isOver)
        // Those who come now are served the next time, which is at once if they have asked already.
        acceptAll(at: now)
    }

    private func acceptAll(at now: Int64) {
        // Those beyond the limit are told so; a flood of them waits for the next round.
        for _ in 0..<2 * Self.clientsMax {
            guard let descriptor = listener.accept() else { return }
            let client = ControlConnection(descriptor, at: now)
            if let refusal = refusal(of: descriptor) {
                client.refuse(refusal)
                client.close()
            } else {
                clients.append(client)
            }
        }
    }

    /// The one that has watched longest.
    private func turnOutWatcher() {
        guard let index = clients.firstIndex(where: \.isWatching) else { return }
        let client = clients.remove(at: index)
        client.refuse("too many clients: this one had to leave for another")
        client.close()
    }

    private func refusal(of descriptor: Int32) -> String? {
        guard listener.isForPeer(of: descriptor) else {
            log.warning("control socket: a user who may not was turned away")
            return "permission denied: \(Self.whoMay)"
        }
        if clients.count == Self.clientsMax { turnOutWatcher() }
        guard clients.count < Self.clientsMax else {
            return "\(Self.clientsMax) clients are connected already: end one, or try again later"
        }
        return nil
    }

    static let whoMay =
        "only root, the user who runs Lucida, and members of the socket's group may control it"
}

/// One client: what it has sent, and what it has not read yet.
private final class ControlConnection {
    private(set) var isOver = false
    private let descriptor: Int32
    private var input: [UInt8] = []
    private var output: [UInt8] = []
    private var watchNanoseconds: Int64?
    private var nextStatus: Int64 = 0
    private var lastProgress: Int64
    private var hasEnded = false

    /// Who neither asks nor reads for so long is turned out.
    private static let idleNanoseconds: Int64 = 10_000_000_000

    init(_ descriptor: Int32, at now: Int64) {
        self.descriptor = descriptor
        lastProgress = now
    }

    func close() { Glibc.close(descriptor) }

    /// A client with an unread reply is not read from.
    var interest: pollfd {
        pollfd(
            fd: descriptor, events: Int16(output.isEmpty ? POLLIN : POLLOUT), revents: 0)
    }

    var isWatching: Bool { watchNanoseconds != nil }

    var hasRequest: Bool { output.isEmpty && input.contains(0x0A) }

    /// Sends a last word, if that goes without waiting, and not into the middle of another.
    func refuse(_ text: String) {
        guard output.isEmpty else { return }
        output = ControlReply.refused(text).line
        flush(at: 0)
    }

    func serve(at now: Int64, _ answer: (ControlRequest) -> ControlReply) {
        flush(at: now)
        if output.isEmpty { read(at: now) }
        if output.isEmpty { takeRequest(at: now, answer) }
        if output.isEmpty, let watchNanoseconds, now >= nextStatus {
            nextStatus = now + watchNanoseconds
            say(answer(.status), at: now)
        }
        let isIdle = watchNanoseconds == nil || !output.isEmpty
        if isIdle && now - lastProgress > Self.idleNanoseconds { isOver = true }
        if hasEnded && output.isEmpty && !hasRequest { isOver = true }
    }

    private func read(at now: Int64) {
        let room = ControlProtocol.requestBytesMax - input.count
        guard room > 0, !hasEnded, !input.contains(0x0A) else { return }
        var bytes = [UInt8](repeating: 0, count: room)
        let count = recv(descriptor, &bytes, room, 0)
        if count > 0 {
            input += bytes[..<count]
        } else if count == 0 || ![EAGAIN, EINTR].contains(errno) {
            hasEnded = true
        }
    }

    private func takeRequest(at now: Int64, _ answer: (ControlRequest) -> ControlReply) {
        guard let end = input.firstIndex(of: 0x0A) else {
            if input.count >= ControlProtocol.requestBytesMax {
                refuse("a request is at most \(ControlProtocol.requestBytesMax) bytes long")
                isOver = true
            }
            return
        }
        let line = Array(input[..<end])
        input.removeSubrange(...end)
        lastProgress = now
        do throws(ControlError) {
            let request = try ControlRequest(line: line)
            if case .watch(let interval) = request {
                watchNanoseconds = Int64(interval * 1e9)
                nextStatus = now
            } else {
                say(answer(request), at: now)
            }
        } catch {
            say(.refused(error.description), at: now)
        }
    }

    private func say(_ reply: ControlReply, at now: Int64) {
        output = reply.line
        flush(at: now)
    }

    private func flush(at now: Int64) {
        guard !output.isEmpty else { return }
        let count = send(descriptor, output, output.count, Int32(MSG_NOSIGNAL | MSG_DONTWAIT))
        if count > 0 {
            output.removeFirst(count)
            lastProgress = now
        } else if ![EAGAIN, EINTR].contains(errno) {
            isOver = true
        }
    }
}
