// The writer's end of the connection to the holder of the virtual camera. One thread at a time.

internal import Glibc
internal import Realtime
internal import V4L2
internal import Video

/// A connection to `lucida device hold`. As long as it lasts, the holder leaves the device to us; when
/// it ends, in whatever way, the holder shows a card.
final class HeldDevice: @unchecked Sendable {
    /// What the holder has for us.
    enum Answer {
        /// A descriptor that is ours to close, and the device that it belongs to.
        case lent(Int32, path: String)
        /// It holds no device, and wants the one that we open.
        case nothing
        /// Another Lucida has it.
        case busy
        /// It holds another device than we want.
        case other
    }

    // Longer than the holder may have to wait for systemd.
    private static let answerMilliseconds: Int32 = 5000
    // While pictures go on, nobody can be waited for so long.
    private static let againMilliseconds: Int32 = 500
    // An app that lists cameras has closed them long before; one that films has not.
    private static let lookNanoseconds: Int64 = 2_000_000_000

    private let socket: Int32
    private var isClosed = false

    /// Connects to the holder at `path`; `nil` if nobody listens there.
    ///
    /// - Throws: `V4L2Error` if this user may not connect.
    static func connect(to path: String) throws(V4L2Error) -> HeldDevice? {
        let socket = makeUnixSocket(SOCK_SEQPACKET, nonBlocking: true)
        guard socket >= 0 else { return nil }
        if withSocketAddress(path, { Glibc.connect(socket, $0, $1) }) == 0 {
            return HeldDevice(socket: socket)
        }
        let error = errno
        Glibc.close(socket)
        guard error == EACCES || error == EPERM else { return nil }
        throw V4L2Error(operation: "borrow the virtual camera", errno: error, device: path)
    }

    private init(socket: Int32) { self.socket = socket }

    deinit { close(isOrderly: false) }

    /// Asks for the device `name`: `auto` or a path.
    func take(_ name: String) -> Answer? {
        guard let answer = ask("take \(name)") else { return nil }
        let words = answer.text.split(separator: " ", maxSplits: 1).map(String.init)
        if words.first == "lent", words.count == 2, let descriptor = answer.descriptor {
            return .lent(descriptor, path: words[1])
        }
        if let descriptor = answer.descriptor { Glibc.close(descriptor) }
        return switch words.first {
        case "nothing": .nothing
        case "busy": .busy
        case "other": .other
        default: nil
        }
    }

    /// Lets the holder close its descriptor, so that the device takes another format.
    func drop() -> Bool { ask("drop")?.text == "done" }

    /// Hands the descriptor of `output` to the holder, which keeps one of its own.
    func give(_ output: LoopbackOutput) -> Bool {
        guard let descriptor = output.descriptor else { return false }
        return ask("give \(output.path)", descriptor: descriptor)?.text == "done"
    }

    /// What became of a search for the holder of a device that is open already.
    enum Search {
        /// It keeps that opening from now on.
        case found(HeldDevice)
        /// There is one, which has another device, or does not answer.
        case refused
        /// There is none.
        case nobody
    }

    /// Finds the holder again, or one that has come since. Takes half a second at most.
    static func again(_ output: LoopbackOutput, socket: String) -> Search {
        guard let descriptor = output.descriptor, let held = try? connect(to: socket) else {
            return .nobody
        }
        let answer = held.ask(
            "again \(output.path)", descriptor: descriptor, milliseconds: againMilliseconds)
        return answer?.text == "done" ? .found(held) : .refused
    }

    /// Whether the holder is still there.
    var isThere: Bool {
        var end = pollfd(fd: socket, events: Int16(POLLIN), revents: 0)
        return poll(&end, 1, 0) == 0
    }

    /// Gives the device back. Idempotent.
    ///
    /// - Parameter isOrderly: the run has ended as it should; else the holder expects another one.
    func close(isOrderly: Bool) {
        guard !isClosed else { return }
        isClosed = true
        if isOrderly { _ = DescriptorMessage.send("stop", to: socket) }
        Glibc.close(socket)
    }

    private func ask(
        _ text: String, descriptor: Int32? = nil, milliseconds: Int32 = answerMilliseconds
    ) -> DescriptorMessage? {
        guard DescriptorMessage.send(text, descriptor: descriptor, to: socket) else { return nil }
        var answer = pollfd(fd: socket, events: Int16(POLLIN), revents: 0)
        guard poll(&answer, 1, milliseconds) > 0,
            case .message(let message) = DescriptorMessage.receive(from: socket)
        else { return nil }
        return message
    }
}

extension HeldDevice {
    /// Opens the device `name` for writing: the holder's descriptor if there is one, else anew, and
    /// then the holder gets one of it.
    ///
    /// - Returns: the device, and the connection if somebody holds it.
    /// - Throws: `V4L2Error`, as `LoopbackOutput.init`.
    static func open(
        _ name: String, format: VideoFormat, socket: String
    ) throws(V4L2Error) -> (LoopbackOutput, HeldDevice?) {
        func openAnew() throws(V4L2Error) -> LoopbackOutput {
            try LoopbackOutput(path: DeviceDirectory.loopbackPath(for: name), format: format)
        }
        guard let held = try connect(to: socket) else { return (try openAnew(), nil) }
        var device: LoopbackOutput
        switch held.take(name) {
        case .lent(let descriptor, let path):
            device = try LoopbackOutput(adopting: descriptor, path: path)
            device.isHeldElsewhere = true
            if device.format.isSamePicture(as: format) {
                device.setRate(format.frameRate)
                return (device, held)
            }
            if let readers = device.streamingReaders(), readers > 0 {
                throw V4L2Error(
                    operation: "set the format \(format)", errno: 0, device: path,
                    advice: "an app reads it as \(device.format); close that app "
                        + "(`fuser -v \(path)`), or use that format")
            }
            device.close(card: nil)
            _ = held.drop()
            device = try openReleased(path, format: format)
        case .nothing: device = try openAnew()
        case .busy:
            throw V4L2Error(
                operation: "write to it", errno: EBUSY, device: name,
                advice: "another lucida writes to the virtual camera; stop it first")
        case .other, nil: return (try openAnew(), nil)
        }
        device.isHeldElsewhere = held.give(device)
        return (device, device.isHeldElsewhere ? held : nil)
    }

    /// Opens the device that the holder has just let go. Before 0.13 the driver keeps a format for as
    /// long as anybody has the device open, be it only to look what it is, so that is waited for.
    private static func openReleased(
        _ path: String, format: VideoFormat
    ) throws(V4L2Error) -> LoopbackOutput {
        let end = MonotonicClock.nowNanoseconds + lookNanoseconds
        while true {
            do throws(V4L2Error) {
                return try LoopbackOutput(path: path, format: format)
            } catch {
                guard MonotonicClock.nowNanoseconds < end else { throw error }
                usleep(50_000)
            }
        }
    }
}

extension HeldDevice {
    /// The devices with what the holder knows of its own: to others it looks like a Lucida that writes.
    static func describe(_ devices: [DeviceReport], socket: String) -> [DeviceReport] {
        guard let held = try? connect(to: socket), let answer = held.ask("status")?.text,
            answer.hasPrefix("free ")
        else { return devices }
        let path = String(answer.dropFirst(5))
        return devices.map { device in
            guard device.path == path, device.usedBy == .lucida else { return device }
            var device = device
            device.usedBy = .nobody
            device.isUsable = true
            device.remark = "kept there by lucida-device; nobody writes to it now"
            return device
        }
    }
}

extension VideoFormat {
    fileprivate func isSamePicture(as other: VideoFormat) -> Bool {
        pixelFormat == other.pixelFormat && width == other.width && height == other.height
    }
}
