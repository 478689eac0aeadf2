// The other end of the control socket: what `lucida ctl` uses. Blocks.

internal import FoundationEssentials
internal import Glibc

/// A connection to a running Lucida.
public final class ControlClient {
    private let path: String
    private let descriptor: Int32
    private var input: [UInt8] = []

    private let timeoutSeconds: Int

    /// Connects to the first of `paths` at which there is a socket.
    ///
    /// - Parameter timeoutSeconds: for connecting, and for each answer.
    /// - Throws: why there is no connection, and what to do.
    public init(paths: [String], timeoutSeconds: Int) throws(ControlError) {
        self.timeoutSeconds = timeoutSeconds
        path = paths.first { access($0, F_OK) == 0 || errno == EACCES } ?? paths.first ?? ""
        descriptor = makeUnixSocket(nonBlocking: false)
        guard descriptor >= 0 else {
            throw ControlError("cannot make a socket: \(String(cString: strerror(errno)))")
        }
        var timeout = timeval(tv_sec: timeoutSeconds, tv_usec: 0)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            setsockopt(
                descriptor, SOL_SOCKET, option, &timeout, socklen_t(MemoryLayout<timeval>.size))
        }
        guard withSocketAddress(path, { connect(descriptor, $0, $1) }) == 0 else {
            let error = connectionError(errno, paths: paths)
            close(descriptor)
            throw error
        }
    }

    deinit { close(descriptor) }

    private func connectionError(_ code: Int32, paths: [String]) -> ControlError {
        switch code {
        case ENOENT, ECONNREFUSED, ENOTDIR:
            ControlError(
                "no Lucida is running here (nobody answers at \(paths.joined(separator: " or "))): "
                    + "start it with `sudo systemctl start lucida` or `lucida run`, "
                    + "or name its control socket with --socket")
        case EACCES, EPERM:
            ControlError(
                "permission denied for \(path): it is for its owner, root and its group. "
                    + "`sudo usermod -aG video $USER`, then log in again; or use sudo")
        case EAGAIN: timeout
        default:
            ControlError("cannot connect to \(path): \(String(cString: strerror(code)))")
        }
    }

    private var timeout: ControlError {
        ControlError(
            "no answer within \(timeoutSeconds) s from \(path): it may be busy, so try again; "
                + "`journalctl -u lucida` says what it does")
    }

    /// Asks for something and waits for the answer.
    ///
    /// - Returns: the answer, and the line as it came.
    /// - Throws: what the daemon refuses, too.
    public func ask(_ request: ControlRequest) throws(ControlError) -> (ControlReply, String) {
        let line = request.line
        guard line.count <= ControlProtocol.requestBytesMax else {
            throw ControlError(
                "a request is at most \(ControlProtocol.requestBytesMax) bytes long")
        }
        // A daemon that turns this client away has said why before it closes.
        _ = send(descriptor, line, line.count, Int32(MSG_NOSIGNAL))
        return try next()
    }

    /// The next answer, as `watch` has many.
    public func next() throws(ControlError) -> (ControlReply, String) {
        let line = try readLine()
        let data = Data(line)
        let decoder = JSONDecoder()
        guard let version = (try? decoder.decode(VersionOnly.self, from: data))?.version else {
            throw ControlError("what answers at \(path) is no Lucida")
        }
        guard version == ControlProtocol.version else {
            throw ControlError(
                "the Lucida at \(path) speaks version \(version) of the control protocol, this "
                    + "program \(ControlProtocol.version): after an update restart it, "
                    + "`sudo systemctl restart lucida`")
        }
        guard let reply = try? decoder.decode(ControlReply.self, from: data) else {
            throw ControlError("the answer from \(path) makes no sense")
        }
        guard reply.ok else { throw ControlError(reply.error ?? "refused") }
        return (reply, String(decoding: line, as: UTF8.self))
    }

    private func readLine() throws(ControlError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 1 << 14)
        while true {
            if let end = input.firstIndex(of: 0x0A) {
                defer { input.removeSubrange(...end) }
                return Array(input[..<end])
            }
            guard input.count < ControlProtocol.replyBytesMax else {
                throw ControlError("the answer from \(path) is too long: that is no Lucida")
            }
            let count = recv(descriptor, &bytes, bytes.count, 0)
            if count > 0 {
                input += bytes[..<count]
            } else if count == 0 || errno == ECONNRESET {
                throw ControlError("the Lucida at \(path) has ended the connection")
            } else if errno == EAGAIN {
                throw timeout
            } else if errno != EINTR {
                throw ControlError("cannot read from \(path): \(String(cString: strerror(errno)))")
            }
        }
    }
}
