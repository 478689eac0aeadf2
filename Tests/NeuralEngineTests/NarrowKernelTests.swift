// The GEMM kernels for bfloat16, int16 and int8 operands against plain C, and against what they promise.

import CKernels
import Testing

@testable import NeuralEngine

/// One table under test.
struct NarrowTable: CustomTestStringConvertible {
    let isa: ck_isa
    let precision: Precision

    var testDescription: String { "isa \(isa.rawValue), \(precision.rawValue)" }

    func kernels() throws -> UnsafePointer<ck_matrix_kernels> {
        try #require(ck_matrix_kernels_for(isa, precision.operand))
    }

    func reference() throws -> UnsafePointer<ck_matrix_kernels> {
        try #require(ck_matrix_kernels_for(CK_SCALAR, precision.operand))
    }

    private static let narrow: [Precision] = [.int16, .bf16, .int8]

    /// Those that this machine can run beside the plain ones.
    static let all = [CK_AVX2, CK_AVX512].flatMap { isa in
        narrow.map { NarrowTable(isa: isa, precision: $0) }
    }.filter { ck_matrix_kernels_for($0.isa, $0.precision.operand) != nil }

    static let plain = narrow.map { NarrowTable(isa: CK_SCALAR, precision: $0) }
    static let integers = (all + plain).filter(\.precision.isInteger)

    var limit: Int32 { precision == .int8 ? CK_INT8_LIMIT : CK_INT16_LIMIT }

    /// What element `index` stands for; integers without their factor.
    func value(_ bytes: [UInt8], _ index: Int) -> Float {
        if precision == .int8 { return Float(bytes[index]) - 128 }
        let bits = UInt16(bytes[2 * index]) | UInt16(bytes[2 * index + 1]) << 8
        return precision == .bf16
            ? Float(bitPattern: UInt32(bits) << 16) : Float(Int16(bitPattern: bits))
    }

    /// Numbers as elements of the left-hand side.
    func elements(_ values: [Float]) -> [UInt8] {
        values.flatMap { value -> [UInt8] in
            switch precision {
            case .int8: return [UInt8(value * 127 + 128)]
            case .bf16:
                let bits = value.bitPattern >> 16
                return [UInt8(bits & 255), UInt8(bits >> 8)]
            default:
                let bits = UInt16(bitPattern: Int16(value * 8191))
                return [UInt8(bits & 255), UInt8(bits >> 8)]
            }
        }
    }
}

struct NarrowKernelTests {
    private static let sizes: [WinogradSize] = [.f4, .stride2]

    /// Result of an input transform.
    private struct Transformed {
        var elements: [UInt8]
        var factors: [Float]
    }

    /// Runs an input transform on `blocks` blocks of a window high enough for one row of tiles.
    private func transform(
        _ kernels: UnsafePointer<ck_matrix_kernels>, _ table: NarrowTable, _ size: WinogradSize,
        _ source: [Float], tiles: Int, blocks: Int
    ) -> Transformed {
        let window = size == .f4 ? 6 : 9
        let rowStride = source.count / blocks / window
        let inputs = 16 * blocks
        var result = Transformed(
            elements: [UInt8](
                repeating: 77,
                count: size.points * (tiles * inputs + 16) * table.precision.byteCount),
            factors: [Float](repeating: -77, count: tiles * 16))
        var staging = [Float](repeating: 0, count: size.points * inputs)
        size.input(kernels)?(
            source, rowStride, window * rowStride, blocks, tiles, &result.elements,
            tiles * inputs + 16, inputs, &result.factors, &staging)
        return result
    }

    private func source(_ size: WinogradSize, tiles: Int, blocks: Int, seed: Int) -> [Float] {
        var noise = Noise(seed: UInt64(seed))
        let window = size == .f4 ? 6 : 9
        return noise.floats(blocks * window * (size.stride * 4 * tiles + 2) * 16)
    }

    @Test("Tables are there where they should be, and complete")
    func tables() throws {
        for table in NarrowTable.all + NarrowTable.plain {
            let kernels = try table.kernels()
            #expect(kernels.pointee.multiply != nil)
            for size in Self.sizes {
                #expect(size.input(kernels) != nil && size.output(kernels) != nil)
            }
        }
        #expect(ck_matrix_kernels_for(CK_AVX2, CK_BF16) == nil, "AVX2 has no bfloat16")
    }

    @Test("The input transform equals the reference", arguments: NarrowTable.all, sizes)
    private func input(table: NarrowTable, size: WinogradSize) throws {
        for tiles in [1, 2, 5] {
            for blocks in [1, 3] {
                let source = source(size, tiles: tiles, blocks: blocks, seed: tiles)
                let fast = transform(
                    try table.kernels(), table, size, source, tiles: tiles, blocks: blocks)
                let plain = transform(
                    try table.reference(), table, size, source, tiles: tiles, blocks: blocks)
                #expect(isClose(fast.factors, plain.factors, tolerance: 1e-6))
                let count = fast.elements.count / table.precision.byteCount
                let isNear = (0..<count).allSatisfy {
                    let (a, b) = (
                        table.value(fast.elements, $0), table.value(plain.elements, $0)
                    )
                    // One step of rounding: of 8 bits for bfloat16.
                    return abs(a - b) <= (table.precision == .bf16 ? 1e-6 + abs(b) / 100 : 1)
                }
                #expect(isNear, "\(tiles) tiles, \(blocks) blocks")
            }
        }
    }

    @Test("The largest magnitude of a row becomes the limit", arguments: NarrowTable.integers)
    func limit(table: NarrowTable) throws {
        for size in Self.sizes {
            for gain: Float in [1e-20, 1, 1e20] {
                let source = source(size, tiles: 2, blocks: 2, seed: 9).map { $0 * gain }
                let result = transform(
                    try table.kernels(), table, size, source, tiles: 2, blocks: 2)
                for tile in 0..<2 {
                    let peak = (0..<size.points * 32).reduce(Float(0)) { peak, index in
                        let (point, channel) = index.quotientAndRemainder(dividingBy: 32)
                        let at = point * 80 + tile * 32 + channel
                        return max(peak, abs(table.value(result.elements, at)))
                    }
                    #expect(peak == Float(table.limit), "\(gain)")
                }
            }
        }
    }

    @Test("A flat black picture is all zeros", arguments: NarrowTable.integers)
    func zero(table: NarrowTable) throws {
        for size in Self.sizes {
            let source = source(size, tiles: 1, blocks: 1, seed: 1).map { _ in Float(0) }
            let result = transform(
                try table.kernels(), table, size, source, tiles: 1, blocks: 1)
            #expect(result.factors.allSatisfy { $0 >= 0 && $0 < 1e-30 })
            let isZero = (0..<size.points).allSatisfy { point in
                (0..<16).allSatisfy { table.value(result.elements, point * 32 + $0) == 0 }
            }
            #expect(isZero)
        }
    }

    @Test(
        "NaN and infinity come through", arguments: NarrowTable.all + NarrowTable.plain, sizes)
    private func notFinite(table: NarrowTable, size: WinogradSize) throws {
        let kernels = try table.kernels()
        let operand = WinogradOperand(
            size: size, precision: table.precision, inputs: 16, outputs: 16)
        // What each result depends on: the windows' first row and column meet no weight but zero.
        let weights = try ConvolutionWeights(
            outputs: 16, inputs: 16, kernel: 3,
            values: (0..<16 * 16 * 9).map { $0 / 9 % 17 == 0 ? 1 : 0.25 })
        var packed = [Float](repeating: 0, count: operand.totalByteCount / 4)
        var factors = [Float](repeating: 0, count: size.points * 16)
        operand.pack(weights, to: &packed, factors: &factors)
        for bad in [Float.nan, -.nan, .infinity, -.infinity] {
            for lane in [0, 7, 15] {
                var source = source(size, tiles: 1, blocks: 1, seed: 4)
                let window = size == .f4 ? 6 : 9
                source[(window / 2 * (source.count / 16 / window) + window / 2) * 16 + lane] = bad
                let input = transform(kernels, table, size, source, tiles: 1, blocks: 1)
                var sums = [UInt32](repeating: 0, count: size.points * 16)
                for point in 0..<size.points {
                    packed.withUnsafeBytes { packed in
                        input.elements.withUnsafeBytes { elements in
                            guard let b = packed.baseAddress, let a = elements.baseAddress else {
                                return
                            }
                            sums.withUnsafeMutableBufferPointer { sums in
                                kernels.pointee.multiply(
                                    a + point * 32 * table.precision.byteCount, 16, [0], 1,
                                    b + size.operand(of: point) * operand.byteCount, 1, 1,
                                    sums.baseAddress.map { $0 + point * 16 }, 16, nil)
                            }
                        }
                    }
                }
                var target = [Float](repeating: 0, count: 4 * 4 * 16)
                let bias = [Float](repeating: 0, count: 16)
                size.output(kernels)?(
                    sums, 16, 0, 4, 4, &target, 64, bias, nil, CK_RELU, input.factors, factors, 16)
                #expect(target.contains { !$0.isFinite }, "\(bad) in lane \(lane)")
            }
        }
    }

    @Test("The output transform equals the reference at every edge", arguments: NarrowTable.all)
    func output(table: NarrowTable) throws {
        for size in Self.sizes {
            for columns in [1, 4, 5, 11] {
                for rows in 1...4 {
                    for activation in KernelTests.activations {
                        try compareOutput(table, size, columns, rows, activation)
                    }
                }
            }
        }
    }

    private func compareOutput(
        _ table: NarrowTable, _ size: WinogradSize, _ columns: Int, _ rows: Int,
        _ activation: ck_activation
    ) throws {
        var noise = Noise(seed: UInt64(columns * 8 + rows))
        let tiles = (columns + 3) / 4
        let pointStride = tiles * 32 + 16
        let sums = noise.floats(size.points * pointStride).map {
            table.precision.isInteger ? UInt32(bitPattern: Int32($0 * 2e9)) : $0.bitPattern
        }
        let rowFactors = noise.floats(tiles * 16)
        let columnFactors = noise.floats(size.points * 16).map { $0 * 1e-9 }
        let rowStride = (4 * tiles + 2) * 16
        let residual = noise.floats(4 * rowStride)
        let bias = noise.floats(16)
        for adds in [true, false] {
            var results = [[Float]](
                repeating: [Float](repeating: -77, count: 4 * rowStride), count: 2)
            for (index, kernels) in [try table.kernels(), try table.reference()].enumerated() {
                residual.withUnsafeBufferPointer {
                    size.output(kernels)?(
                        sums, pointStride, 32, rows, columns, &results[index], rowStride, bias,
                        adds ? $0.baseAddress : nil, activation, rowFactors, columnFactors, 16)
                }
            }
            #expect(
                isClose(results[0], results[1], tolerance: 1e-4),
                "\(size) \(columns)×\(rows) \(activation) \(adds)")
        }
    }

    @Test("Products equal the reference", arguments: NarrowTable.all)
    func multiply(table: NarrowTable) throws {
        for blocks in [1, 2, 3, 4, 5, 6, 9] {
            for steps in [1, 2, 5] {
                for rows in [1, 2, 3, 4, 5, 7, 11, 13, 24, 25] {
                    try compareProducts(table, blocks: blocks, steps: steps, rows: rows)
                }
            }
        }
    }

    private func compareProducts(
        _ table: NarrowTable, blocks: Int, steps: Int, rows: Int
    ) throws {
        var noise = Noise(seed: UInt64(blocks * 100 + steps * 10 + rows))
        let stride = steps * 16 + 32
        let a = table.elements(noise.floats(rows * stride))
        let b = panels(table, blocks: blocks, depth: 16 * steps, &noise)
        // Runs in any order, and overlapping.
        let offsets = (0..<steps).map { _ in Int32(4 * noise.below(stride / 4 - 4)) }
        let target = blocks * 16 + 16
        var results = [[UInt32]](repeating: [UInt32](repeating: 7, count: rows * target), count: 2)
        for (index, kernels) in [try table.kernels(), try table.reference()].enumerated() {
            b.withUnsafeBytes {
                kernels.pointee.multiply(
                    a, stride, offsets, steps, $0.baseAddress, blocks, rows, &results[index],
                    target, index == 0 && rows > 3 ? $0.baseAddress : nil)
            }
        }
        let what: Comment = "\(blocks) blocks, \(steps) steps, \(rows) rows"
        if table.precision.isInteger {
            #expect(results[0] == results[1], what)
        } else {
            let sums = results.map { $0.map { Float(bitPattern: $0) } }
            #expect(isClose(sums[0], sums[1], tolerance: 1e-5), what)
        }
    }

    /// Random weights, packed.
    private func panels(
        _ table: NarrowTable, blocks: Int, depth: Int, _ noise: inout Noise
    ) -> [UInt8] {
        (0..<blocks).flatMap { _ -> [UInt8] in
            let values = noise.floats(depth * 16)
            guard table.precision == .int8 else { return table.elements(values) }
            let bytes = values.map { Int8($0 * 127) }
            let sums = (0..<16).map { column in
                (0..<depth).reduce(Int32(0)) {
                    $0 - 128 * Int32(bytes[($1 / 4 * 16 + column) * 4 + $1 % 4])
                }
            }
            return sums.withUnsafeBytes { Array($0) } + bytes.map { UInt8(bitPattern: $0) }
        }
    }

    @Test("The largest int16 sums are exact", arguments: NarrowTable.integers)
    func largestSums(table: NarrowTable) throws {
        // Weights as large as they are ever packed, and a left-hand side with their signs at its
        // limit: no sum can be larger.
        let depth = 128
        var noise = Noise(seed: 3)
        let column = noise.floats(depth).map { Double($0 < 0 ? $0 - 9 : $0 + 9) }
        let scale = WinogradOperand.scale(of: column, table.precision)
        let weights = column.map { Int(($0 * scale).rounded()) }
        let bound = weights.reduce(0) { $0 + abs($1) } * Int(table.limit)
        #expect(bound <= Int(Int32.max), "the bound of the proof")
        if table.precision == .int16 {
            #expect(bound > Int(Int32.max) * 9 / 10, "the test reaches the bound")
        }
        for sign in [1, -1] {
            let a = table.elements(weights.map { Float($0.signum() * sign) })
            var b = [UInt8]()
            if table.precision == .int8 {
                let first = [Int32](repeating: Int32(-128 * weights.reduce(0, +)), count: 16)
                b += first.withUnsafeBytes { Array($0) }
            }
            let group = 4 / table.precision.byteCount
            for row in stride(from: 0, to: depth, by: group) {
                for _ in 0..<16 {
                    for weight in weights[row..<row + group] {
                        b.append(UInt8(truncatingIfNeeded: weight))
                        if group == 2 { b.append(UInt8(truncatingIfNeeded: weight >> 8)) }
                    }
                }
            }
            let offsets = (0..<depth / 16).map { Int32($0 * 16) }
            var sums = [Int32](repeating: 0, count: 16)
            try table.kernels().pointee.multiply(
                a, depth, offsets, depth / 16, b, 1, 1, &sums, 16, nil)
            #expect(sums.allSatisfy { Int($0) == sign * bound })
        }
    }

    @Test("Packed weights obey the bound of the proof, whatever they are")
    func packing() throws {
        var noise = Noise(seed: 5)
        for precision in [Precision.int16, .int8] {
            let limit = Double(precision == .int8 ? CK_INT8_LIMIT : CK_INT16_LIMIT)
            let largest: Double = precision == .int8 ? 127 : 32767
            for count in [16, 48, 96, 4096] {
                for gain in [1e-25, 1, 1e25] {
                    let spread = noise.floats(count).map { Double($0) * gain }
                    let peaked = spread.enumerated().map { $0 == 3 ? 1000 * gain : $1 }
                    let flat = [Double](repeating: gain, count: count)
                    for column in [spread, peaked, flat, flat.map { _ in 0 }] {
                        let scale = WinogradOperand.scale(of: column, precision)
                        let packed = column.map { ($0 * scale).rounded() }
                        #expect(scale.isFinite && scale > 0)
                        #expect(packed.allSatisfy { abs($0) <= largest })
                        #expect(
                            packed.reduce(0) { $0 + abs($1) } * limit <= Double(Int32.max))
                    }
                }
            }
        }
    }
}
