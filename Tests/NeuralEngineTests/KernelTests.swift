// Every SIMD kernel against the plain C one, for each instruction set this machine can run.

import CKernels
import Glibc
import Testing

/// Deterministic numbers, so that a failure repeats.
struct Noise {
    private var state: UInt64

    init(seed: UInt64) { state = seed &* 0x9e37_79b9_7f4a_7c15 | 1 }

    mutating func next() -> UInt64 {
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        return state
    }

    mutating func byte() -> UInt8 { UInt8(truncatingIfNeeded: next() >> 24) }

    mutating func below(_ bound: Int) -> Int { Int(next() >> 11) % bound }

    /// -1 ..< 1
    mutating func float() -> Float { Float(next() >> 40) / Float(1 << 23) - 1 }

    mutating func floats(_ count: Int) -> [Float] { (0..<count).map { _ in float() } }

    mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in byte() } }
}

/// |a − b| ≤ tolerance · max(1, |b|) everywhere, NaN equal to NaN.
func isClose(_ a: [Float], _ b: [Float], tolerance: Float) -> Bool {
    a.count == b.count
        && zip(a, b).allSatisfy { x, y in
            x == y || (x.isNaN && y.isNaN) || abs(x - y) <= tolerance * max(1, abs(y))
        }
}

struct KernelTests {
    static let tables: [ck_isa] = [CK_AVX2, CK_AVX512].filter { ck_supports($0) != 0 }
    static let activations = [CK_NONE, CK_RELU, CK_SILU]

    /// Runs `body` with the table under test and the reference; the filled outputs must agree.
    static func compare(
        _ isa: ck_isa, count: Int, tolerance: Float = 1e-5, _ what: String,
        _ body: (ck_kernels, UnsafeMutablePointer<Float>) -> Void
    ) throws {
        compare(
            try #require(ck_kernels_for(isa)).pointee,
            try #require(ck_kernels_for(CK_SCALAR)).pointee, count: count, tolerance: tolerance,
            what, body)
    }

    private static func compare<Table>(
        _ fast: Table, _ plain: Table, count: Int, tolerance: Float, _ what: String,
        _ body: (Table, UnsafeMutablePointer<Float>) -> Void
    ) {
        // A value that no kernel computes: what must not be written stays.
        var results = [[Float]](repeating: [Float](repeating: -77, count: count), count: 2)
        for (index, table) in [fast, plain].enumerated() {
            results[index].withUnsafeMutableBufferPointer { buffer in
                if let base = buffer.baseAddress { body(table, base) }
            }
        }
        #expect(isClose(results[0], results[1], tolerance: tolerance), "\(what)")
    }

    /// An algorithm of `ck_winograd`: its tiles and windows.
    struct Size: CustomTestStringConvertible {
        let index: Int
        let edge: Int
        let window: Int
        let spacing: Int
        let points: Int
        var testDescription: String { "algorithm \(index)" }
    }

    static let sizes = [
        Size(index: 0, edge: 2, window: 4, spacing: 2, points: 16),
        Size(index: 1, edge: 4, window: 6, spacing: 4, points: 36),
        Size(index: 2, edge: 6, window: 8, spacing: 6, points: 64),
        Size(index: 3, edge: 4, window: 9, spacing: 8, points: 81),
    ]

    typealias MatrixBody = (ck_matrix_kernels, UnsafeMutablePointer<Float>) -> Void

    /// As `compare`, for the kernels that depend on the type of operands.
    static func compareMatrix(
        _ isa: ck_isa, count: Int, tolerance: Float = 1e-5, _ what: String, _ body: MatrixBody
    ) throws {
        compare(
            try #require(ck_matrix_kernels_for(isa, CK_F32)).pointee,
            try #require(ck_matrix_kernels_for(CK_SCALAR, CK_F32)).pointee, count: count,
            tolerance: tolerance, what, body)
    }

    @Test("Winograd input transforms equal the reference", arguments: tables, sizes)
    func winogradInput(isa: ck_isa, size: Size) throws {
        for tiles in [1, 2, 3, 7] {
            for inputs in [16, 48] {
                var noise = Noise(seed: UInt64(tiles * inputs))
                let rowStride = (size.spacing * tiles + 2) * 16
                let source = noise.floats(inputs / 16 * size.window * rowStride)
                let pointStride = tiles * inputs + 16
                try Self.compareMatrix(
                    isa, count: size.points * pointStride, tolerance: 1e-4, "\(tiles) tiles"
                ) { table, target in
                    let kernels = [
                        table.winograd_input.0, table.winograd_input.1,
                        table.winograd_input.2, table.winograd_input.3,
                    ]
                    kernels[size.index]?(
                        source, rowStride, size.window * rowStride, inputs / 16, tiles, target,
                        pointStride, inputs, nil, nil)
                }
            }
        }
    }

    @Test("Winograd output transforms equal the reference at every edge", arguments: tables, sizes)
    func winogradOutput(isa: ck_isa, size: Size) throws {
        let edge = size.edge
        for columns in [1, edge - 1, edge, edge + 1, 2 * edge + 2, 16] {
            for rows in 1...edge {
                for (activation, adds) in [(CK_RELU, true), (CK_NONE, false), (CK_SILU, true)] {
                    try Self.compareOutput(isa, size, columns, rows, activation, adds)
                }
            }
        }
    }

    private static func compareOutput(
        _ isa: ck_isa, _ size: Size, _ columns: Int, _ rows: Int, _ activation: ck_activation,
        _ adds: Bool
    ) throws {
        var noise = Noise(seed: UInt64(columns * 8 + rows))
        let tiles = (columns + size.edge - 1) / size.edge
        let pointStride = tiles * 32 + 16
        let source = noise.floats(size.points * pointStride)
        let rowStride = (size.edge * tiles + 2) * 16
        let residual = noise.floats(size.edge * rowStride)
        let bias = noise.floats(16)
        try compareMatrix(
            isa, count: size.edge * rowStride, tolerance: 1e-4,
            "\(columns)×\(rows) \(activation) \(adds)"
        ) { table, target in
            let kernels = [
                table.winograd_output.0, table.winograd_output.1, table.winograd_output.2,
                table.winograd_output.3,
            ]
            residual.withUnsafeBufferPointer {
                kernels[size.index]?(
                    source, pointStride, 32, rows, columns, target, rowStride, bias,
                    adds ? $0.baseAddress : nil, activation, nil, nil, 0)
            }
        }
    }

    @Test("The GEMM equals the reference for every number of rows and panels", arguments: tables)
    func multiply(isa: ck_isa) throws {
        for rows in [1, 2, 3, 5, 6, 7, 8, 11, 12, 13, 24, 31] {
            for blocks in [1, 2, 3, 4, 5, 6, 8] {
                for steps in [1, 3] {
                    var noise = Noise(seed: UInt64(rows * 64 + blocks))
                    // Runs that lie apart and out of order, as the windows of a convolution do.
                    let offsets: [Int32] = [64, 0, 32]
                    let a = noise.floats(rows * 96 + 96)
                    let b = noise.floats(steps * 16 * blocks * 16)
                    let next = noise.floats(b.count)
                    let stride = blocks * 16 + 16
                    for fetches in [false, true] {
                        try Self.compareMatrix(isa, count: rows * stride, "\(rows) \(blocks)") {
                            table, target in
                            next.withUnsafeBufferPointer {
                                table.multiply(
                                    a, 96, offsets, steps, b, blocks, rows, target, stride,
                                    fetches ? $0.baseAddress : nil)
                            }
                        }
                    }
                }
            }
        }
    }

    @Test("Scatter, sum and activation equal the reference", arguments: tables)
    func scatterAndAdd(isa: ck_isa) throws {
        for count in [1, 2, 9, 31] {
            for activation in Self.activations {
                var noise = Noise(seed: UInt64(count))
                // Wide enough to reach the ends of the exponential.
                let source = noise.floats(count * 32).map { $0 * 120 }
                let residual = noise.floats(count * 16)
                let bias = noise.floats(16)
                for adds in [true, false] {
                    try Self.compare(isa, count: count * 16, "scatter \(count) \(activation)") {
                        table, target in
                        residual.withUnsafeBufferPointer {
                            table.scatter(
                                source, 32, count, target, bias, adds ? $0.baseAddress : nil,
                                activation)
                        }
                    }
                    try Self.compare(isa, count: count * 16, "add \(count) \(activation)") {
                        table, target in
                        residual.withUnsafeBufferPointer {
                            table.add_activate(
                                source, adds ? $0.baseAddress : nil, count * 16, target,
                                activation)
                        }
                    }
                }
            }
        }
    }

    @Test("Activations let NaN and infinity through", arguments: tables + [CK_SCALAR])
    func activationsKeepNaN(isa: ck_isa) throws {
        let table = try #require(ck_kernels_for(isa)).pointee
        for activation in Self.activations {
            var source = [Float](repeating: 1, count: 16)
            source[3] = .nan
            source[5] = .infinity
            var target = [Float](repeating: 0, count: 16)
            table.add_activate(source, nil, 16, &target, activation)
            #expect(target[3].isNaN, "\(activation)")
            #expect(target[5] == .infinity, "\(activation)")
            #expect(target[0].isFinite)
        }
    }

    @Test("Scatter with nearest ×2 equals the reference", arguments: tables)
    func scatterTwice(isa: ck_isa) throws {
        for count in [1, 2, 7, 16] {
            for (activation, adds) in [(CK_NONE, true), (CK_RELU, true), (CK_NONE, false)] {
                var noise = Noise(seed: UInt64(count))
                let source = noise.floats(count * 48)
                let rowStride = (2 * count + 2) * 16
                let skip = noise.floats(2 * rowStride)
                let bias = noise.floats(16)
                try Self.compare(isa, count: 2 * rowStride, "\(count)") { table, target in
                    skip.withUnsafeBufferPointer {
                        table.scatter_2x2(
                            source, 48, count, target, rowStride, bias,
                            adds ? $0.baseAddress : nil, activation)
                    }
                }
            }
        }
    }

    @Test("RGB to squares equals the reference", arguments: tables)
    func unshuffle(isa: ck_isa) throws {
        for count in [1, 2, 5, 11] {
            var noise = Noise(seed: UInt64(count))
            let stride = 12 * count + 5
            // Exactly as long as a frame: the sanitizer sees a read past the end.
            let source = noise.bytes(3 * stride + 12 * count)
            try Self.compare(isa, count: 3 * count * 16, "\(count)") { table, target in
                table.unshuffle_rgb(source, stride, count, target, count * 16)
            }
        }
    }

    @Test("Squares added to RGB equal the reference at every edge", arguments: tables)
    func shuffleAdd(isa: ck_isa) throws {
        let fast = try #require(ck_kernels_for(isa)).pointee
        let plain = try #require(ck_kernels_for(CK_SCALAR)).pointee
        for columns in [1, 2, 3, 4, 7, 16, 21] {
            for rows in 1...4 {
                var noise = Noise(seed: UInt64(columns * 5 + rows))
                let blockStride = (columns + 3) / 4 * 16
                let residual = noise.floats(3 * blockStride)
                let stride = 3 * columns + 7
                let frame = noise.bytes(4 * stride)
                var results = [[UInt8]](
                    repeating: [UInt8](repeating: 9, count: frame.count), count: 2)
                for (index, table) in [fast, plain].enumerated() {
                    let code = table.shuffle_add_rgb(
                        residual, blockStride, rows, columns, frame, stride, 0.7, &results[index],
                        stride)
                    #expect(code == 0)
                }
                // Rounding at exactly one half may differ by fused multiply-add.
                let isSame = zip(results[0], results[1]).allSatisfy { abs(Int($0) - Int($1)) <= 1 }
                #expect(isSame, "\(columns)×\(rows)")
            }
        }
    }

    @Test("A residual that is not finite is reported", arguments: tables + [CK_SCALAR])
    func reportsNaN(isa: ck_isa) throws {
        let table = try #require(ck_kernels_for(isa)).pointee
        let frame = [UInt8](repeating: 128, count: 12 * 8)
        for bad in [Float.nan, .infinity, -.infinity] {
            for index in [0, 15, 16, 63, 64, 95] {
                var residual = [Float](repeating: 0, count: 96)
                residual[index] = bad
                var output = frame
                var rows = [Float](repeating: 0, count: 4 * 24)
                #expect(
                    table.shuffle_add_rgb(residual, 32, 4, 8, frame, 24, 1, &output, 24) != 0)
                #expect(table.shuffle_rgb(residual, 32, 2, &rows, 24) != 0)
            }
        }
    }

    @Test("Residual rows equal the reference", arguments: tables)
    func shuffleRows(isa: ck_isa) throws {
        for count in [1, 3, 10] {
            var noise = Noise(seed: UInt64(count))
            let residual = noise.floats(3 * count * 16)
            let stride = 12 * count + 4
            try Self.compare(isa, count: 4 * stride, "\(count)") { table, target in
                _ = table.shuffle_rgb(residual, count * 16, count, target, stride)
            }
        }
    }

    @Test("Row arithmetic equals the reference", arguments: tables)
    func rows(isa: ck_isa) throws {
        for count in [1, 3, 15, 16, 17, 61] {
            var noise = Noise(seed: UInt64(count))
            let bytes = noise.bytes(count)
            let a = noise.floats(count)
            let b = noise.floats(count)
            for first in [Int32(0), 1] {
                try Self.compare(isa, count: count, "u8 \(count)") { table, target in
                    table.accumulate_u8(bytes, 0.3, first, count, target)
                }
                try Self.compare(isa, count: count, "f32 \(count)") { table, target in
                    table.accumulate_f32(a, 0.3, first, count, target)
                }
            }
            let wide = noise.floats(count).map { $0 * 300 }
            try Self.compare(isa, count: count, tolerance: 1, "quantize \(count)") {
                table, target in
                var out = [UInt8](repeating: 0, count: count)
                table.quantize_u8(wide, count, &out)
                for index in 0..<count { target[index] = Float(out[index]) }
            }
            try Self.compare(isa, count: count, tolerance: 1, "blend \(count)") {
                table, target in
                var out = [UInt8](repeating: 0, count: count)
                table.blend_rows(bytes, a, b, 0.4, 255, count, &out)
                for index in 0..<count { target[index] = Float(out[index]) }
            }
        }
    }

    @Test("Horizontal resampling equals the reference", arguments: tables)
    func resample(isa: ck_isa) throws {
        for taps in [1, 2, 3, 5] {
            for count in [1, 2, 9] {
                var noise = Noise(seed: UInt64(count + taps))
                let source = noise.floats(3 * 12 + 1)
                let starts = (0..<count).map { _ in Int32(noise.below(12 - taps + 1)) }
                let weights = noise.floats(count * taps)
                try Self.compare(isa, count: 3 * count, "\(taps) \(count)") { table, target in
                    table.resample_rgb(source, starts, weights, taps, count, target)
                }
            }
        }
    }

    @Test("All half-precision numbers convert exactly", arguments: tables + [CK_SCALAR])
    func halves(isa: ck_isa) throws {
        let table = try #require(ck_kernels_for(isa)).pointee
        // One less than all, so that the tail of the loop runs.
        let source = (0..<65535).map { UInt16($0) }
        var target = [Float](repeating: 0, count: source.count)
        table.f16_to_f32(source, source.count, &target)
        let expected = source.map { Float(Float16(bitPattern: $0)) }
        #expect(isClose(target, expected, tolerance: 0))
        table.bf16_to_f32(source, source.count, &target)
        let wide = source.map { Float(bitPattern: UInt32($0) << 16) }
        #expect(isClose(target, wide, tolerance: 0))
    }

    @Test("SiLU is accurate over its whole range", arguments: tables)
    func siluAccuracy(isa: ck_isa) throws {
        let table = try #require(ck_kernels_for(isa)).pointee
        let source = (0..<16 * 1000).map { Float($0) / 80 - 100 }
        var target = source
        table.add_activate(source, nil, source.count, &target, CK_SILU)
        for (x, y) in zip(source, target) {
            let exact = Double(x) / (1 + exp(-Double(x)))
            #expect(abs(Double(y) - exact) <= 1e-6 * max(1e-3, abs(exact)), "silu(\(x))")
        }
    }
}
