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

    typealias InputKernel =
        @convention(c) (
            UnsafePointer<Float>?, Int, Int, Int, Int, UnsafeMutableRawPointer?, Int, Int,
            UnsafeMutablePointer<Float>?, UnsafeMutablePointer<Float>?
        ) -> Void
    typealias OutputKernel =
        @convention(c) (
            UnsafeRawPointer?, Int, Int, Int, Int, UnsafeMutablePointer<Float>?, Int,
            UnsafePointer<Float>?, UnsafePointer<Float>?, ck_activation, UnsafePointer<Float>?,
            UnsafePointer<Float>?, Int
        ) -> Void

    /// The input transform; `ck_matrix_kernels` says what it takes. nil: not in this precision.
    @inline(__always)
    func input(_ matrix: UnsafePointer<ck_matrix_kernels>) -> InputKernel? {
        let kernels = matrix.pointee.winograd_input
        return switch self {
        case .f2: kernels.0
        case .f4: kernels.1
        case .f6: kernels.2
        case .stride2: kernels.3
        }
    }

    /// The output transform.
    @inline(__always)
    func output(_ matrix: UnsafePointer<ck_matrix_kernels>) -> OutputKernel? {
        let kernels = matrix.pointee.winograd_output
        return switch self {
        case .f2: kernels.0
        case .f4: kernels.1
        case .f6: kernels.2
        case .stride2: kernels.3
        }
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

    /// Rows of G for filters of `taps`: (1, p, p², …) / Π (p − other points), and (0, … 1) for ∞;
    /// three numbers a row.
    private func matrix(taps: Int) -> [Double] {
        let points = finitePoints
        let rows = points.map { p in
            let product = points.filter { $0 != p }.reduce(1) { $0 * (p - $1) }
            return (0..<3).map { power in
                power < taps ? (0..<power).reduce(1 / product) { value, _ in value * p } : 0
            }
        }
        return (rows + [(0..<3).map { $0 == taps - 1 ? 1 : 0 }]).flatMap { $0 }
    }

    private static let matrices = allCases.map { $0.matrix(taps: $0 == .stride2 ? 2 : 3) }

    /// G g Gᵀ of filters one after another, 9 numbers each: result `operands` × `stride`, one column a
    /// filter.
    func transform(
        _ filters: UnsafeBufferPointer<Float>, to result: UnsafeMutablePointer<Double>, stride: Int
    ) {
        Self.matrices[rawValue].withUnsafeBufferPointer { rows in
            withUnsafeTemporaryAllocation(of: Double.self, capacity: rows.count) { half in
                for index in 0..<filters.count / 9 {
                    let filter = UnsafeBufferPointer(rebasing: filters[9 * index..<9 * index + 9])
                    if self == .stride2 {
                        transformStride2(filter, rows, result + index, stride)
                    } else {
                        transformTile(filter, rows, half, result + index, stride)
                    }
                }
            }
        }
    }

    @inline(__always)
    private func transformTile(
        _ g: UnsafeBufferPointer<Float>, _ rows: UnsafeBufferPointer<Double>,
        _ half: UnsafeMutableBufferPointer<Double>, _ result: UnsafeMutablePointer<Double>,
        _ stride: Int
    ) {
        let count = rows.count / 3
        for y in 0..<count {
            for x in 0..<3 {
                half[3 * y + x] =
                    rows[3 * y] * Double(g[x]) + rows[3 * y + 1] * Double(g[3 + x])
                    + rows[3 * y + 2] * Double(g[6 + x])
            }
        }
        for y in 0..<count {
            for x in 0..<count {
                result[(y * count + x) * stride] =
                    rows[3 * x] * half[3 * y] + rows[3 * x + 1] * half[3 * y + 1]
                    + rows[3 * x + 2] * half[3 * y + 2]
            }
        }
    }

    /// Odd input rows meet the filter's rows 0 and 2, even ones row 1; columns likewise.
    @inline(__always)
    private func transformStride2(
        _ filter: UnsafeBufferPointer<Float>, _ rows: UnsafeBufferPointer<Double>,
        _ result: UnsafeMutablePointer<Double>, _ stride: Int
    ) {
        func g(_ index: Int) -> Double { Double(filter[index]) }
        for p in 0..<5 {
            let (a0, a1) = (rows[3 * p], rows[3 * p + 1])
            let (left, middle, right) = (
                a0 * g(0) + a1 * g(6), a0 * g(1) + a1 * g(7), a0 * g(2) + a1 * g(8)
            )
            for q in 0..<5 {
                result[(5 * p + q) * stride] = rows[3 * q] * left + rows[3 * q + 1] * right
            }
            result[(25 + p) * stride] = middle
            result[(30 + p) * stride] = a0 * g(3) + a1 * g(5)
        }
        result[35 * stride] = g(4)
    }
}
