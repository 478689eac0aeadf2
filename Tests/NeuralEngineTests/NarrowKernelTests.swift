// The GEMM kernels for bfloat16 and int16 operands against plain C, and against what they promise.

import CKernels
import Testing

/// One table under test; operands of both types take 16 bits.
struct NarrowTable: CustomTestStringConvertible {
    let isa: ck_isa
    let operand: ck_operand

    var isInteger: Bool { operand == CK_INT16 }
    var testDescription: String { "isa \(isa.rawValue), operand \(operand.rawValue)" }

    func kernels() throws -> ck_matrix_kernels {
        try #require(ck_matrix_kernels_for(isa, operand)).pointee
    }

    func reference() throws -> ck_matrix_kernels {
        try #require(ck_matrix_kernels_for(CK_SCALAR, operand)).pointee
    }

    /// Those that this machine can run beside the plain ones.
    static let all = [CK_AVX2, CK_AVX512].flatMap { isa in
        [CK_BF16, CK_INT16].map { NarrowTable(isa: isa, operand: $0) }
    }.filter { ck_matrix_kernels_for($0.isa, $0.operand) != nil }

    static let plain = [CK_BF16, CK_INT16].map { NarrowTable(isa: CK_SCALAR, operand: $0) }

    /// Whether two elements are the same but for one step of rounding.
    func isNear(_ a: UInt16, _ b: UInt16) -> Bool {
        abs(Int(Int16(bitPattern: a)) - Int(Int16(bitPattern: b))) <= 1
    }
}

/// F(m × m, 3 × 3): its kernels, and what is known of it.
private struct Size {
    let m: Int
    let input: KeyPath<ck_matrix_kernels, InputTransform>
    let output: KeyPath<ck_matrix_kernels, OutputTransform>

    var points: Int { (m + 2) * (m + 2) }

    typealias InputTransform =
        @convention(c) (
            UnsafePointer<Float>?, Int, Int, UnsafeMutableRawPointer?, Int, Int,
            UnsafePointer<Float>?, Int
        ) -> Void
    typealias OutputTransform =
        @convention(c) (
            UnsafeRawPointer?, Int, Int, Int, Int, UnsafeMutablePointer<Float>?, Int,
            UnsafePointer<Float>?, UnsafePointer<Float>?, ck_activation, UnsafePointer<Float>?, Int
        ) -> Void

    static let all = [
        Size(m: 2, input: \.winograd_input.0!, output: \.winograd_output.0!),
        Size(m: 4, input: \.winograd_input.1!, output: \.winograd_output.1!),
        Size(m: 6, input: \.winograd_input.2!, output: \.winograd_output.2!),
    ]
}

struct NarrowKernelTests {
    @Test("This machine's tables are complete")
    func tables() throws {
        for table in NarrowTable.all + NarrowTable.plain {
            let kernels = try table.kernels()
            #expect(kernels.multiply != nil && kernels.convert != nil)
            #expect(kernels.winograd_input.0 != nil && kernels.winograd_output.2 != nil)
        }
        #expect(ck_matrix_kernels_for(CK_AVX2, CK_BF16) == nil, "AVX2 has no bfloat16")
    }

    @Test("Rounding to elements equals the reference bit by bit", arguments: NarrowTable.all)
    func convert(table: NarrowTable) throws {
        var noise = Noise(seed: 1)
        let count = 37
        var source = noise.floats(count * 16).map { $0 * 2000 }
        // Ties, ends, and what is no number.
        let special: [Float] = [
            0.5, 1.5, -2.5, 1e30, -1e30, .infinity, -.infinity, .nan, -.nan, .signalingNaN, 8191.5,
            -0.0, 1.003_906_25, 1.011_718_75,
        ]
        for (index, value) in special.enumerated() { source[5 * 16 + index] = value }
        var scales = noise.floats(16).map { 10 * $0 }
        for index in special.indices { scales[index] = 1 }
        var results = [[UInt16]](repeating: [UInt16](repeating: 7, count: count * 32), count: 2)
        for (index, kernels) in [try table.kernels(), try table.reference()].enumerated() {
            kernels.convert(source, count, &results[index], 32, scales)
        }
        if table.isInteger {
            // NaN becomes some number: which one is left open.
            for index in 7...9 {
                for result in results.indices { results[result][5 * 32 + index] = 0 }
            }
        }
        #expect(results[0] == results[1])
        #expect(results[0][16] == 7, "what lies between pixels is left alone")
    }

    @Test("The input transform equals the reference", arguments: NarrowTable.all)
    func winogradInput(table: NarrowTable) throws {
        for size in Size.all {
            for tiles in [1, 2, 5] {
                var noise = Noise(seed: UInt64(tiles))
                let rowStride = (size.m * tiles + 3) * 16
                let source = noise.floats((size.m + 2) * rowStride)
                let pointStride = tiles * 48 + 16
                let scales = noise.floats(size.points * 32).map { 300 * $0 }
                var results = [[UInt16]](
                    repeating: [UInt16](repeating: 7, count: size.points * pointStride), count: 2)
                for (index, kernels) in [try table.kernels(), try table.reference()].enumerated() {
                    kernels[keyPath: size.input](
                        source, rowStride, tiles, &results[index], pointStride, 48, scales, 32)
                }
                let isNear = zip(results[0], results[1]).allSatisfy { a, b in
                    table.isNear(a, b) || abs(value(a, table)) + abs(value(b, table)) < 1e-3
                }
                #expect(isNear, "F(\(size.m)), \(tiles) tiles")
            }
        }
    }

    private func value(_ element: UInt16, _ table: NarrowTable) -> Float {
        table.isInteger
            ? Float(Int16(bitPattern: element)) : Float(bitPattern: UInt32(element) << 16)
    }

    @Test("The output transform equals the reference at every edge", arguments: NarrowTable.all)
    func winogradOutput(table: NarrowTable) throws {
        for size in Size.all {
            for columns in [1, size.m, size.m + 1, 3 * size.m - 1] {
                for rows in [1, size.m - 1, size.m] {
                    for activation in KernelTests.activations {
                        try compareOutput(table, size, columns, rows, activation)
                    }
                }
            }
        }
    }

    private func compareOutput(
        _ table: NarrowTable, _ size: Size, _ columns: Int, _ rows: Int,
        _ activation: ck_activation
    ) throws {
        var noise = Noise(seed: UInt64(columns * 8 + rows))
        let tiles = (columns + size.m - 1) / size.m
        let pointStride = tiles * 32 + 16
        let floats = noise.floats(size.points * pointStride)
        let sums = floats.map {
            table.isInteger ? UInt32(bitPattern: Int32($0 * 2e9)) : $0.bitPattern
        }
        let scales = noise.floats(size.points * 16).map { $0 * 5e-10 }
        let rowStride = (size.m * tiles + 2) * 16
        let residual = noise.floats(size.m * rowStride)
        let bias = noise.floats(16)
        for adds in [true, false] {
            var results = [[Float]](
                repeating: [Float](repeating: -77, count: size.m * rowStride), count: 2)
            for (index, kernels) in [try table.kernels(), try table.reference()].enumerated() {
                residual.withUnsafeBufferPointer {
                    kernels[keyPath: size.output](
                        sums, pointStride, 32, rows, columns, &results[index], rowStride, bias,
                        adds ? $0.baseAddress : nil, activation, scales, 16)
                }
            }
            #expect(
                isClose(results[0], results[1], tolerance: 3e-4),
                "F(\(size.m)) \(columns)×\(rows) \(activation) \(adds)")
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
        let a = elements(rows * stride, table, &noise)
        let b = elements(steps * 16 * blocks * 16, table, &noise)
        // Runs in any order, and overlapping.
        let offsets = (0..<steps).map { _ in Int32(2 * noise.below(stride / 2 - 8)) }
        let target = blocks * 16 + 16
        var results = [[UInt32]](repeating: [UInt32](repeating: 7, count: rows * target), count: 2)
        for (index, kernels) in [try table.kernels(), try table.reference()].enumerated() {
            kernels.multiply(
                a, stride, offsets, steps, b, blocks, rows, &results[index], target,
                index == 0 && rows > 3 ? b : nil)
        }
        if table.isInteger {
            #expect(results[0] == results[1], "\(blocks) blocks, \(steps) steps, \(rows) rows")
        } else {
            let sums = results.map { $0.map { Float(bitPattern: $0) } }
            #expect(
                isClose(sums[0], sums[1], tolerance: 1e-5),
                "\(blocks) blocks, \(steps) steps, \(rows) rows")
        }
    }

    private func elements(_ count: Int, _ table: NarrowTable, _ noise: inout Noise) -> [UInt16] {
        (0..<count).map { _ in
            let value = noise.float()
            return table.isInteger
                ? UInt16(bitPattern: Int16(value * 8191)) : UInt16(value.bitPattern >> 16)
        }
    }

    @Test(
        "An int16 operand never leaves its limit, whatever the input",
        arguments: (NarrowTable.all + NarrowTable.plain).filter(\.isInteger))
    func saturation(table: NarrowTable) throws {
        let kernels = try table.kernels()
        let values: [Float] = [
            .nan, -.nan, .signalingNaN, .infinity, -.infinity, .greatestFiniteMagnitude,
            -.greatestFiniteMagnitude, 1e10, -1e10, 3e9, -3e9, 32768, -32769, 65536, 0, 1,
        ]
        let limit = Int16(CK_INT16_LIMIT)
        let scales = [Float](repeating: 1, count: 64 * 16)
        var target = [Int16](repeating: .max, count: 16)
        kernels.convert(values, 1, &target, 16, scales)
        #expect(target.allSatisfy { abs($0) <= limit })
        for (value, element) in zip(values, target) where abs(value) >= 32768 {
            #expect(element == (value > 0 ? limit : -limit), "\(value)")
        }
        for size in Size.all {
            let n = size.m + 2
            for value in values {
                let source = [Float](repeating: value, count: n * n * 16)
                var points = [Int16](repeating: .max, count: size.points * 16)
                kernels[keyPath: size.input](source, n * 16, 1, &points, 16, 16, scales, 16)
                #expect(points.allSatisfy { abs($0) <= limit }, "F(\(size.m)) of \(value)")
            }
        }
    }

    @Test(
        "The largest int16 sums are exact", arguments: NarrowTable.all.filter(\.isInteger))
    func largestSums(table: NarrowTable) throws {
        // Weights at the bound of the proof, Σ |u| · limit ≤ 2³¹ − 1, and a left-hand side with
        // their signs at its limit: nothing can be larger.
        let kernels = try table.kernels()
        let steps = 6
        let depth = 16 * steps
        let bound = Int(Int32.max) / Int(CK_INT16_LIMIT)
        for sign in [1, -1] {
            var noise = Noise(seed: 3)
            var b = [Int16](repeating: 0, count: depth * 16)
            var a = [Int16](repeating: 0, count: depth)
            var left = bound
            for k in 0..<depth {
                let share = k == depth - 1 ? left : min(left, 1 + noise.below(2 * left / (depth - k)))
                left -= share
                let u = Int16(clamping: noise.below(2) == 0 ? share : -share)
                a[k] = Int16(sign) * Int16(CK_INT16_LIMIT) * Int16(u.signum())
                for column in 0..<16 { b[(k / 2 * 16 + column) * 2 + k % 2] = u }
            }
            let exact = (0..<depth).reduce(0) { $0 + Int(a[$1]) * Int(b[$1 / 2 * 32 + $1 % 2]) }
            #expect(abs(exact) > Int(Int32.max) * 99 / 100, "the test reaches the bound")
            let offsets = (0..<steps).map { Int32($0 * 16) }
            var sums = [Int32](repeating: 0, count: 16)
            kernels.multiply(a, depth, offsets, steps, b, 1, 1, &sums, 16, nil)
            #expect(sums.allSatisfy { Int($0) == exact })
        }
    }

    @Test(
        "NaN and infinity come through bfloat16 products",
        arguments: (NarrowTable.all + NarrowTable.plain).filter { !$0.isInteger })
    func notFinite(table: NarrowTable) throws {
        let kernels = try table.kernels()
        for value in [Float.nan, .infinity, -.infinity] {
            for lane in [0, 7, 15] {
                var pixel = [Float](repeating: 1, count: 16)
                pixel[lane] = value
                var a = [UInt16](repeating: 0, count: 16)
                kernels.convert(pixel, 1, &a, 16, nil)
                let b = [UInt16](repeating: UInt16(Float(1).bitPattern >> 16), count: 256)
                var sums = [Float](repeating: 0, count: 16)
                kernels.multiply(a, 16, [0], 1, b, 1, 1, &sums, 16, nil)
                #expect(sums.allSatisfy { !$0.isFinite }, "\(value) in lane \(lane)")
            }
        }
    }
}
