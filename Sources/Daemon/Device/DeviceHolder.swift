// Keeps the virtual camera there, and shows a card, while no Lucida writes to it. A process of its
// own, one thread.

internal import Glibc
public import Logging
internal import Pipeline
internal import Realtime
internal import V4L2
internal import Video

/// `lucida device hold`: has the device open as its writer from boot on, lends a descriptor of that
/// opening to whoever runs, and takes over in the moment in which that one goes, in whatever way.
///
/// To the driver the writer never changes, so that apps keep their stream (docs/device.md has what
/// each driver does otherwise). The descriptor lies in systemd's store as well, for the holder's own
/// restarts.
public final class DeviceHolder {
    /// Its name in the file descriptor store.
    static let storedName = "lucida-writer"

    private static let cardMilliseconds = 250
    private static let retryMilliseconds = 1000
    /// How long after a start, or after a Lucida that died, another one is expected.
    private static let expectingNanoseconds: Int64 = 30_000_000_000

    private let deviceName: String
    private let wanted: VideoFormat
    private let log: Logger
    private let notifier: ServiceNotifier
    private let environment: [String: String]
    private let listener: HolderListener
    private var held: HeldOutput?
    private var use = Use.nobody
    private var expectingUntil: Int64
    // Whether it was said already that the device cannot be opened.
    private var lastFailure = ""
    // At the start.
    private var attemptsLeft = 5
    private var nextAttempt: Int64 = 0

    /// Who writes.
    private enum Use: Equatable {
        /// Nobody but us.
        case nobody
        /// Whoever is at the other end of this connection.
        case borrower(Int32)
        /// Somebody who has borrowed from the holder that was there before us.
        case unknown
    }

    /// A holder that holds nothing yet.
    ///
    /// - Parameters:
    ///   - configuration: says which device, in which format and size.
    ///   - environment: `NOTIFY_SOCKET`, `LISTEN_FDS`, `RUNTIME_DIRECTORY`, `LUCIDA_DEVICE_SOCKET`.
    /// - Throws: `ControlError` if no virtual camera is configured or another holder runs.
    public init(
        configuration: Configuration, environment: [String: String], log: Logger
    ) throws(ControlError) {
        guard let name = configuration.loopbackName else {
            throw ControlError("no virtual camera is wanted: output.sinks names none")
        }
        deviceName = name
        wanted = configuration.loopbackFormat
        self.environment = environment
        self.log = log
        notifier = ServiceNotifier(environment: environment)
        listener = try HolderListener(path: HolderSocketPath.listening(environment))
        expectingUntil = MonotonicClock.nowNanoseconds + Self.expectingNanoseconds
    }

    /// Runs until SIGTERM or SIGINT. Call from the main thread.
    ///
    /// - Throws: `V4L2Error` if the device cannot be held at the start.
    public func run() throws {
        let signals = SignalWaiter()
        defer { signals.release() }
        takeFromStore()
        var isReady = false
        var isStopping = false
        while !isStopping {
            if held == nil { try openAtStart() }
            if !isReady && held != nil {
                isReady = true
                notifier.ready(status)
            }
            wait(signals)
            while let signal = signals.wait(milliseconds: 0) {
                // The configuration counts at the start alone; a hang-up changes nothing.
                if signal != SIGHUP { isStopping = true }
            }
            listener.serve(borrower: { borrower }) {
                answer($0, from: $1)
            } ended: {
                end(of: $0, isOrderly: $1)
            }
            tick()
        }
        notifier.stopping()
        leave()
    }

    // MARK: The device

    /// The opening that the holder before us had, if there is one and it is alive.
    private func takeFromStore() {
        for descriptor in PassedDescriptors.take(Self.storedName, environment: environment) {
            guard held == nil else {
                close(descriptor)
                continue
            }
            guard let path = DevicePath.of(descriptor) else {
                close(descriptor)
                log.warning("the device in the file descriptor store is gone")
                notifier.removeStored(Self.storedName)
                continue
            }
            do {
                let output = try LoopbackOutput(adopting: descriptor, path: path)
                keep(try HeldOutput(output))
                use = output.isWrittenElsewhere() ? .unknown : .nobody
            } catch {
                log.warning("what was in the file descriptor store is of no use: \(error)")
                notifier.removeStored(Self.storedName)
            }
        }
        guard held != nil else { return }
        log.info("\(status), as before")
        if use == .nobody { show(.all) }
    }

    /// Tries once, if it is time to. udev may need a moment for the permissions of a node that is new,
    /// and a Lucida that has the device open comes within a second and lends it to us.
    private func openAtStart() throws {
        let now = MonotonicClock.nowNanoseconds
        guard now >= nextAttempt, use == .nobody else { return }
        do {
            try open(wanted)
        } catch let error as V4L2Error where attemptsLeft > 0 && error.mayPass {
            attemptsLeft -= 1
            nextAttempt = now + Int64(Self.retryMilliseconds) * 1_000_000
        }
    }

    private func open(_ format: VideoFormat) throws {
        let path = try DeviceDirectory.loopbackPath(for: deviceName)
        keep(try HeldOutput(LoopbackOutput(path: path, format: format)))
        show(.all)
        log.info("\(status)")
        if held?.output.presentCapabilities()?.isOutput == true {
            log.warning(
                """
                \(path) offers output beside capture, so apps like Chrome hide it: load \
                v4l2loopback with exclusive_caps=1
                """)
        }
    }

    private func keep(_ new: HeldOutput) {
        held = new
        if let descriptor = new.output.descriptor {
            notifier.store(descriptor, name: Self.storedName)
        }
    }

    /// Leaves the device as its last writer does, the store's descriptor first: whoever wants another
    /// format must find a device that nobody writes to. The old format is still known afterwards: it
    /// is what to go back to.
    private func drop() {
        notifier.removeStored(Self.storedName)
        held?.close(card: .starting)
    }

    private var status: String {
        guard let held, held.isOpen else { return "holds no device" }
        return "holds \(held.output.path) (\(held.output.card)): \(held.output.format)"
    }

    private func leave() {
        guard let held, held.isOpen else { return }
        let isOurs = use == .nobody
        held.output.isHeldElsewhere = !isOurs
        // After a restart the next holder goes on with what systemd has kept.
        held.close(card: isOurs ? .off : nil, isLast: false)
    }

    // MARK: Borrowers

    private func answer(_ message: DescriptorMessage, from client: Int32) -> HolderReply {
        let words = message.text.split(separator: " ", maxSplits: 1).map(String.init)
        let isBorrower = use == .borrower(client)
        switch (words.first, words.count) {
        case ("take", 2): return lend(words[1], to: client)
        case ("status", 1):
            return HolderReply(text: (use == .nobody ? "free " : "lent ") + path)
        case ("drop", 1) where isBorrower:
            drop()
            return HolderReply(text: "done")
        case ("give", 2) where isBorrower:
            guard adopt(message.descriptor, path: words[1]) else { return .refused }
            // An app that comes before the first frame finds a camera, too.
            show(.all)
            return HolderReply(text: "done")
        case ("again", 2): return takeBack(message.descriptor, path: words[1], from: client)
        default: return .refused
        }
    }

    private var path: String { held?.output.path ?? "" }

    private var borrower: Int32? {
        if case .borrower(let client) = use { client } else { nil }
    }

    private func lend(_ name: String, to client: Int32) -> HolderReply {
        if use == .unknown { lookWhoWrites() }
        guard use == .nobody else { return HolderReply(text: "busy") }
        let ours = held?.isOpen == true ? path : deviceName
        guard name == "auto" || ours == "auto" || DevicePath.isSame(name, ours) else {
            return HolderReply(text: "other")
        }
        guard let held, held.isOpen, let descriptor = held.output.descriptor else {
            use = .borrower(client)
            return HolderReply(text: "nothing")
        }
        use = .borrower(client)
        log.info("a lucida writes to \(path)")
        return HolderReply(text: "lent \(path)", descriptor: descriptor)
    }

    /// Keeps a descriptor of an opening that is not ours.
    ///
    /// - Returns: whether it is of the device that is wanted, and none is held already.
    private func adopt(_ descriptor: Int32?, path: String) -> Bool {
        let isWanted = deviceName == "auto" || DevicePath.isSame(path, deviceName)
        guard let descriptor, isWanted, held?.isOpen != true else { return false }
        let own = dup(descriptor)
        guard own >= 0, fcntl(own, F_SETFD, FD_CLOEXEC) == 0 else { return false }
        do {
            keep(try HeldOutput(LoopbackOutput(adopting: own, path: path)))
            log.info("\(status), as a lucida has opened it")
            return true
        } catch {
            log.warning("\(error)")
            return false
        }
    }

    /// Somebody has borrowed from the holder before us, or opened the device while there was none.
    private func takeBack(
        _ descriptor: Int32?, path: String, from client: Int32
    ) -> HolderReply {
        guard use == .nobody || use == .unknown else { return HolderReply(text: "busy") }
        if held?.isOpen == true {
            guard DevicePath.isSame(path, self.path) else { return HolderReply(text: "other") }
        } else if !adopt(descriptor, path: path) {
            return .refused
        }
        use = .borrower(client)
        log.info("a lucida that was here before writes to \(self.path)")
        return HolderReply(text: "done")
    }

    private func end(of client: Int32, isOrderly: Bool) {
        guard use == .borrower(client) else { return }
        use = .nobody
        let now = MonotonicClock.nowNanoseconds
        expectingUntil = isOrderly ? now : now + Self.expectingNanoseconds
        log.info(
            isOrderly ? "the lucida has stopped" : "the lucida has died; a card is shown instead")
        held?.output.resume()
        // Until now the driver's buffers may hold pictures.
        show(.all)
    }

    // MARK: Cards

    private enum Extent {
        /// One picture, for readers that wait for one.
        case one
        /// All buffers of the driver: none may hold an older picture.
        case all
    }

    private func show(_ extent: Extent) {
        guard let held, held.isOpen else { return }
        let card: HeldOutput.Placeholder =
            MonotonicClock.nowNanoseconds < expectingUntil ? .starting : .off
        if !held.show(card, inAllBuffers: extent == .all) {
            log.error("\(held.output.lastError.map { "\($0)" } ?? "\(path) is gone")")
            drop()
        }
    }

    private func tick() {
        switch use {
        case .borrower: return
        case .unknown: lookWhoWrites()
        case .nobody:
            guard held != nil else { return }
            if held?.isOpen != true { reopen() }
            if held?.isWatched == true { show(.one) }
        }
    }

    /// Whether the one who has borrowed from the holder before us has gone without a word.
    private func lookWhoWrites() {
        guard let held, !held.output.isWrittenElsewhere() else { return }
        use = .nobody
        held.output.resume()
        show(.all)
    }

    private func reopen() {
        do {
            try open(held?.output.format ?? wanted)
            lastFailure = ""
        } catch {
            if lastFailure != "\(error)" { log.warning("\(error)") }
            lastFailure = "\(error)"
        }
    }

    private func wait(_ signals: SignalWaiter) {
        var descriptors = [pollfd(fd: signals.descriptor, events: Int16(POLLIN), revents: 0)]
        descriptors += listener.descriptors
        var milliseconds = Int32(-1)
        if use == .unknown || held?.isOpen != true {
            milliseconds = Int32(Self.retryMilliseconds)
        } else if use == .nobody, let held {
            // An app that comes or goes is an event of the driver, where that has any.
            descriptors.append(
                pollfd(fd: held.output.descriptor ?? -1, events: Int16(POLLPRI), revents: 0))
            if held.isWatched { milliseconds = Int32(Self.cardMilliseconds) }
        }
        poll(&descriptors, nfds_t(descriptors.count), milliseconds)
    }
}

/// The open device with what can be shown on it.
private final class HeldOutput {
    enum Placeholder { case starting, off }

    let output: LoopbackOutput
    var isOpen = true
    private let picture: LoopbackPicture
    private let starting: FrameBuffer
    private let off: FrameBuffer

    init(_ output: LoopbackOutput) throws {
        self.output = output
        var format = output.format
        format.pixelFormat = .rgb24
        format.colorRange = .full
        picture = try LoopbackPicture(from: format, to: output.format)
        starting = FrameBuffer(format: format)
        off = FrameBuffer(format: format)
        Card.draw("One moment", into: starting)
        Card.draw("Lucida is off", into: off)
    }

    /// Whether an app reads, or it cannot be told.
    var isWatched: Bool { isOpen && output.streamingReaders() != 0 }

    /// - Returns: whether the device is still there.
    func show(_ card: Placeholder, inAllBuffers: Bool) -> Bool {
        guard let bytes = bytes(card) else { return true }
        return (inAllBuffers ? output.overwriteAll(with: bytes) : output.write(bytes)) != .lost
    }

    func close(card: Placeholder?, isLast: Bool = true) {
        isOpen = false
        output.close(card: card.flatMap(bytes), isLast: isLast)
    }

    private func bytes(_ card: Placeholder) -> UnsafeRawBufferPointer? {
        picture.encode(card == .off ? off : starting)
    }
}

extension V4L2Error {
    /// Whether it may be otherwise in a second: a node that udev has not seen yet, a Lucida that is
    /// just leaving.
    fileprivate var mayPass: Bool {
        [EACCES, EPERM, ENOENT, ENODEV, EBUSY].contains(errno)
            && access("/sys/module/v4l2loopback", F_OK) == 0
    }
}

extension Configuration {
    /// The virtual camera in `output.sinks`, as `auto` or a path; nil: none.
    public var loopbackName: String? {
        output.sinks.lazy.compactMap {
            switch $0 {
            case .auto: "auto"
            case .device(let path): path
            case .null, .file, .frames: nil
            }
        }.first
    }

    /// What a virtual camera has until a Lucida that runs wants something else.
    var loopbackFormat: VideoFormat {
        VideoFormat(
            pixelFormat: .rgb24, width: frameSize?.width ?? camera.width,
            height: frameSize?.height ?? camera.height, frameRate: camera.frameRate
        ).onLoopback(output.pixelFormat)
    }
}
