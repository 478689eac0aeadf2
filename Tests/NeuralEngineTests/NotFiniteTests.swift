// NaN and infinity through the kernels of a convolution: they reach the results they belong to, and
// no others. A kernel that loses them would turn a broken network into a plausible picture.

import CKernels
import Testing

@testable import NeuralEngine

struct NotFiniteTests {
    static let tables: [ck_isa] = [CK_SCALAR, CK_AVX2, CK_AVX512].filter { ck_supports($0) != 0 }
    private static let bad: [Float] = [.nan, -.nan, .infinity, -.infinity]

    private func matrix(_ isa: ck_isa) throws -> UnsafePointer<ck_matrix_kernels> {
        try #require(ck_matrix_kernels_for(isa, CK_F32))
    }

    /// Whether exactly the lanes `lane`, `lane + 16`, … hold numbers that `clean` does not.
    private func isOnly(_ lane: Int, _ found: [Float], _ clean: [Float]) -> Bool {
        let isElsewhereSame = found.indices.allSatisfy {
            $0 % 16 == lane || found[$0] == clean[$0]
        }
        return isElsewhereSame && found.contains { !$0.isFinite }
    }

    @Test("Winograd input transforms", arguments: tables, WinogradSize.allCases)
    func input(isa: ck_isa, size: WinogradSize) throws {
        let window = size == .stride2 ? 9 : size.edge + 2
        let matrix = try matrix(isa)
        let kernel = try #require(size.input(matrix))
        func transform(_ source: [Float]) -> [Float] {
            var target = [Float](repeating: 0, count: size.points * 16)
            target.withUnsafeMutableBytes {
                kernel(
                    source, 16 * window, source.count, 1, 1, $0.baseAddress, 16, 16, nil, nil)
            }
            return target
        }
        var noise = Noise(seed: 5)
        let source = noise.floats(window * window * 16)
        let clean = transform(source)
        #expect(clean.allSatisfy { $0.isFinite })
        for pixel in 0..<window * window {
            for (lane, value) in zip([0, 7, 8, 15], Self.bad) {
                var changed = source
                changed[16 * pixel + lane] = value
                #expect(isOnly(lane, transform(changed), clean), "\(value) at \(pixel)")
            }
        }
    }

    @Test("Winograd output transforms", arguments: tables, WinogradSize.allCases)
    func output(isa: ck_isa, size: WinogradSize) throws {
        let matrix = try matrix(isa)
        let kernel = try #require(size.output(matrix))
        let edge = size.edge
        var noise = Noise(seed: 6)
        let source = noise.floats(size.points * 16)
        let bias = noise.floats(16)
        let residual = noise.floats(edge * edge * 16)
        func transform(
            _ source: [Float], _ bias: [Float], _ residual: [Float], _ activation: ck_activation
        ) -> [Float] {
            var target = [Float](repeating: 0, count: edge * edge * 16)
            source.withUnsafeBytes {
                kernel(
                    $0.baseAddress, 16, 16, edge, edge, &target, 16 * edge, bias, residual,
                    activation, nil, nil, 0)
            }
            return target
        }
        for activation in KernelTests.activations {
            let clean = transform(source, bias, residual, activation)
            #expect(clean.allSatisfy { $0.isFinite })
            for (lane, value) in zip([0, 7, 8, 15], Self.bad) {
                // After an activation -∞ is a number again, and there may be nothing else.
                guard value.isNaN || activation == CK_NONE else { continue }
                for point in 0..<size.points {
                    var changed = source
                    changed[16 * point + lane] = value
                    let found = transform(changed, bias, residual, activation)
                    #expect(isOnly(lane, found, clean), "\(value) at \(point), \(activation)")
                }
                var changed = bias
                changed[lane] = value
                #expect(isOnly(lane, transform(source, changed, residual, activation), clean))
                for pixel in 0..<edge * edge {
                    var changed = residual
                    changed[16 * pixel + lane] = value
                    let found = transform(source, bias, changed, activation)
                    #expect(!found[16 * pixel + lane].isFinite, "\(value) added at \(pixel)")
                    #expect(found.count { !$0.isFinite } == 1)
                }
            }
        }
    }

    @Test("The GEMM", arguments: tables)
    func multiply(isa: ck_isa) throws {
        let matrix = try matrix(isa)
        let offsets: [Int32] = [16, 0]
        for (rows, blocks) in [(1, 1), (7, 3), (13, 4), (24, 5)] {
            var noise = Noise(seed: UInt64(rows))
            let a = noise.floats(32 * rows)
            let b = noise.floats(32 * 16 * blocks)
            func product(_ a: [Float], _ b: [Float]) -> [Float] {
                var c = [Float](repeating: 0, count: 16 * blocks * rows)
                c.withUnsafeMutableBytes {
                    matrix.pointee.multiply(
                        a, 32, offsets, 2, b, blocks, rows, $0.baseAddress, 16 * blocks, b)
                }
                return c
            }
            let clean = product(a, b)
            for value in Self.bad {
                for place in [0, 15, 31, 32 * rows - 1] {
                    var changed = a
                    changed[place] = value
                    let found = product(changed, b)
                    // Its row, and nothing else.
                    for (index, sum) in found.enumerated() {
                        if index / (16 * blocks) == place / 32 {
                            #expect(!sum.isFinite)
                        } else {
                            #expect(sum == clean[index])
                        }
                    }
                }
                for place in [0, 17, 32 * 16 * blocks - 1] {
                    var changed = b
                    changed[place] = value
                    let found = product(a, changed)
                    let column = place / (32 * 16) * 16 + place % 16
                    for (index, sum) in found.enumerated() {
                        #expect((index % (16 * blocks) == column) == !sum.isFinite)
                    }
                }
            }
        }
    }

    @Test("Scatter with nearest ×2, and without", arguments: tables)
    func scatter(isa: ck_isa) throws {
        let table = try #require(ck_kernels_for(isa)).pointee
        let count = 5
        var noise = Noise(seed: 8)
        let source = noise.floats(16 * count)
        let bias = noise.floats(16)
        for activation in KernelTests.activations {
            for (lane, value) in zip([0, 7, 8, 15], Self.bad) {
                guard value != -.infinity || activation == CK_NONE else { continue }
                for pixel in 0..<count {
                    var changed = source
                    changed[16 * pixel + lane] = value
                    var target = [Float](repeating: 0, count: 4 * 16 * count)
                    table.scatter_2x2(
                        changed, 16, count, &target, 2 * 16 * count, bias, nil, activation)
                    let places = target.indices.filter { !target[$0].isFinite }
                    let left = 2 * 16 * pixel + lane
                    #expect(
                        places
                            == [0, 16, 2 * 16 * count, 2 * 16 * count + 16].map { left + $0 },
                        "\(value), \(activation)")
                    var single = [Float](repeating: 0, count: 16 * count)
                    table.scatter(changed, 16, count, &single, bias, nil, activation)
                    #expect(single.indices.filter { !single[$0].isFinite } == [16 * pixel + lane])
                }
            }
        }
    }
}
