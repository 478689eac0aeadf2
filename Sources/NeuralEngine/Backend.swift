// What the engine computes with: the kernels of one instruction set and the BLAS beneath them.

internal import CBLAS
internal import CKernels
internal import Glibc

/// An instruction set that kernels exist for; each contains those before it.
public enum InstructionSet: String, Sendable, CaseIterable {
    /// Plain C.
    case scalar
    /// AVX2, FMA and F16C.
    case avx2
    /// AVX-512 F, DQ, BW and VL.
    case avx512

    var code: ck_isa {
        switch self {
        case .scalar: CK_SCALAR
        case .avx2: CK_AVX2
        case .avx512: CK_AVX512
        }
    }

    /// Whether this machine can run it.
    public var isSupported: Bool { ck_supports(code) != 0 }

    /// The widest that this machine can run.
    public static var best: InstructionSet {
        allCases.last { $0.isSupported } ?? .scalar
    }

    /// The one that the value of `LUCIDA_ISA` asks for; the best one without a value.
    static func requested(_ value: String?) throws(EngineError) -> InstructionSet {
        guard let value, !value.isEmpty else { return best }
        guard let set = InstructionSet(rawValue: value) else {
            throw .unknownInstructionSet(value)
        }
        guard set.isSupported else { throw .unsupportedInstructionSet(set) }
        return set
    }
}

/// Why the engine cannot run here.
public enum EngineError: Error, Sendable, Equatable, CustomStringConvertible {
    /// `LUCIDA_ISA` has a value that names no instruction set.
    case unknownInstructionSet(String)
    /// `LUCIDA_ISA` names one that this CPU lacks.
    case unsupportedInstructionSet(InstructionSet)
    /// OpenBLAS cannot be loaded; the text says why and what to do.
    case blas(String)
    /// The system refused to start a worker thread.
    case thread(String)
    /// A size, channel count or thread count makes no sense; the text says which and what does.
    case invalid(String)

    /// A sentence for the user.
    public var description: String {
        let known = InstructionSet.allCases.map(\.rawValue).joined(separator: ", ")
        return switch self {
        case .unknownInstructionSet(let value):
            "LUCIDA_ISA=\(value) names no instruction set: use one of \(known), or unset it"
        case .unsupportedInstructionSet(let set):
            "LUCIDA_ISA=\(set.rawValue) cannot run on this CPU: "
                + "use \(InstructionSet.best.rawValue) or unset it"
        case .blas(let reason), .thread(let reason), .invalid(let reason): reason
        }
    }
}

/// Kernels and BLAS, chosen once for the process by CPU and `LUCIDA_ISA`. Immutable.
public struct Backend: @unchecked Sendable {
    /// The instruction set of kernels and BLAS.
    public let instructionSet: InstructionSet
    /// The kernels; the table is constant data of the executable.
    let kernels: UnsafePointer<ck_kernels>
    /// Those for f32 operands.
    let matrix: UnsafePointer<ck_matrix_kernels>
    /// The kernel family that OpenBLAS uses, for example `SkylakeX`.
    public let blasCore: String

    /// The backend of this process. The first call loads OpenBLAS.
    public static func shared() throws(EngineError) -> Backend { try once.get() }

    private static let once: Result<Backend, EngineError> = {
        do throws(EngineError) {
            return .success(try load())
        } catch {
            return .failure(error)
        }
    }()

    private static func load() throws(EngineError) -> Backend {
        let set = try InstructionSet.requested(getenv("LUCIDA_ISA").map { String(cString: $0) })
        guard let kernels = ck_kernels_for(set.code),
            let matrix = ck_matrix_kernels_for(set.code, CK_F32)
        else {
            throw .unsupportedInstructionSet(set)
        }
        if let problem = lucida_blas_load(set.rawValue) {
            throw .blas(String(cString: problem))
        }
        return Backend(
            instructionSet: set, kernels: kernels, matrix: matrix,
            blasCore: String(cString: lucida_blas_core()))
    }
}
