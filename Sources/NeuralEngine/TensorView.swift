// Where a tensor lies in the arena: its geometry, and a pointer once the arena exists.

/// Channels in a block; one pixel of a block is one AVX-512 register.
public let channelBlock = 16

/// `value` rounded up to a multiple of `unit`.
func roundUp(_ value: Int, to unit: Int) -> Int { (value + unit - 1) / unit * unit }

/// Shape of a tensor in blocks of 16 channels (NCHW16c, N = 1) with a border of zeros: one pixel on
/// each side, and more on the right and below up to whole Winograd tiles. Channels are
/// padded to whole blocks; the padding holds zeros.
public struct TensorShape: Sendable, Hashable {
    /// Channels in use.
    public let channels: Int
    /// Rows without border.
    public let height: Int
    /// Pixels in a row without border.
    public let width: Int

    /// A shape of at least one channel and one pixel.
    public init(channels: Int, height: Int, width: Int) {
        precondition(channels > 0 && height > 0 && width > 0, "a tensor is not empty")
        self.channels = channels
        self.height = height
        self.width = width
    }

    /// Blocks of 16 channels.
    public var blocks: Int { (channels + channelBlock - 1) / channelBlock }
    /// Channels with padding.
    public var paddedChannels: Int { blocks * channelBlock }
    /// Floats from one row of a block to the next.
    public var rowStride: Int { (Self.wholeTiles(width) + 2) * channelBlock }
    /// Floats from one block to the next.
    public var blockStride: Int { (Self.wholeTiles(height) + 2) * rowStride }
    /// Floats of the whole tensor.
    public var count: Int { blocks * blockStride }

    /// `length` up to the end of the last tile of 2, 4, 6 and (stride 2) 8 pixels.
    private static func wholeTiles(_ length: Int) -> Int {
        max(roundUp(length, to: 6), roundUp(length, to: 8))
    }
}

/// A tensor in memory: f32, NCHW16c, zero borders. Does not own the memory; valid while its
/// arena lives.
public struct TensorView {
    /// Geometry.
    public let shape: TensorShape
    /// First float of the border.
    let base: UnsafeMutablePointer<Float>

    /// The 16 channels of `block` at (`y`, `x`); -1 is the border.
    ///
    /// - Realtime: safe
    public func pixel(block: Int, y: Int, x: Int) -> UnsafeMutablePointer<Float> {
        base + block * shape.blockStride + (y + 1) * shape.rowStride + (x + 1) * channelBlock
    }

    /// Fills the interior from planes. Channels × height × width floats, row by row.
    public func load(planar values: UnsafeBufferPointer<Float>) {
        precondition(values.count == shape.channels * shape.height * shape.width)
        var index = 0
        for channel in 0..<shape.channels {
            for y in 0..<shape.height {
                let row = pixel(block: channel / channelBlock, y: y, x: 0)
                for x in 0..<shape.width {
                    row[x * channelBlock + channel % channelBlock] = values[index]
                    index += 1
                }
            }
        }
    }

    /// The interior as planes: channels × height × width floats, row by row.
    public func planar() -> [Float] {
        var values = [Float]()
        values.reserveCapacity(shape.channels * shape.height * shape.width)
        for channel in 0..<shape.channels {
            for y in 0..<shape.height {
                let row = pixel(block: channel / channelBlock, y: y, x: 0)
                for x in 0..<shape.width {
                    values.append(row[x * channelBlock + channel % channelBlock])
                }
            }
        }
        return values
    }
}
