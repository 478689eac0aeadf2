// The virtual camera as a sink: conversion or JPEG, then the loopback's write protocol.

internal import LibAV
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
    private let log: Logger
    // Control thread while closed, output thread while open.
    private var device: LoopbackOutput?
    private var encoder: Encoder?
    private var picture: FrameBuffer?
    private var exitCard: FrameBuffer?
    // The card that was overwritten with, as long as the encoder's buffer holds it.
    private var shownCard: (card: FrameBuffer, bytes: UnsafeRawBufferPointer)?
    /// The device, once prepared. Control thread only.
    private(set) var path: String?

    private enum Encoder {
        case raw(Scaler)
        case jpeg(MJPEGEncoder)
    }

    /// A virtual camera that is not open yet.
    ///
    /// - Parameters:
    ///   - deviceName: `auto` or a path.
    ///   - pixelFormat: `yuyv`, `nv12`, `yu12` or `mjpeg`.
    init(deviceName: String, pixelFormat: PixelFormat, log: Logger) {
        self.deviceName = deviceName
        self.pixelFormat = pixelFormat
        self.log = log
        name = deviceName
    }

    func prepare(format: VideoFormat) throws {
        let path = try DeviceDirectory.loopbackPath(for: deviceName)
        // Conferencing apps take YCbCr for BT.601 limited range, and a JPEG for full range.
        let output = VideoFormat(
            pixelFormat: pixelFormat, width: format.width, height: format.height,
            frameRate: format.frameRate, colorRange: pixelFormat == .mjpeg ? .full : .limited)
        let device = try LoopbackOutput(path: path, format: output)
        name = "\(path) (\(device.card))"
        self.path = path
        picture = FrameBuffer(format: output)
        encoder =
            pixelFormat == .mjpeg
            ? .jpeg(try MJPEGEncoder(input: format)) : .raw(try Scaler(from: format, to: output))
        let card = FrameBuffer(format: format)
        Card.draw("Lucida is off", into: card)
        exitCard = card
        self.device = device
        log.info("virtual camera \(name): \(output)")
    }

    func write(_ frame: FrameBuffer) -> SinkStatus {
        guard let device, let bytes = bytes(of: frame) else { return .again }
        switch device.write(bytes) {
        case .written: return .written
        case .again: return .again
        case .lost: return lost(device)
        }
    }

    func overwrite(with card: FrameBuffer) -> SinkStatus {
        guard let device, let bytes = encode(card) else { return .again }
        shownCard = (card, bytes)
        if device.overwriteAll(with: bytes) { return .written }
        return device.lastError == nil ? .again : lost(device)
    }

    /// While nobody looks one card is written again and again: it is encoded once.
    private func bytes(of frame: FrameBuffer) -> UnsafeRawBufferPointer? {
        if let shownCard, shownCard.card === frame { return shownCard.bytes }
        shownCard = nil
        return encode(frame)
    }

    private func lost(_ device: LoopbackOutput) -> SinkStatus {
        log.error("\(device.lastError.map { "\($0)" } ?? "the virtual camera \(name) is gone")")
        return .lost
    }

    func finish() -> Bool {
        guard let device else { return true }
        shownCard = nil
        device.close(card: exitCard.flatMap(encode))
        self.device = nil
        encoder = nil
        return true
    }

    private func encode(_ frame: FrameBuffer) -> UnsafeRawBufferPointer? {
        guard let picture, let encoder else { return nil }
        let isEncoded =
            switch encoder {
            case .raw(let scaler): scaler.convert(frame, to: picture)
            case .jpeg(let jpeg): jpeg.encode(frame, into: picture)
            }
        return isEncoded
            ? UnsafeRawBufferPointer(rebasing: picture.bytes[0..<picture.usedBytes]) : nil
    }
}
