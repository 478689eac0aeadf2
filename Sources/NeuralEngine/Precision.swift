// The number types in which convolutions may be multiplied.

internal import CKernels

/// What a convolution's operands are rounded to before they are multiplied. Sums, bias, activations
/// and everything between layers are f32 always. From the most exact to the least.
public enum Precision: String, Sendable, CaseIterable, Comparable {
    /// Nothing is rounded.
    case f32
    /// 14 bits, with a factor for each tile and channel.
    case int16
    /// bfloat16: 8 significant bits.
    case bf16
    /// 8 bits, with a factor for each tile and channel.
    case int8

    /// Less exact counts as less.
    public static func < (a: Precision, b: Precision) -> Bool { a.rank > b.rank }

    private var rank: Int { Self.allCases.firstIndex(of: self) ?? 0 }

    var operand: ck_operand {
        switch self {
        case .f32: CK_F32
        case .int16: CK_INT16
        case .bf16: CK_BF16
        case .int8: CK_INT8
        }
    }

    /// Bytes of an operand.
    var byteCount: Int {
        switch self {
        case .f32: 4
        case .int16, .bf16: 2
        case .int8: 1
        }
    }

    /// Whether operands carry factors.
    var isInteger: Bool { self == .int16 || self == .int8 }
}

extension Backend {
    /// The GEMM kernels for a precision: plain C where the CPU has no instruction for it, which is
    /// slow and gives the same numbers.
    func matrix(_ precision: Precision) -> UnsafePointer<ck_matrix_kernels> {
        ck_matrix_kernels_for(instructionSet.code, precision.operand)
            ?? ck_matrix_kernels_for(CK_SCALAR, precision.operand) ?? matrix
    }

    /// f32, and what this CPU multiplies faster.
    public var precisions: [Precision] {
        Precision.allCases.filter {
            $0 == .f32
                || instructionSet != .scalar
                    && ck_matrix_kernels_for(instructionSet.code, $0.operand) != nil
        }
    }
}
