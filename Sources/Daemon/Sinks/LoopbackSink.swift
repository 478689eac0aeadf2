// The virtual camera as a sink: conversion or JPEG, then the loopback's write protocol.

internal import Logging
internal import Pipeline
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
    // Who keeps the device there when we have gone; nil: nobody.
    private var held: HeldDevice?
    private var exitCard: FrameBuffer?
    private var writesUntilLook = 0
    // Atomic: written by the output thread, read by the control thread. -1: the driver cannot tell.
    private let readerCount = Atomic<Int>(-1)

    /// Apps that stream from the device, as of the last second; `nil` if the driver cannot tell.
    /// Any thread.
    var streamingReaders: Int? {
        let count = readerCount.load(ordering: .relaxed)
        return count < 0 ? nil : count
    }

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
        name = "\(device.path) (\(device.card))"
        self.picture = picture
        self.held = held
        let card = FrameBuffer(format: format)
        Card.draw("Lucida is off", into: card)
        exitCard = card
        self.device = device
        log.info("virtual camera \(name): \(output)\(held == nil ? "" : ", kept by lucida-device")")
    }

    func write(_ frame: FrameBuffer) -> SinkStatus {
        guard let device, let bytes = picture?.encode(frame) else { return .again }
        lookForReaders(device)
        return status(device.write(bytes), of: device)
    }

    /// In all buffers of the driver: pauses and lost cameras are no steady state.
    func cover(with card: FrameBuffer) -> SinkStatus {
        guard let device, let bytes = picture?.encode(card) else { return .again }
        return status(device.overwriteAll(with: bytes), of: device)
    }

    private func status(_ status: LoopbackStatus, of device: LoopbackOutput) -> SinkStatus {
        switch status {
        case .written: return .written
        case .again: return .again
        case .lost:
            log.error("\(device.lastError.map { "\($0)" } ?? "the virtual camera \(name) is gone")")
            return .lost
        }
    }

    func finish() -> Bool {
        guard let device else { return true }
        // A holder that has gone keeps nothing any more.
        device.isHeldElsewhere = held?.isThere == true
        device.close(card: exitCard.flatMap { picture?.encode($0) })
        held?.close(isOrderly: true)
        held = nil
        self.device = nil
        return true
    }

    /// Once in thirty frames: it is a system call or two.
    private func lookForReaders(_ device: LoopbackOutput) {
        writesUntilLook -= 1
        guard writesUntilLook < 0 else { return }
        writesUntilLook = 30
        readerCount.store(device.streamingReaders() ?? -1, ordering: .relaxed)
    }
}
