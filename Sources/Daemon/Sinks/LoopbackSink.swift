// The virtual camera as a sink: conversion or JPEG, then the loopback's write protocol.

internal import Logging
internal import Pipeline
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
    // The card that was overwritten with, as long as the encoder's buffer holds it.
    private var shownCard: (card: FrameBuffer, bytes: UnsafeRawBufferPointer)?
    /// The device, once prepared. Control thread only.
    private(set) var path: String?

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
        self.held = held
        let card = FrameBuffer(format: format)
        Card.draw("Lucida is off", into: card)
        exitCard = card
        self.device = device
        log.info("virtual camera \(name): \(output)\(held == nil ? "" : ", kept by lucida-device")")
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
        guard let device else { return true }
        // A holder that has gone keeps nothing any more.
        device.isHeldElsewhere = held?.isThere == true
        shownCard = nil
        device.close(card: exitCard.flatMap { picture?.encode($0) })
        held?.close(isOrderly: true)
        held = nil
        self.device = nil
        return true
    }
}
