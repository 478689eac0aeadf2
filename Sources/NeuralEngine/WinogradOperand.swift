// Transformed weights as one GEMM operand for each point, in the number type of the multiplication.

internal import CKernels

/// Writes weights in the layout that `ck_matrix_kernels.multiply` reads.
///
/// Integers: the weights u of one output channel and point are multiplied by one factor, as large as
/// three bounds allow: |u| fits its type, and Σ |u| · limit ≤ 2³¹ − 1, where `limit` bounds the
/// left-hand side, so that no sum can leave int32 whatever the input.
struct WinogradOperand {
    let size: WinogradSize
    let precision: Precision
    let inputs: Int
    let outputs: Int

    /// Bytes of the operand of one point.
    var byteCount: Int { outputs / channelBlock * panelByteCount }
    /// Bytes of all of them.
    var totalByteCount: Int { size.operands * byteCount }
    private var panelByteCount: Int { ck_panel_bytes(precision.operand, inputs) }

    /// Packs weights.
    ///
    /// - Parameters:
    ///   - target: `totalByteCount` bytes, zero.
    ///   - factors: for integers, points × outputs: what undoes the scaling.
    ///   - forBLAS: f32 as inputs × outputs, as BLAS wants them, and not in panels.
    func pack(
        _ weights: ConvolutionWeights, to target: UnsafeMutableRawPointer,
        factors: UnsafeMutablePointer<Float>?, forBLAS: Bool = false
    ) {
        withUnsafeTemporaryAllocation(of: Double.self, capacity: size.operands * inputs) { all in
            all.initialize(repeating: 0)
            guard let base = all.baseAddress else { return }
            for output in 0..<weights.outputs {
                weights.withFilters(of: output) { size.transform($0, to: base, stride: inputs) }
                for index in 0..<size.operands {
                    let column = UnsafeBufferPointer(
                        rebasing: all[index * inputs..<(index + 1) * inputs])
                    if forBLAS {
                        writeForBLAS(column, output: output, operand: index, to: target)
                        continue
                    }
                    let undoing = write(
                        column, output: output, to: target + index * byteCount)
                    guard let factors else { continue }
                    for point in 0..<size.points where size.operand(of: point) == index {
                        factors[point * outputs + output] = undoing
                    }
                }
            }
        }
    }

    private func writeForBLAS(
        _ column: UnsafeBufferPointer<Double>, output: Int, operand: Int,
        to target: UnsafeMutableRawPointer
    ) {
        let elements =
            target.assumingMemoryBound(to: Float.self) + operand * inputs * outputs + output
        for (row, value) in column.enumerated() { elements[row * outputs] = Float(value) }
    }

    /// Writes a column of one operand; returns the factor that undoes its scaling.
    private func write(
        _ column: UnsafeBufferPointer<Double>, output: Int, to operand: UnsafeMutableRawPointer
    ) -> Float {
        let (panelIndex, lane) = output.quotientAndRemainder(dividingBy: channelBlock)
        let panel = operand + panelIndex * panelByteCount
        let group = 4 / precision.byteCount
        func index(_ row: Int) -> Int { (row / group * channelBlock + lane) * group + row % group }
        let scale = Self.scale(of: column, precision)
        switch precision {
        case .f32:
            let elements = panel.assumingMemoryBound(to: Float.self)
            for (row, value) in column.enumerated() { elements[index(row)] = Float(value) }
        case .bf16:
            let elements = panel.assumingMemoryBound(to: UInt16.self)
            for (row, value) in column.enumerated() {
                elements[index(row)] = Self.bfloat16(Float(value))
            }
        case .int16:
            let elements = panel.assumingMemoryBound(to: Int16.self)
            for (row, value) in column.enumerated() {
                elements[index(row)] = Int16((value * scale).rounded())
            }
        case .int8:
            let firstSums = panel.assumingMemoryBound(to: Int32.self)
            let elements = (panel + 4 * channelBlock).assumingMemoryBound(to: Int8.self)
            var sum: Int32 = 0
            for (row, value) in column.enumerated() {
                let element = Int8((value * scale).rounded())
                elements[index(row)] = element
                sum += Int32(element)
            }
            // The left-hand side is stored plus 128.
            firstSums[lane] = -128 * sum
        }
        return Float(1 / scale)
    }

    /// What a column of weights is multiplied by before it is rounded; 1 for floats.
    static func scale(of column: some Collection<Double>, _ precision: Precision) -> Double {
        let (largest, limit): (Double, Double)
        switch precision {
        case .f32, .bf16: return 1
        case .int16: (largest, limit) = (32767, Double(CK_INT16_LIMIT))
        case .int8: (largest, limit) = (127, Double(CK_INT8_LIMIT))
        }
        let peak = column.reduce(0) { max($0, abs($1)) }
        let sum = column.reduce(0) { $0 + abs($1) }
        // Weights that are nothing beside any activation. Rounding adds up to ½ to each magnitude.
        guard peak > 1e-30 else { return 1 }
        let room = Double(Int32.max) / limit - Double(column.count) / 2
        return min(largest / peak, max(room, 1) / sum)
    }

    /// Round to nearest, ties to even. Weights are finite.
    private static func bfloat16(_ value: Float) -> UInt16 {
        let bits = value.bitPattern
        return UInt16(truncatingIfNeeded: (bits + 0x7fff + (bits >> 16 & 1)) >> 16)
    }
}
