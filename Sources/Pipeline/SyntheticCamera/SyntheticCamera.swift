// The built-in `test` source: a drawn person in a drawn room, with the frame number burnt in.

internal import Realtime
internal import Synchronization
public import Video

/// A camera that needs no camera: somebody who talks, looks around and waves in a furnished room,
/// with the noise and the exposure drift of a webcam.
///
/// The picture depends on nothing but seed, frame number, size and rate. Along its bottom edge runs
/// a `Barcode` with the frame number, through which the camera is also the `FrameClock` of what
/// becomes of its pictures.
///
/// Frame k is due at start + k · interval, where the first call of `next` is the start. A consumer
/// that comes late gets the newest frame that is due; the missed ones leave a gap in the sequence.
public final class SyntheticCamera: FrameSource, FrameClock, @unchecked Sendable {
    /// `test`.
    public let name = "test"

    private let format: VideoFormat
    private let seed: UInt64
    private let isPaced: Bool
    private let isMirrored: Bool
    private let frameLimit: UInt64?
    private let wakeUp = Event()
    // Control thread writes while nobody else uses the source, capture thread reads.
    private var scene: Scene?
    // Capture thread only, but for prepare.
    private var schedule: FrameSchedule?
    private var nextUnpacedFrame: UInt64 = 0
    private let times: FrameTimes

    /// A camera that is not open yet. Control thread.
    ///
    /// - Parameters:
    ///   - format: `rgb24`, 16×16 … 4096×4096, any rate; checked by `prepare`.
    ///   - seed: of the person's movements and the noise.
    ///   - isPaced: frames in real time; `false` delivers every frame at once.
    ///   - isMirrored: swaps left and right of the scene, not of the barcode.
    ///   - frameLimit: the stream ends before the frame of this number.
    public init(
        format: VideoFormat, seed: UInt64 = 1, isPaced: Bool = true, isMirrored: Bool = false,
        frameLimit: UInt64? = nil
    ) {
        self.format = format
        self.seed = seed
        self.isPaced = isPaced
        self.isMirrored = isMirrored
        self.frameLimit = frameLimit
        times = FrameTimes(frameRate: format.frameRate, isPaced: isPaced)
    }

    /// Paints everything that stands still. Starts again at frame 0.
    ///
    /// - Throws: `SyntheticCameraError` if the format is none that it can draw.
    public func prepare() throws(SyntheticCameraError) -> VideoFormat {
        guard format.pixelFormat == .rgb24 else {
            throw SyntheticCameraError.pixelFormat(format.pixelFormat)
        }
        guard (16...4096).contains(format.width), (16...4096).contains(format.height) else {
            throw SyntheticCameraError.size(width: format.width, height: format.height)
        }
        if scene == nil {
            scene = Scene(width: format.width, height: format.height, seed: seed)
        }
        schedule = nil
        nextUnpacedFrame = 0
        return format
    }

    /// Waits until a frame is due, at most 100 ms, and draws it. Capture thread.
    ///
    /// - Realtime: allocates nothing
    public func next(into frame: FrameBuffer) -> SourceStatus {
        guard let scene else { return .deviceLost }
        let (number, timestamp): (UInt64, Int64)
        if isPaced {
            guard let due = nextDueFrame() else { return .again }
            (number, timestamp) = due
        } else {
            (number, timestamp) = (nextUnpacedFrame, MonotonicClock.nowNanoseconds)
            nextUnpacedFrame += 1
        }
        if let frameLimit, number >= frameLimit { return .endOfStream }
        times.record(number, timestamp)
        let rate = format.frameRate
        let seconds = Double(number) * Double(rate.denominator) / Double(rate.numerator)
        scene.draw(frameNumber: number, seconds: seconds, into: frame)
        if isMirrored { mirror(frame) }
        Barcode.draw(UInt32(truncatingIfNeeded: number), into: frame)
        frame.usedBytes = frame.bytes.count
        frame.metadata = FrameMetadata(timestampNanoseconds: timestamp, sequence: number)
        return .frame
    }

    /// Frees what `prepare` painted. Idempotent; the frame clock goes on.
    public func finish() { scene = nil }

    /// Makes a waiting `next` return `.again` at once. Any thread.
    ///
    /// - Realtime: safe
    public func interrupt() { wakeUp.set() }

    /// Number and capture time of the frame that `frame` (RGB24) shows, `nil` if it shows none of
    /// the last 256 (unpaced) or none that this camera has delivered. Any thread.
    ///
    /// - Realtime: allocates nothing
    public func read(_ frame: FrameBuffer) -> FrameMetadata? {
        guard let value = Barcode.read(frame) else { return nil }
        return times.metadata(ofBarcode: value)
    }

    private func mirror(_ frame: FrameBuffer) {
        let width = frame.format.width
        for y in 0..<frame.format.height {
            let row = frame.plane(0).advanced(by: y * frame.strides[0])
            for x in 0..<width / 2 {
                for channel in 0..<3 {
                    let (left, right) = (3 * x + channel, 3 * (width - 1 - x) + channel)
                    (row[left], row[right]) = (row[right], row[left])
                }
            }
        }
    }

    private func nextDueFrame() -> (number: UInt64, timestamp: Int64)? {
        let now = MonotonicClock.nowNanoseconds
        // The first frame is due at the very moment that the schedule begins.
        var schedule = self.schedule ?? begin(at: now)
        switch schedule.step(at: now) {
        case .deliver(let number):
            self.schedule = schedule
            return (number, schedule.dueNanoseconds(of: number))
        case .wait(let nanoseconds):
            let isInterrupted = wakeUp.wait(timeoutNanoseconds: min(nanoseconds, 100_000_000))
            guard !isInterrupted, nanoseconds <= 100_000_000,
                case .deliver(let number) = schedule.step(at: MonotonicClock.nowNanoseconds)
            else { return nil }
            self.schedule = schedule
            return (number, schedule.dueNanoseconds(of: number))
        }
    }

    private func begin(at now: Int64) -> FrameSchedule {
        let schedule = FrameSchedule(frameRate: format.frameRate, startNanoseconds: now)
        self.schedule = schedule
        times.begin(schedule.startNanoseconds)
        return schedule
    }
}

/// Why the synthetic camera cannot be opened.
public enum SyntheticCameraError: Error, Equatable, CustomStringConvertible {
    /// It draws RGB24 alone.
    case pixelFormat(PixelFormat)
    /// Too small or too large.
    case size(width: Int, height: Int)

    /// What is wrong and what to ask for instead.
    public var description: String {
        switch self {
        case .pixelFormat(let format):
            "the test camera delivers rgb24, not \(format.rawValue); ask for rgb24"
        case .size(let width, let height):
            "the test camera cannot draw \(width)×\(height); ask for 16×16 to 4096×4096"
        }
    }
}
