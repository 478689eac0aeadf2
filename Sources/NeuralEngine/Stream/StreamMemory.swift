// What a stream remembers from frame to frame, and planes whose edges repeat.

internal import CKernels
internal import Glibc

/// Memory in several pieces, zeroed, 64-byte aligned, freed together.
final class StreamAllocator {
    private var pieces: [UnsafeMutableRawPointer] = []
    /// Bytes handed out.
    private(set) var byteCount = 0

    func make<Element: BitwiseCopyable>(
        _ count: Int, of type: Element.Type
    ) -> UnsafeMutablePointer<Element> {
        // 64 bytes more, so that vector loads may run a little past an end.
        let bytes = count * MemoryLayout<Element>.stride + 64
        let piece = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 64)
        memset(piece, 0, bytes)
        pieces.append(piece)
        byteCount += bytes
        return piece.bindMemory(to: type, capacity: count)
    }

    deinit {
        for piece in pieces { piece.deallocate() }
    }
}

/// A picture with a margin of `CK_MARGIN` pixels in which its edges repeat.
struct MarginPlane<Element: BitwiseCopyable> {
    static var margin: Int { Int(CK_MARGIN) }

    /// The first pixel inside the margin.
    let first: UnsafeMutablePointer<Element>
    let width: Int
    let height: Int
    /// Elements from row to row.
    let stride: Int

    init(width: Int, height: Int, in allocator: StreamAllocator) {
        self = Self.planes(1, width: width, height: height, in: allocator)[0]
    }

    private init(width: Int, height: Int, stride: Int, first: UnsafeMutablePointer<Element>) {
        (self.width, self.height, self.stride, self.first) = (width, height, stride, first)
    }

    /// Some planes one after another, the same number of elements apart.
    static func planes(
        _ planes: Int, width: Int, height: Int, in allocator: StreamAllocator
    ) -> [MarginPlane] {
        let stride = roundUp(width + 2 * margin, to: 16)
        let count = stride * (height + 2 * margin)
        let all = allocator.make(planes * count, of: Element.self)
        return (0..<planes).map {
            MarginPlane(
                width: width, height: height, stride: stride,
                first: all + $0 * count + margin * stride + margin)
        }
    }

    func row(_ y: Int) -> UnsafeMutablePointer<Element> { first + y * stride }

    /// Fills the margin beside some rows, and above and below if they are the first or the last.
    ///
    /// - Realtime: safe
    @inline(__always)
    func repeatEdges(rows: Range<Int>) {
        for y in rows {
            let row = row(y)
            (row - Self.margin).update(repeating: row[0], count: Self.margin)
            (row + width).update(repeating: row[width - 1], count: Self.margin)
        }
        if rows.lowerBound == 0 { copyRow(0, to: -Self.margin..<0) }
        if rows.upperBound == height { copyRow(height - 1, to: height..<height + Self.margin) }
    }

    private func copyRow(_ y: Int, to rows: Range<Int>) {
        for other in rows {
            (row(other) - Self.margin).update(
                from: row(y) - Self.margin, count: width + 2 * Self.margin)
        }
    }
}

/// Counts of small numbers, to find their median and other quantiles without sorting them.
struct Histogram {
    /// Bins in a unit.
    static let resolution: Float = 64
    static let bins = 4096

    let counts: UnsafeMutablePointer<UInt32>

    func clear() { counts.update(repeating: 0, count: Self.bins) }

    /// Counts a number, 0 or more; from 64 on all are alike.
    @inline(__always)
    func add(_ value: Float) {
        let bin = value < 64 ? Int(value * Self.resolution) : Self.bins - 1
        counts[bin] += 1
    }

    /// Adds another's counts.
    func add(_ other: Histogram) {
        for bin in 0..<Self.bins { counts[bin] += other.counts[bin] }
    }

    /// The number at `rank` of those in ascending order, 0 being the least.
    func value(rank: Int) -> Float {
        var before = 0
        for bin in 0..<Self.bins {
            let count = Int(counts[bin])
            if rank < before + count {
                // The numbers of a bin are taken to lie evenly in it.
                let part = (Float(rank - before) + 0.5) / Float(count)
                return (Float(bin) + part) / Self.resolution
            }
            before += count
        }
        return 0
    }
}
