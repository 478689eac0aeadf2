// The Winograd algorithms: sizes of tiles, and the transform of the weights.

internal import CKernels

/// One of the algorithms of `ck_winograd`, which says more of each.
enum WinogradSize: Int, Sendable, CaseIterable {
    /// F(2 × 2, 3 × 3).
    case f2
    /// F(4 × 4, 3 × 3).
    case f4
    /// F(6 × 6, 3 × 3).
    case f6
    /// Stride 2 by phases of the input.
    case stride2

    /// Pixels of a result tile's side.
    var edge: Int { self == .stride2 ? 4 : 2 * rawValue + 2 }
    /// Of the convolution.
    var stride: Int { self == .stride2 ? 2 : 1 }
    /// Products of a tile, channel by channel.
    var points: Int { self == .stride2 ? 81 : (edge + 2) * (edge + 2) }
    /// Transformed weights: several points share one where a phase is not transformed.
    var operands: Int { self == .stride2 ? 36 : points }

    /// Which of the transformed weights a point multiplies.
    func operand(of point: Int) -> Int {
        guard self == .stride2, point >= 25 else { return point }
        return point < 65 ? 25 + (point - 25) / 4 : 35
    }

    /// Input transform of a run of tiles; `ck_matrix_kernels` says what the arguments mean.
    @inline(__always)
    func input(
        _ matrix: UnsafePointer<ck_matrix_kernels>, _ source: UnsafePointer<Float>,
        _ rowStride: Int, _ tiles: Int, _ target: UnsafeMutablePointer<Float>,
        _ pointStride: Int, _ tileStride: Int
    ) {
        let kernels = matrix.pointee.winograd_input
        let kernel =
            switch self {
            case .f2: kernels.0
            case .f4: kernels.1
            case .f6: kernels.2
            case .stride2: kernels.3
            }
        kernel?(source, rowStride, tiles, target, pointStride, tileStride, nil, 0)
    }

    /// Output transform of a run of tiles.
    @inline(__always)
    func output(
        _ matrix: UnsafePointer<ck_matrix_kernels>, _ source: UnsafePointer<Float>,
        _ pointStride: Int, _ tileStride: Int, _ rows: Int, _ columns: Int,
        _ target: UnsafeMutablePointer<Float>, _ rowStride: Int, _ bias: UnsafePointer<Float>,
        _ residual: UnsafePointer<Float>?, _ activation: ck_activation
    ) {
        let kernels = matrix.pointee.winograd_output
        let kernel =
            switch self {
            case .f2: kernels.0
            case .f4: kernels.1
            case .f6: kernels.2
            case .stride2: kernels.3
            }
        kernel?(
            source, pointStride, tileStride, rows, columns, target, rowStride, bias, residual,
            activation, nil, 0)
    }

    private static let root = 2.0.squareRoot()

    private var finitePoints: [Double] {
        switch self {
        case .f2: [0, 1, -1]
        case .f4: [0, Self.root / 2, -Self.root / 2, Self.root, -Self.root]
        case .f6: [0, 0.5, -0.5, 1, -1, 2, -2]
        case .stride2: [Self.root / 2, -Self.root / 2, Self.root, -Self.root]
        }
    }

    /// Rows of G for filters of `taps`: (1, p, p², …) / Π (p − other points), and (0, … 1) for ∞.
    private func matrix(taps: Int) -> [[Double]] {
        let points = finitePoints
        let rows = points.map { p in
            let product = points.filter { $0 != p }.reduce(1) { $0 * (p - $1) }
            return (0..<taps).map { power in
                (0..<power).reduce(1 / product) { value, _ in value * p }
            }
        }
        return rows + [(0..<taps).map { $0 == taps - 1 ? 1 : 0 }]
    }

    private static let matrices = allCases.map { $0.matrix(taps: $0 == .stride2 ? 2 : 3) }

    /// G g Gᵀ: 9 numbers to `operands`.
    func transform(_ g: ArraySlice<Float>, to result: inout [Double]) {
        let rows = Self.matrices[rawValue]
        let g = g.map(Double.init)
        guard self == .stride2 else {
            for (y, a) in rows.enumerated() {
                let half = (0..<3).map { a[0] * g[$0] + a[1] * g[3 + $0] + a[2] * g[6 + $0] }
                for (x, b) in rows.enumerated() {
                    result[y * rows.count + x] =
                        b[0] * half[0] + b[1] * half[1] + b[2] * half[2]
                }
            }
            return
        }
        // Odd input rows meet the filter's rows 0 and 2, even ones row 1; columns likewise.
        for (p, a) in rows.enumerated() {
            let half = (0..<3).map { a[0] * g[$0] + a[1] * g[6 + $0] }
            for (q, b) in rows.enumerated() {
                result[5 * p + q] = b[0] * half[0] + b[1] * half[2]
            }
            result[25 + p] = half[1]
            result[30 + p] = a[0] * g[3] + a[1] * g[5]
        }
        result[35] = g[4]
    }
}
