// The pictures shown instead of the camera: before the first frame, without a camera, on exit.

internal import Synchronization
public import Video

/// A placeholder picture with a few words on it. Drawn by the control thread, ahead of time.
public enum Card {
    /// Fills `frame` (RGB24) with a dark, calm background, the name Lucida and a message.
    ///
    /// The text is as large as fits the width: characters that the small font lacks show as blanks.
    public static func draw(_ message: String, into frame: FrameBuffer) {
        precondition(frame.format.pixelFormat == .rgb24, "cards are drawn in RGB24")
        fillBackground(frame)
        let height = frame.format.height
        drawCentred("LUCIDA", in: frame, centreY: height * 2 / 5, widthShare: 0.34, brightness: 235)
        drawCentred(
            message, in: frame, centreY: height * 3 / 5, widthShare: 0.62, brightness: 170)
    }

    /// A vertical gradient, so that nobody takes the card for a dead camera.
    private static func fillBackground(_ frame: FrameBuffer) {
        let (width, height) = (frame.format.width, frame.format.height)
        for y in 0..<height {
            let row = frame.plane(0).advanced(by: y * frame.strides[0])
            let shade = 26 + 22 * y / height
            for x in 0..<width {
                row[3 * x] = UInt8(shade * 3 / 4)
                row[3 * x + 1] = UInt8(shade * 7 / 8)
                row[3 * x + 2] = UInt8(shade + 14)
            }
        }
    }

    private static func drawCentred(
        _ text: String, in frame: FrameBuffer, centreY: Int, widthShare: Double, brightness: UInt8
    ) {
        let (width, height) = (frame.format.width, frame.format.height)
        let columns = text.count * Font.advance - 1
        let scale = max(
            1, min(Int(Double(width) * widthShare) / max(columns, 1), height / (Font.rows * 5)))
        let left = (width - columns * scale) / 2
        let top = centreY - Font.rows * scale / 2
        for (index, character) in text.uppercased().enumerated() {
            let glyph = Font.glyph(character)
            for row in 0..<Font.rows {
                for column in 0..<Font.columns
                where glyph[row] & (1 << UInt8(Font.columns - 1 - column)) != 0 {
                    let x = left + (index * Font.advance + column) * scale
                    fillSquare(frame, x: x, y: top + row * scale, side: scale, value: brightness)
                }
            }
        }
    }

    private static func fillSquare(_ frame: FrameBuffer, x: Int, y: Int, side: Int, value: UInt8) {
        let (width, height) = (frame.format.width, frame.format.height)
        for y in clamp(y, to: height)..<clamp(y + side, to: height) {
            let row = frame.plane(0).advanced(by: y * frame.strides[0])
            for x in clamp(x, to: width)..<clamp(x + side, to: width) {
                for channel in 0..<3 { row[3 * x + channel] = value }
            }
        }
    }

    private static func clamp(_ value: Int, to limit: Int) -> Int { min(max(0, value), limit) }
}

extension Card {
    /// What a card is about.
    enum Kind: UInt8, CaseIterable {
        /// A picture will come.
        case starting
        /// The camera is not there.
        case noCamera
        /// Another program films with the camera.
        case busy
        /// The camera answers with an error, or does not deliver.
        case failed
        /// The network gives no usable picture.
        case broken
        /// The user wants to show nothing.
        case paused

        /// What it says.
        var message: String {
            switch self {
            case .starting: "One moment"
            case .noCamera: "No camera"
            case .busy: "Camera in use"
            case .failed: "Camera error"
            case .broken: "Error"
            case .paused: "Paused"
            }
        }
    }
}

/// The cards of one pipeline. The control thread makes them, and draws the one of a busy camera anew
/// when it knows who has it.
final class CardSet: Sendable {
    private let cards: [FrameBuffer]
    // What is shown instead of the card `busy`. Held for as long as a reference takes to copy.
    private let busy = Mutex<(user: String, card: FrameBuffer)?>(nil)

    init(format: VideoFormat) {
        cards = Card.Kind.allCases.map { kind in
            let card = FrameBuffer(format: format)
            Card.draw(kind.message, into: card)
            return card
        }
    }

    subscript(kind: Card.Kind) -> FrameBuffer {
        let other = kind == .busy ? busy.withLock { $0?.card } : nil
        return other ?? cards[Int(kind.rawValue)]
    }

    /// Names the program that has the camera. Control thread.
    ///
    /// - Returns: whether that is news.
    func setUser(_ user: String?) -> Bool {
        guard busy.withLock({ $0?.user }) != user else { return false }
        let drawn = user.map { user in
            let card = FrameBuffer(format: cards[0].format)
            Card.draw("Used by \(user)", into: card)
            return (user: user, card: card)
        }
        busy.withLock { $0 = drawn }
        return true
    }
}
