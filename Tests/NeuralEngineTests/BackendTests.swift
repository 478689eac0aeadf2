// The choice of instruction set and BLAS.

import CBLAS
import Glibc
import Testing

@testable import NeuralEngine

struct BackendTests {
    @Test("An unknown LUCIDA_ISA is an error that lists what is known")
    func unknownInstructionSet() throws {
        let error = try #require(throws: EngineError.self) {
            try InstructionSet.requested("sse9")
        }
        #expect(error == .unknownInstructionSet("sse9"))
        #expect(error.description.contains("LUCIDA_ISA=sse9"))
        #expect(error.description.contains("avx2"))
    }

    @Test("Without LUCIDA_ISA the best supported instruction set is chosen", arguments: [nil, ""])
    func defaultInstructionSet(value: String?) throws {
        #expect(try InstructionSet.requested(value) == InstructionSet.best)
        #expect(InstructionSet.best.isSupported)
    }

    @Test(
        "An instruction set is accepted exactly where it can run",
        arguments: InstructionSet.allCases)
    func supported(set: InstructionSet) {
        if set.isSupported {
            #expect(throws: Never.self) { try InstructionSet.requested(set.rawValue) }
        } else {
            #expect(throws: EngineError.unsupportedInstructionSet(set)) {
                try InstructionSet.requested(set.rawValue)
            }
        }
    }

    @Test("A process with a bad LUCIDA_ISA gets an error, not a crash")
    func badEnvironment() async {
        await #expect(processExitsWith: .success) {
            setenv("LUCIDA_ISA", "mmx", 1)
            try #require(throws: EngineError.unknownInstructionSet("mmx")) {
                try Backend.shared()
            }
        }
    }

    @Test("A core type that the user has set is left alone")
    func userChoice() async {
        await #expect(processExitsWith: .success) {
            setenv("OPENBLAS_CORETYPE", "Prescott", 1)
            try #require(Backend.shared().blasCore == "Prescott")
        }
    }

    @Test("sgemm multiplies column-major matrices and scales what was there")
    func sgemm() throws {
        _ = try Backend.shared()
        // A = [1 3; 2 4], B = [5 7; 6 8], stored by columns.
        var c: [Float] = [100, 100, 100, 100]
        lucida_sgemm(2, 2, 2, [1, 2, 3, 4], 2, [5, 6, 7, 8], 2, 1, &c, 2)
        #expect(c == [123, 134, 131, 146])
        lucida_sgemm(2, 2, 2, [1, 2, 3, 4], 2, [5, 6, 7, 8], 2, 0, &c, 2)
        #expect(c == [23, 34, 31, 46])
    }
}
