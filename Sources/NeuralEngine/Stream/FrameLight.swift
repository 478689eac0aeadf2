// How bright a whole frame is, and of which colour: what no window of the network can see.

/// Means of red, green and blue, and the luma that 97 % of the frame stays under, followed slowly from frame
/// to frame. A dark corner of a bright room and a dark room look alike from near, and only one of
/// them is to be lifted. Sampled at every fourth pixel of every fourth row.
///
/// Belongs to the thread that runs the steps.
final class FrameLight {
    /// 16 numbers, as a square of the network's input takes them: the four in [0, 1] in `lanes`, 0
    /// elsewhere.
    let block: UnsafeMutablePointer<Float>

    /// Where in a block they lie: between the state and tau.
    static let lanes = 11..<15
    /// Of a frame in what is told, as in training.
    private static let rate: Float = 0.1
    private static let brightShare = 0.97
    private static let bins = 1024

    private let counts: UnsafeMutablePointer<Int32>
    private var isKnown = false

    init(in allocator: StreamAllocator) {
        block = allocator.make(Int(channelBlock), of: Float.self)
        counts = allocator.make(Self.bins, of: Int32.self)
    }

    /// The next frame is taken as it is.
    func reset() { isKnown = false }

    /// Takes note of a frame.
    ///
    /// - Parameter half: luma of half the size, in levels.
    /// - Realtime: safe
    func follow(_ frame: StreamFrame, half: MarginPlane<Float>) {
        var sums = (red: 0, green: 0, blue: 0)
        counts.update(repeating: 0, count: Self.bins)
        let (columns, rows) = (half.width / 2, half.height / 2)
        for row in 0..<rows {
            let (rgb, _) = frame.read(y: 4 * row, count: 1)
            let luma = half.row(2 * row)
            for column in 0..<columns {
                let pixel = rgb + 12 * column
                sums.red += Int(pixel[0])
                sums.green += Int(pixel[1])
                sums.blue += Int(pixel[2])
                counts[min(Self.bins - 1, max(0, Int(4 * luma[2 * column])))] += 1
            }
        }
        let scale = 1 / Float(255 * max(1, columns * rows))
        follow(0, Float(sums.red) * scale)
        follow(1, Float(sums.green) * scale)
        follow(2, Float(sums.blue) * scale)
        follow(3, bright(of: columns * rows))
        isKnown = true
    }

    private func follow(_ index: Int, _ value: Float) {
        let told = block + Self.lanes.lowerBound + index
        told.pointee = isKnown ? told.pointee + Self.rate * (value - told.pointee) : value
    }

    private func bright(of count: Int) -> Float {
        let rank = Int((Self.brightShare * Double(count)).rounded(.up))
        var seen = 0
        for bin in 0..<Self.bins {
            seen += Int(counts[bin])
            if seen >= rank { return (Float(bin) + 0.5) / 4 / 255 }
        }
        return 1
    }
}
