// The virtual camera as a sink: conversion or JPEG, then the loopback's write protocol.

internal import Glibc
internal import Logging
internal import Pipeline
internal import Realtime
internal import Synchronization
internal import V4L2
internal import Video

/// `--sink v4l2:PATH` and `--sink auto`. Nothing but transformed frames and cards is ever written,
/// and on exit every buffer of the device is overwritten with a card.
final class LoopbackSink: FrameSink, @unchecked Sendable {
    // Control thread only.
    private(set) var name: String
    let isWatched = true
    private let deviceName: String
    private let pixelFormat: PixelFormat
    private let holderSocket: String
    private let log: Logger
    // Control thread while closed, output thread while open.
    private var device: LoopbackOutput?
    private var picture: LoopbackPicture?
    // Control thread while it looks for the holder, output thread when it is done.
    private let keeping = Mutex(Keeping())
    // Control thread.
    private var nextLook: Int64 = 0
    private var exitCard: FrameBuffer?
    // The card that was overwritten with, as long as the encoder's buffer holds it.
    private var shownCard: (card: FrameBuffer, bytes: UnsafeRawBufferPointer)?
    /// The device, once prepared. Control thread only.
    private(set) var path: String?

    /// Who keeps the device there when we have gone.
    private struct Keeping: Sendable {
        /// nil: nobody.
        var holder: HeldDevice?
        /// What the holder has a descriptor of, or shall have; nil once closed.
        var device: LoopbackOutput?
        /// Whether a holder has, or has had, one: then the end of this opening is not ours to decide.
        var isShared = false
    }

    private static let lookNanoseconds: Int64 = 1_000_000_000
    private static let refusedNanoseconds: Int64 = 10_000_000_000

    /// A virtual camera that is not open yet.
    ///
    /// - Parameters:
    ///   - deviceName: `auto` or a path.
    ///   - pixelFormat: `yuyv`, `nv12`, `yu12` or `mjpeg`.
    ///   - holderSocket: where `lucida device hold` listens, if it runs.
    init(deviceName: String, pixelFormat: PixelFormat, holderSocket: String, log: Logger) {
        self.deviceName = deviceName
        self.pixelFormat = pixelFormat
        self.holderSocket = holderSocket
        self.log = log
        name = deviceName
    }

    func prepare(format: VideoFormat) throws {
        let output = format.onLoopback(pixelFormat)
        let picture = try LoopbackPicture(from: format, to: output)
        let (device, held) = try HeldDevice.open(deviceName, format: output, socket: holderSocket)
        path = device.path
        name = "\(device.path) (\(device.card))"
        self.picture = picture
        keeping.withLock { $0 = Keeping(holder: held, device: device, isShared: held != nil) }
        let card = FrameBuffer(format: format)
        Card.draw("Lucida is off", into: card)
        exitCard = card
        self.device = device
        log.info("virtual camera \(name): \(output)\(held == nil ? "" : ", kept by lucida-device")")
        if held == nil, access(holderSocket, F_OK) == 0 {
            log.warning(
                """
                lucida-device does not keep \(device.path): apps lose it when Lucida stops \
                (systemctl status lucida-device)
                """)
        }
    }

    /// Looks once a second whether the holder is there, and gives the device to one that has come since;
    /// less often if there is one that does not take it.
    func tend() {
        guard MonotonicClock.nowNanoseconds >= nextLook else { return }
        let search = keeping.withLock { keeping -> HeldDevice.Search? in
            guard let device = keeping.device, keeping.holder?.isThere != true else { return nil }
            let search = HeldDevice.again(device, socket: holderSocket)
            keeping.holder = nil
            if case .found(let holder) = search {
                keeping.holder = holder
                keeping.isShared = true
            }
            return search
        }
        nextLook = MonotonicClock.nowNanoseconds + Self.lookNanoseconds
        switch search {
        case .found: log.info("virtual camera \(name): kept by lucida-device from now on")
        case .refused: nextLook += Self.refusedNanoseconds
        case .nobody, nil: break
        }
    }

    func write(_ frame: FrameBuffer) -> SinkStatus {
        guard let device, let bytes = bytes(of: frame) else { return .again }
        return status(device.write(bytes), of: device)
    }

    func overwrite(with card: FrameBuffer) -> SinkStatus {
        guard let device, let bytes = picture?.encode(card) else { return .again }
        shownCard = (card, bytes)
        return status(device.overwriteAll(with: bytes), of: device)
    }

    /// While nobody looks one card is written again and again: it is encoded once.
    private func bytes(of frame: FrameBuffer) -> UnsafeRawBufferPointer? {
        if let shownCard, shownCard.card === frame { return shownCard.bytes }
        shownCard = nil
        return picture?.encode(frame)
    }

    private func status(_ status: LoopbackStatus, of device: LoopbackOutput) -> SinkStatus {
        switch status {
        case .written: return .written
        case .again: return .again
        case .lost: return lost(device)
        }
    }

    private func lost(_ device: LoopbackOutput) -> SinkStatus {
        log.error("\(device.lastError.map { "\($0)" } ?? "the virtual camera \(name) is gone")")
        return .lost
    }

    func finish() -> Bool {
        let kept = keeping.withLock { keeping in
            let kept = (holder: keeping.holder, isShared: keeping.isShared)
            keeping = Keeping()
            return kept
        }
        guard let device else { return true }
        self.device = nil
        shownCard = nil
        let card = exitCard.flatMap { picture?.encode($0) }
        device.isHeldElsewhere = kept.isShared
        device.close(card: card)
        if kept.isShared, kept.holder?.isThere != true {
            // The holder has gone. If systemd keeps its descriptor for the next one, this is refused.
            let own = try? LoopbackOutput(path: device.path, format: device.format)
            own?.close(card: card)
        }
        kept.holder?.close(isOrderly: true)
        return true
    }
}
