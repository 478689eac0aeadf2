// A card with the timestamps that frames would have: what a recording holds of a pause.

internal import Video

/// The card of one sink and its next timestamp. Output thread.
///
/// Frames are written some time after their timestamps, and cards are timed as if they were, too: so
/// the first frame after a pause is later than the last card.
struct RecordedCard {
    private let frame: FrameBuffer
    private let intervalNanoseconds: Int64
    // Of what was written last, and how long after its timestamp that was.
    private var lastTimestamp: Int64?
    private var age: Int64 = 0

    /// A thread that was held up for longer does not catch up.
    private static let lateNanosecondsMax: Int64 = 1_000_000_000

    /// Copies `card`, which other sinks show as well.
    init(_ card: FrameBuffer) {
        frame = FrameBuffer(format: card.format)
        frame.copy(from: card)
        intervalNanoseconds = card.format.frameRate.intervalNanoseconds
    }

    /// When the next card is due; of `CLOCK_MONOTONIC`.
    var dueTime: Int64 { lastTimestamp.map { $0 + intervalNanoseconds + age } ?? 0 }

    /// A frame was written.
    mutating func follow(_ timestamp: Int64, writtenAt now: Int64) {
        lastTimestamp = timestamp
        age = max(0, now - timestamp)
    }

    /// The card, if it is due.
    mutating func next(at now: Int64) -> FrameBuffer? {
        guard now >= dueTime else { return nil }
        let isLate = now - dueTime > Self.lateNanosecondsMax
        let timestamp = lastTimestamp.flatMap { isLate ? nil : $0 + intervalNanoseconds }
        frame.metadata = FrameMetadata(timestampNanoseconds: timestamp ?? now - age, sequence: 0)
        lastTimestamp = frame.metadata.timestampNanoseconds
        return frame
    }
}
