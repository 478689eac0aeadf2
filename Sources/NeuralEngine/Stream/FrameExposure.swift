// The camera's automatic exposure, steadied: a jump becomes a fade.

internal import CKernels
internal import Glibc

/// Frames as if the camera's automatic exposure did not jump, as in training (`Exposure` in
/// Training/streaming.py).
///
/// A camera's values are a power of the light, so a change of exposure multiplies them. Of squares of
/// 2 × 2 pixels, one in eight pixels both ways, the ratios to the frame before tell: if three
/// quarters of them have gone the same way, that is the exposure and not motion. The gain undoes it, and
/// creeps back to 1. Without it some squares of the picture would keep their past, which no longer
/// fits, and others not.
///
/// Belongs to the thread that runs the steps.
final class FrameExposure {
    /// Pixels from sample to sample.
    private static let spacing = 8
    /// Of a jump that is let through with each frame.
    private static let leak: Float = 0.06
    /// Bounds of the gain; a larger ratio of two frames is another scene.
    private static let gainMax: Float = 1.5
    /// Ratios nearer to 1 than this are none.
    private static let ratioMin: Float = 0.001
    /// Lumas that are neither clipped nor mostly noise.
    private static let fit: ClosedRange<Float> = 255.0 / 16...255.0 * 15 / 16

    private let kernels: UnsafePointer<ck_stream_kernels>
    private let width: Int
    private let height: Int
    private let steadied: UnsafeMutablePointer<UInt8>
    private let lumas: UnsafeMutablePointer<Float>
    private let ratios: UnsafeMutablePointer<Float>
    private let columns: Int
    private let rows: Int
    private var isBeforeKnown = false
    private var gain: Float = 1
    // Of the gain that the last frame was given, by its strength.
    private var applied: Float = 1
    /// What the present frame, as it is steadied, is of the one before it, as far as exposure goes:
    /// in a fade not quite 1.
    private(set) var factor: Float = 1

    init(
        kernels: UnsafePointer<ck_stream_kernels>, geometry: FrameGeometry,
        in allocator: StreamAllocator
    ) {
        self.kernels = kernels
        (width, height) = (geometry.frameWidth, geometry.frameHeight)
        columns = (width / 2 + 3) / 4
        rows = (height / 2 + 3) / 4
        // 15 bytes more: vectors are stored whole.
        steadied = allocator.make(3 * width * height + 15, of: UInt8.self)
        lumas = allocator.make(columns * rows, of: Float.self)
        ratios = allocator.make(columns * rows, of: Float.self)
    }

    /// The next frame is taken as it is.
    func reset() {
        isBeforeKnown = false
        gain = 1
        applied = 1
        factor = 1
    }

    /// Another scene: from the next frame on there is nothing to undo.
    func forgetGain() { gain = 1 }

    /// The frame itself or a steadied copy, which is valid until the next call.
    ///
    /// - Parameter pointers: with a strength of less than 1 as much of the gain is applied, so that
    ///   strength 0 is the untouched camera and what lies between has no jump; as much of the
    ///   exposure's jump remains.
    /// - Realtime: safe
    func steady(_ pointers: FramePointers) -> FramePointers {
        let count = measure(pointers)
        let jump = isBeforeKnown ? findJump(ratios: count) : 1
        if isBeforeKnown { gain = nextGain(jump: jump) }
        isBeforeKnown = true
        let now = 1 + pointers.strength * (gain - 1)
        factor = jump * now / applied
        applied = now
        guard gain != 1 else { return pointers }
        var steady = pointers
        steady.frame = UnsafePointer(steadied)
        steady.frameStride = 3 * width
        for y in 0..<height {
            kernels.pointee.multiply_bytes(
                pointers.frame + y * pointers.frameStride, 3 * width, now,
                steadied + y * 3 * width)
        }
        return steady
    }

    /// Takes note of a frame's lumas.
    ///
    /// - Returns: how many ratios to the frame before there are.
    private func measure(_ pointers: FramePointers) -> Int {
        var count = 0
        for row in 0..<rows {
            let top = pointers.frame + Self.spacing * row * pointers.frameStride
            for column in 0..<columns {
                let pixel = top + 3 * Self.spacing * column
                let now = (luma(pixel) + luma(pixel + pointers.frameStride)) / 4
                let index = row * columns + column
                let before = lumas[index]
                lumas[index] = now
                guard Self.fit.contains(now) && Self.fit.contains(before) else { continue }
                ratios[count] = now / before
                count += 1
            }
        }
        return count
    }

    /// Rec. 601, of two pixels.
    @inline(__always)
    private func luma(_ rgb: UnsafePointer<UInt8>) -> Float {
        let (red, green) = (Float(rgb[0]) + Float(rgb[3]), Float(rgb[1]) + Float(rgb[4]))
        return 0.299 * red + 0.587 * green + 0.114 * (Float(rgb[2]) + Float(rgb[5]))
    }

    /// By what the exposure has jumped; 1 if it has not.
    private func findJump(ratios count: Int) -> Float {
        guard count > 0 && 16 * count >= columns * rows else { return 1 }
        let low = ratio(rank: (count - 1) / 4, of: count)
        let high = ratio(rank: 3 * (count - 1) / 4, of: count)
        let middle = ratio(rank: (count - 1) / 2, of: count)
        let isOneWay = low > 1 + Self.ratioMin || high < 1 - Self.ratioMin
        return isOneWay && middle < Self.gainMax && middle > 1 / Self.gainMax ? middle : 1
    }

    private func nextGain(jump: Float) -> Float {
        let next = pow(gain / jump, 1 - Self.leak)
        // Less than a tenth of a level.
        guard abs(next - 1) > 0.0004 else { return 1 }
        return min(max(next, 1 / Self.gainMax), Self.gainMax)
    }

    /// The ratio at `rank` of those in ascending order (Hoare 1961, "Algorithm 65: Find").
    private func ratio(rank: Int, of count: Int) -> Float {
        var (first, last) = (0, count - 1)
        while first < last {
            let pivot = ratios[(first + last) / 2]
            var (i, j) = (first, last)
            while i <= j {
                while ratios[i] < pivot { i += 1 }
                while ratios[j] > pivot { j -= 1 }
                if i <= j {
                    (ratios[i], ratios[j]) = (ratios[j], ratios[i])
                    i += 1
                    j -= 1
                }
            }
            if rank <= j {
                last = j
            } else if rank >= i {
                first = i
            } else {
                break
            }
        }
        return ratios[rank]
    }
}
