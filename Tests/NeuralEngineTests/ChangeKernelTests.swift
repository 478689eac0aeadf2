// The kernels of temporal reuse against the plain C ones.

import CKernels
import Testing

struct ChangeKernelTests {
    @Test("Changes of pictures equal the reference", arguments: KernelTests.tables)
    func cellChanges(isa: ck_isa) throws {
        for count in [1, 2, 3, 7] {
            var noise = Noise(seed: UInt64(count))
            let (aStride, bStride) = (24 * count + 5, 24 * count + 1)
            var a = noise.bytes(8 * aStride)
            var b = noise.bytes(8 * bStride)
            // The first cell as different as can be.
            for y in 0..<8 {
                for x in 0..<24 {
                    a[y * aStride + x] = 255
                    b[y * bStride + x] = 0
                }
            }
            for weights: [Float] in [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]] {
                try KernelTests.compare(isa, count: count + 1, "\(count)") { table, changes in
                    table.cell_changes(a, aStride, b, bStride, count, weights, changes)
                    if changes[0] != 65025 { changes[0] = -1 }
                }
            }
        }
    }

    @Test("Pictures that are the same have changed by nothing", arguments: KernelTests.tables)
    func same(isa: ck_isa) throws {
        var noise = Noise(seed: 1)
        let picture = noise.bytes(8 * 48)
        var changes: [Float] = [7, 7]
        let table = try #require(ck_kernels_for(isa)).pointee
        table.cell_changes(picture, 48, picture, 48, 2, [1, 1, 1, 1], &changes)
        #expect(changes == [0, 0])
    }

    /// Rows of a tensor with a border, and a copy in which some cells differ.
    private struct Cells {
        let blocks = 3
        let columns: Int
        let rowStride: Int
        let blockStride: Int
        let from: [Float]
        let target: [Float]

        /// Cell i differs by i · 0.01 in one number.
        init(columns: Int) {
            self.columns = columns
            rowStride = (2 * columns + 1) * 16
            blockStride = 2 * rowStride + 16
            var noise = Noise(seed: UInt64(columns))
            target = noise.floats(3 * blockStride)
            var from = target
            for cell in 0..<columns {
                let block = cell % blocks
                let row = cell % 2
                from[block * blockStride + row * rowStride + (2 * cell + 1) * 16 + cell % 16] +=
                    0.01 * Float(cell)
            }
            self.from = from
        }
    }

    @Test("Cells are taken as the reference takes them", arguments: KernelTests.tables)
    func takeCells(isa: ck_isa) throws {
        for columns in [1, 2, 5, 9] {
            let cells = Cells(columns: columns)
            let count = cells.target.count
            for threshold: Float in [-1, 0, 0.002, 1] {
                try KernelTests.compare(
                    isa, count: count + columns, tolerance: 1e-4, "\(columns) \(threshold)"
                ) { table, result in
                    result.update(from: cells.target, count: count)
                    table.take_cells(
                        cells.from, cells.rowStride, cells.blockStride, result, cells.rowStride,
                        cells.blockStride, cells.blocks, columns, 2, threshold, result + count)
                }
            }
        }
    }

    @Test(
        "A cell stays if it changed little, and is taken if much or by NaN",
        arguments: KernelTests.tables + [CK_SCALAR])
    func threshold(isa: ck_isa) throws {
        let table = try #require(ck_kernels_for(isa)).pointee
        let old = [Float](repeating: 1, count: 3 * 4 * 16)
        var from = old
        // Two rows of three cells; each cell has 2 × 2 pixels of 16 channels.
        from[0] = 1.1
        from[2 * 16] = 3
        from[4 * 16 + 6 * 16] = .nan
        var target = old
        var changes = [Float](repeating: 9, count: 3)
        table.take_cells(from, 6 * 16, 0, &target, 6 * 16, 0, 1, 3, 0.5, 0.1, &changes)
        #expect(changes[0] == 0)
        #expect(changes[1] == 2)
        #expect(changes[2].isNaN)
        #expect(target[0] == 1)
        #expect(target[2 * 16] == 3)
        #expect(target[4 * 16 + 6 * 16].isNaN)
    }

    @Test("Changes add up to tiles as in the reference", arguments: KernelTests.tables)
    func gather(isa: ck_isa) throws {
        for span in [1, 2, 3, 4] {
            for count in [1, 3, 8] {
                var noise = Noise(seed: UInt64(10 * span + count))
                let stride = span * count + 5
                let changes = noise.floats(stride * (span + 2)).map { abs($0) }
                for (before, after): (Float, Float) in [(0, 0), (0.25, 0), (0.25, 0.5)] {
                    try KernelTests.compare(isa, count: count + 1, "\(span) \(count)") {
                        table, tiles in
                        changes.withUnsafeBufferPointer {
                            guard let base = $0.baseAddress else { return }
                            table.gather_changes(
                                base + stride + 1, stride, span, before, after, 0.7, count, tiles)
                        }
                    }
                }
            }
        }
    }
}
