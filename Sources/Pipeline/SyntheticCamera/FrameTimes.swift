// When the frames of the synthetic camera were captured; written by the capture thread, read by
// the threads of the sinks.

internal import Synchronization
internal import Video

/// Frame numbers and capture times without a lock.
final class FrameTimes: @unchecked Sendable {
    private static let ringCount = 256
    private static let barcodeRange: UInt64 = 1 << 24

    private let frameRate: FrameRate
    private let isPaced: Bool
    // Atomic: released by the capture thread before `newest`.
    private let startNanoseconds = Atomic<Int64>(0)
    /// Number of the newest frame plus one. Atomic: released by the capture thread.
    private let count = Atomic<UInt64>(0)
    // Atomic: the capture times of unpaced frames, slot = number modulo 256.
    private let ring: UnsafeMutablePointer<Atomic<Int64>>

    init(frameRate: FrameRate, isPaced: Bool) {
        self.frameRate = frameRate
        self.isPaced = isPaced
        ring = .allocate(capacity: Self.ringCount)
        for slot in 0..<Self.ringCount { (ring + slot).initialize(to: Atomic(0)) }
    }

    deinit {
        ring.deinitialize(count: Self.ringCount)
        ring.deallocate()
    }

    /// A stream begins. Capture thread.
    func begin(_ nanoseconds: Int64) {
        // Releasing: whoever sees the new start must not extend a barcode with the old count.
        count.store(0, ordering: .releasing)
        startNanoseconds.store(nanoseconds, ordering: .releasing)
    }

    /// A frame was captured. Capture thread.
    ///
    /// - Realtime: safe
    func record(_ number: UInt64, _ nanoseconds: Int64) {
        // Releasing: a reader that sees this time also sees the count of 255 frames later than the
        // time it replaced, and so rejects it.
        ring[Int(number % UInt64(Self.ringCount))].store(nanoseconds, ordering: .releasing)
        // Releasing: a reader that sees the count sees start and time.
        count.store(number + 1, ordering: .releasing)
    }

    /// The frame whose number ends in these 24 bits and is nearest to the newest one.
    ///
    /// - Realtime: safe
    func metadata(ofBarcode value: UInt32) -> FrameMetadata? {
        let count = count.load(ordering: .acquiring)
        guard count > 0 else { return nil }
        let newest = count - 1
        let age = (newest &- UInt64(value)) % Self.barcodeRange
        // More than half the range back means ahead of the newest frame: not one of ours.
        guard age <= newest, age < Self.barcodeRange / 2 else { return nil }
        let number = newest - age
        if isPaced {
            let schedule = FrameSchedule(
                frameRate: frameRate,
                startNanoseconds: startNanoseconds.load(ordering: .acquiring))
            return FrameMetadata(
                timestampNanoseconds: schedule.dueNanoseconds(of: number), sequence: number)
        }
        let time = ring[Int(number % UInt64(Self.ringCount))].load(ordering: .acquiring)
        // Looked at again: the capture thread may have reused the slot meanwhile.
        guard self.count.load(ordering: .acquiring) - number < UInt64(Self.ringCount) else {
            return nil
        }
        return FrameMetadata(timestampNanoseconds: time, sequence: number)
    }
}
