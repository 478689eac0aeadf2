// A frame number drawn into the picture and read back out of it, to measure the age of a picture
// behind any number of scalers, networks, encoders and applications. Any thread.
//
// The strip lies along the bottom edge of the picture. All its measures are fractions of the
// picture's width W, none of the height, so that the left, right and bottom edges of the picture
// are enough to find it. There are two layouts; a reader tries both:
//
//                      drawn when      columns   rows   quiet border   block height
//     one row          W ≥ 320         42        1      4/8 b          8/8 b
//     two rows         96 ≤ W < 320    22        2      3/8 b          6/8 b
//
// with b = W / columns, the width of a block. From bottom to top: the quiet border, the rows (the
// last row lowest), the quiet border again. The first and the last column are quiet too. Quiet is
// white, a 1 is a black block, a 0 a white one. The columns between hold, from left to right:
//
//     one row, row 0:   sync 1010, bits 31 … 0 of the message,  sync 0101
//     two rows, row 0:  sync 10,   bits 31 … 16 of the message, sync 10
//     two rows, row 1:  sync 01,   bits 15 … 0 of the message,  sync 01
//
// The message is the frame number modulo 2²⁴, then its CRC-8 (polynomial x⁸ + x² + x + 1, initial
// value FF, most significant bit first, over the three bytes of the number, highest first).
// Nothing is drawn when W < 96 or when the strip would cover more than a third of the height.
//
// `Tests/VM/barcode.py` reads the same strip with the same arithmetic.

public import Video

/// The machine-readable frame number along the bottom edge of a picture.
public enum Barcode {
    /// Rows that the strip covers at the bottom of a picture; 0 if it gets none.
    ///
    /// - Realtime: safe
    public static func stripHeight(width: Int, height: Int) -> Int {
        guard width >= widthMin else { return 0 }
        let layout = width >= oneRowWidthMin ? Layout.oneRow : Layout.twoRows
        let rows = layout.pixels(eighths: layout.stripEighths, width: width)
        return 3 * rows <= height ? rows : 0
    }

    /// Draws `value` modulo 2²⁴ into `frame` (RGB24), over what lies at its bottom edge.
    ///
    /// - Realtime: allocates nothing
    public static func draw(_ value: UInt32, into frame: FrameBuffer) {
        precondition(frame.format.pixelFormat == .rgb24, "barcodes are drawn in RGB24")
        let (width, height) = (frame.format.width, frame.format.height)
        let strip = stripHeight(width: width, height: height)
        guard strip > 0 else { return }
        let layout = width >= oneRowWidthMin ? Layout.oneRow : Layout.twoRows
        fill(frame, x: 0..<width, y: height - strip..<height, value: 255)
        let message = message(of: value)
        for row in 0..<layout.rows {
            let top = height - layout.pixels(eighths: layout.topEighths(row: row), width: width)
            let bottom =
                height - layout.pixels(eighths: layout.topEighths(row: row + 1), width: width)
            for column in 1..<layout.columns - 1
            where layout.bit(row: row, column: column, of: message) {
                let left = layout.pixels(eighths: 8 * column, width: width)
                let right = layout.pixels(eighths: 8 * column + 8, width: width)
                fill(frame, x: left..<right, y: top..<bottom, value: 0)
            }
        }
    }

    /// Frame number modulo 2²⁴ in `frame` (RGB24), or `nil` if it shows none that is intact.
    ///
    /// The picture may be scaled, lie between black bars, be noisy, blurred, compressed, or of
    /// another contrast. Its whole bottom edge has to be there, 96 pixels wide or more.
    ///
    /// - Realtime: allocates nothing
    public static func read(_ frame: FrameBuffer) -> UInt32? {
        let format = frame.format
        guard format.pixelFormat == .rgb24, format.width >= widthMin else { return nil }
        let whole = Area(left: 0, right: format.width, bottom: format.height)
        if let value = read(frame, in: whole) { return value }
        guard let area = areaBetweenBars(frame), area != whole else { return nil }
        return read(frame, in: area)
    }

    // A block is then 4.4 pixels wide or more; with two rows of 22 columns.
    private static let widthMin = 96
    // A block of the one row is then 7.6 pixels wide or more.
    private static let oneRowWidthMin = 320
    /// Least difference of white and black, in luma sums of 0…1020.
    private static let contrastMin = 96
    /// Largest luma sum that a black bar may have, ringing included.
    private static let barMax = 256

    /// Number and check bits as they are drawn, highest first.
    static func message(of value: UInt32) -> UInt32 { (value << 8) | UInt32(crc8(value)) }

    /// CRC-8 of the three low bytes.
    static func crc8(_ value: UInt32) -> UInt8 {
        var crc: UInt8 = 0xff
        for shift in stride(from: 16, through: 0, by: -8) {
            crc ^= UInt8(truncatingIfNeeded: value >> UInt32(shift))
            for _ in 0..<8 { crc = (crc << 1) ^ (crc & 0x80 != 0 ? 0x07 : 0) }
        }
        return crc
    }

    private static func fill(_ frame: FrameBuffer, x: Range<Int>, y: Range<Int>, value: UInt8) {
        for y in y {
            let row = frame.plane(0).advanced(by: y * frame.strides[0])
            for index in 3 * x.lowerBound..<3 * x.upperBound { row[index] = value }
        }
    }
}

/// Where the blocks lie. Lengths are eighths of a block's width.
private struct Layout {
    let columns: Int
    let rows: Int
    let quietEighths: Int
    let blockEighths: Int
    /// Sync blocks at either end of a row, and what they hold, row 0 highest.
    let syncCount: Int
    let leftSync: UInt32
    let rightSync: UInt32

    static let oneRow = Layout(
        columns: 42, rows: 1, quietEighths: 4, blockEighths: 8, syncCount: 4, leftSync: 0b1010,
        rightSync: 0b0101)
    static let twoRows = Layout(
        columns: 22, rows: 2, quietEighths: 3, blockEighths: 6, syncCount: 2, leftSync: 0b1001,
        rightSync: 0b1001)

    var stripEighths: Int { 2 * quietEighths + rows * blockEighths }

    /// Height of a row's top edge above the bottom of the picture.
    func topEighths(row: Int) -> Int { quietEighths + (rows - row) * blockEighths }

    /// A length in whole pixels, rounded.
    func pixels(eighths: Int, width: Int) -> Int {
        (2 * eighths * width + 8 * columns) / (16 * columns)
    }

    /// Whether a block is black.
    func bit(row: Int, column: Int, of message: UInt32) -> Bool {
        let dataColumns = columns - 2 - 2 * syncCount
        let fromRight = (rows - 1 - row)
        let index: Int
        let bits: UInt32
        if column == 0 || column == columns - 1 { return false }
        if column <= syncCount {
            (bits, index) = (leftSync, fromRight * syncCount + syncCount - column)
        } else if column <= syncCount + dataColumns {
            (bits, index) = (
                message, fromRight * dataColumns + syncCount + dataColumns - column
            )
        } else {
            (bits, index) = (rightSync, fromRight * syncCount + columns - 2 - column)
        }
        return (bits >> UInt32(index)) & 1 != 0
    }
}

/// Edges of the picture within a frame: x in left..<right, the last row is bottom - 1.
private struct Area: Equatable {
    let left: Int
    let right: Int
    let bottom: Int
    var width: Int { right - left }
}

extension Barcode {
    private static func read(_ frame: FrameBuffer, in area: Area) -> UInt32? {
        guard area.width >= widthMin else { return nil }
        return read(frame, in: area, layout: .oneRow) ?? read(frame, in: area, layout: .twoRows)
    }

    private static func read(_ frame: FrameBuffer, in area: Area, layout: Layout) -> UInt32? {
        guard area.bottom >= layout.pixels(eighths: layout.stripEighths, width: area.width),
            let left = threshold(frame, area, layout, first: 1, sync: layout.leftSync),
            let right = threshold(
                frame, area, layout, first: layout.columns - 1 - layout.syncCount,
                sync: layout.rightSync)
        else { return nil }
        var message: UInt32 = 0
        for row in 0..<layout.rows {
            for column in 0..<layout.columns {
                let threshold =
                    (left * (layout.columns - 1 - column) + right * column) / (layout.columns - 1)
                let isBlack = mean(frame, area, layout, row: row, column: column) < threshold
                if column > layout.syncCount && column < layout.columns - 1 - layout.syncCount {
                    message = (message << 1) | (isBlack ? 1 : 0)
                } else if isBlack != layout.bit(row: row, column: column, of: 0) {
                    return nil
                }
            }
        }
        let value = message >> 8
        return UInt8(truncatingIfNeeded: message) == crc8(value) ? value : nil
    }

    /// The middle between the black and the white sync blocks at one end of the rows.
    private static func threshold(
        _ frame: FrameBuffer, _ area: Area, _ layout: Layout, first: Int, sync: UInt32
    ) -> Int? {
        var (black, white) = (0, 0)
        for row in 0..<layout.rows {
            for column in first..<first + layout.syncCount {
                let value = mean(frame, area, layout, row: row, column: column)
                if layout.bit(row: row, column: column, of: 0) {
                    black += value
                } else {
                    white += value
                }
            }
        }
        // Half of the sync blocks at either end are black, half are white.
        let count = layout.rows * layout.syncCount / 2
        black /= count
        white /= count
        return white - black >= contrastMin ? (white + black) / 2 : nil
    }

    /// Mean of R + 2 G + B over the middle quarter of a block: at its edges codecs blur and
    /// networks draw lines.
    private static func mean(
        _ frame: FrameBuffer, _ area: Area, _ layout: Layout, row: Int, column: Int
    ) -> Int {
        let unit = 4 * layout.columns
        let x0 = area.left + (4 * column + 1) * area.width / unit
        let x1 = max(x0 + 1, area.left + ((4 * column + 3) * area.width + unit - 1) / unit)
        // In 32nds of a block's width above the bottom edge.
        let top = 4 * layout.topEighths(row: row) - layout.blockEighths
        let low = 4 * layout.topEighths(row: row) - 3 * layout.blockEighths
        let y0 = area.bottom - (top * area.width + 8 * unit - 1) / (8 * unit)
        let y1 = max(y0 + 1, area.bottom - low * area.width / (8 * unit))
        var sum = 0
        for y in y0..<y1 {
            let pixels = frame.plane(0).advanced(by: y * frame.strides[0])
            for x in x0..<x1 { sum += luma(pixels, x) }
        }
        return sum / ((x1 - x0) * (y1 - y0))
    }

    private static func luma(_ row: UnsafeMutablePointer<UInt8>, _ x: Int) -> Int {
        Int(row[3 * x]) + 2 * Int(row[3 * x + 1]) + Int(row[3 * x + 2])
    }

    /// The picture's edges if black bars surround it: the quiet border is bright all along them.
    private static func areaBetweenBars(_ frame: FrameBuffer) -> Area? {
        let (width, height) = (frame.format.width, frame.format.height)
        var bottom = height
        while bottom > 0 && isDark(frame, x: width / 4..<width * 3 / 4, y: bottom - 1..<bottom) {
            bottom -= 1
        }
        guard bottom > 0 else { return nil }
        let rows = max(0, bottom - max(1, height / 16))..<bottom
        var left = 0
        while left < width && isDark(frame, x: left..<left + 1, y: rows) { left += 1 }
        var right = width
        while right > left && isDark(frame, x: right - 1..<right, y: rows) { right -= 1 }
        return Area(left: left, right: right, bottom: bottom)
    }

    private static func isDark(_ frame: FrameBuffer, x: Range<Int>, y: Range<Int>) -> Bool {
        for y in y {
            let row = frame.plane(0).advanced(by: y * frame.strides[0])
            for x in x where luma(row, x) > barMax { return false }
        }
        return true
    }
}
