// The loops behind the roofline do what their figures claim, and steps state their work.

import CKernels
import Foundation
import Testing

@testable import NeuralEngine

struct PeakTests {
    static let sets: [ck_isa] = [CK_SCALAR, CK_AVX2, CK_AVX512].filter { ck_supports($0) != 0 }
    static let operands = [CK_PEAK_F32, CK_PEAK_BF16, CK_PEAK_INT16, CK_PEAK_INT8]

    /// Bytes of an operand of which every number is 2 (and 3 for the second half).
    private func operandBytes(_ operand: ck_peak_operand) -> [UInt8] {
        let halves = CK_PEAK_OPERAND_BYTES / 2
        func bytes(_ value: Int32) -> [UInt8] {
            let number: [UInt8]
            switch operand {
            case CK_PEAK_F32: number = withUnsafeBytes(of: Float(value)) { Array($0) }
            case CK_PEAK_BF16: number = withUnsafeBytes(of: Float(value)) { Array($0[2...]) }
            case CK_PEAK_INT16: number = withUnsafeBytes(of: Int16(value)) { Array($0) }
            default: number = [UInt8(value)]
            }
            return (0..<Int(halves) / number.count).flatMap { _ in number }
        }
        return bytes(2) + bytes(3)
    }

    @Test("A round does as many multiply-accumulates as it says", arguments: sets)
    func loops(isa: ck_isa) {
        for operand in Self.operands {
            let loop = ck_peak_loop_for(isa, operand)
            guard let run = loop.run else {
                #expect(operand != CK_PEAK_F32, "every CPU multiplies f32")
                continue
            }
            let operands = operandBytes(operand)
            let isFloat = operand == CK_PEAK_F32 || operand == CK_PEAK_BF16
            var floats = [Float](repeating: 0, count: Int(CK_PEAK_SUM_BYTES) / 4)
            var integers = [Int32](repeating: 0, count: floats.count)
            if isFloat { run(operands, 5, &floats) } else { run(operands, 5, &integers) }
            // Each multiply-accumulate adds 6 to some sum.
            let sum = floats.reduce(0) { $0 + Int64($1) } + integers.reduce(0) { $0 + Int64($1) }
            #expect(sum == 5 * 6 * loop.macs, "\(operand)")
        }
    }

    @Test("Memory is read and copied whole", arguments: sets)
    func memory(isa: ck_isa) {
        let memory = ck_peak_memory_for(isa)
        let run = Int(CK_PEAK_RUN_BYTES)
        for place in stride(from: 0, to: 3 * run, by: 8) {
            var source = [UInt8](repeating: 0, count: 3 * run)
            source[place] = 1
            // Vectors keep their lanes, of which the first eight bytes are returned.
            if place % 64 == 0 { #expect(memory.read(source, 3 * run) == 1, "\(place)") }
        }
        var noise = Noise(seed: 9)
        let source = noise.bytes(2 * run)
        var target = [UInt8](repeating: 0xa5, count: 3 * run)
        memory.copy(source, 2 * run, &target)
        // The first vector's bits are set in every vector.
        let width = isa == CK_AVX512 ? 64 : isa == CK_AVX2 ? 32 : 16
        #expect((0..<2 * run).allSatisfy { target[$0] == source[$0] | source[$0 % width] })
        #expect(target[(2 * run)...].allSatisfy { $0 == 0xa5 })
    }

    @Test("Every ceiling is measured, with one thread and with two, and they fit together")
    func measure() throws {
        // Smaller than any real ones: other tests watch the memory of this process.
        let caches = CacheSizes(bytes: [.l1: 16 << 10, .l2: 64 << 10, .l3: 2 << 20])
        let probes = try MachineProbes(threads: 2, caches: caches)
        for _ in 0..<2 { probes.sweep() }
        let peak = probes.peak
        #expect(peak.bandwidths.count == 2 * peak.caches.levels.count)
        let sets = peak.bandwidths.filter { $0.threads == 1 }.map(\.workingSetBytes)
        #expect(sets == sets.sorted())
        #expect(peak.macsPerSecond(.f32, threads: 7) == 0)
        #expect(peak.bytesPerSecond(.l1, threads: 7) == 0)

        // Ratios of figures of one run, and wide ones: wrong units, swapped figures and threads that
        // are counted and do nothing are farther off than any neighbour's disturbance.
        let single = peak.macsPerSecond(.f32, threads: 1)
        let both = peak.macsPerSecond(.f32, threads: 2) / single
        #expect((0.2...2.5).contains(both), "\(both)")
        // An instruction multiplies 16 bytes for each 4 that it is long; a cycle loads one or two.
        let loads = peak.bytesPerSecond(.l1, threads: 1) / single
        #expect((0.25...32).contains(loads), "\(loads) bytes for each f32")
        for bandwidth in peak.bandwidths {
            let copy = bandwidth.copyBytesPerSecond / bandwidth.readBytesPerSecond
            #expect((0.1...4).contains(copy), "\(bandwidth)")
            let ceiling = max(bandwidth.readBytesPerSecond, bandwidth.copyBytesPerSecond)
            #expect(peak.bytesPerSecond(bandwidth.level, threads: bandwidth.threads) == ceiling)
            let one = peak.bytesPerSecond(bandwidth.level, threads: 1)
            #expect((0.3...4).contains(ceiling / one), "\(bandwidth)")
        }
        // Narrow operands are there to be faster.
        for operand in Precision.allCases where peak.macsPerSecond(operand, threads: 1) > 0 {
            let ratio = peak.macsPerSecond(operand, threads: 1) / single
            #expect((0.4...16).contains(ratio), "\(operand): \(ratio)")
        }
    }

    @Test("Main memory is measured with more than the caches hold, and less than the machine has")
    func probeMemory() {
        func bytes(_ caches: [MemoryLevel: Int], _ installed: Int, threads: Int = 2) -> Int {
            probeByteCount(CacheSizes(bytes: caches), threads: threads, installed: installed)
        }
        let laptop: [MemoryLevel: Int] = [.l1: 32 << 10, .l2: 1 << 20, .l3: 16 << 20]
        #expect(bytes(laptop, 16 << 30) == 64 << 20)
        // A virtual machine that sees the last cache of a server, with little memory of its own.
        #expect(bytes([.l1: 32 << 10, .l3: 256 << 20], 1 << 30) == 128 << 20)
        #expect(bytes([.l1: 32 << 10, .l3: 1 << 30], 1 << 40) == 1 << 30)
        // No last cache that is known, on a board of 256 MiB.
        #expect(bytes([.l1: 32 << 10, .l2: 512 << 10], 16 << 30) == 64 << 20)
        #expect(bytes([.l1: 32 << 10, .l2: 512 << 10], 256 << 20) == 32 << 20)
        // Every worker needs room for its private caches.
        #expect(bytes([.l1: 32 << 10, .l2: 2 << 20], 64 << 20, threads: 16) == 32 << 20)
    }

    @Test("Caches are read as the kernel writes them; what is missing or odd is no cache")
    func caches() throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
        defer { try? FileManager.default.removeItem(at: folder) }
        func write(_ index: Int, _ level: String, _ type: String, _ size: String) throws {
            let cache = folder.appending(path: "index\(index)")
            try FileManager.default.createDirectory(at: cache, withIntermediateDirectories: true)
            for (name, text) in [("level", level), ("type", type), ("size", size)] {
                try Data("\(text)\n".utf8).write(to: cache.appending(path: name))
            }
        }
        #expect(CacheSizes(folder: folder.path).bytes == [.l1: 32 << 10])
        try write(0, "1", "Data", "48K")
        try write(1, "1", "Instruction", "64K")
        try write(2, "2", "Unified", "1M")
        try write(3, "3", "Unified", "-5K")
        let small = CacheSizes(folder: folder.path)
        #expect(small.bytes == [.l1: 48 << 10, .l2: 1 << 20])
        #expect(small.levels == [.l1, .l2, .dram])
        try write(3, "3", "Unified", "8192K")
        let whole = CacheSizes(folder: folder.path)
        #expect(whole.level(holding: 90 << 10, threads: 2) == .l1)
        #expect(whole.level(holding: 90 << 10, threads: 1) == .l2)
        #expect(whole.level(holding: 3 << 20, threads: 2) == .l3)
        #expect(whole.level(holding: 9 << 20, threads: 2) == .dram)
        for text in ["", "K", "0K", "1.5M", "99999999999999999999", "8X", "2000000G"] {
            #expect(CacheSizes.bytes(text) == nil, "\(text)")
        }
    }

    @Test("Convolutions and sums state their work")
    func costs() throws {
        let builder = PlanBuilder(
            backend: try Backend.shared(), pool: try WorkerPool(threads: 1))
        func weights(_ kernel: Int) throws -> ConvolutionWeights {
            try ConvolutionWeights(
                outputs: 32, inputs: 20, kernel: kernel,
                values: [Float](repeating: 0, count: 32 * 20 * kernel * kernel))
        }
        let x = builder.input(TensorShape(channels: 20, height: 9, width: 14))
        let same = try builder.convolution("same", x, weights(3))
        let half = try builder.convolution("half", x, weights(3), stride: 2)
        let sum = try builder.add("sum", half, half)
        let plan = try builder.build(outputs: [same, sum])
        let costs = Dictionary(uniqueKeysWithValues: plan.steps.map { ($0.name, $0.cost) })

        let first = try #require(costs["same"])
        #expect(first.directMACs == 9 * 14 * 20 * 32 * 9)
        // 3 × 4 tiles of 36 products; of 64 for 6 × 6 pixels, of which 2 × 3 suffice.
        #expect(first.multipliedMACs == 12 * 36 * 32 * 32)
        #expect(first.leastMACs == 6 * 64 * 32 * 32)
        // 32 channels in, 32 sums out, for each product, written and read.
        #expect(first.scratchTraffic == 2 * 12 * 36 * 64 * 4)
        #expect(first.scratchBytes >= 12 * 36 * 64 * 4)
        // 20 channels are stored as 32.
        #expect(first.bytesRead == 32 * 9 * 14 * 4)
        #expect(first.bytesWritten == 32 * 9 * 14 * 4)
        #expect(first.weightBytes >= 32 * 32 * 9 * 4)

        let second = try #require(costs["half"])
        #expect(second.directMACs == 5 * 7 * 20 * 32 * 9)
        // Four tiles of 81 products, by phases.
        #expect(second.multipliedMACs == 4 * 81 * 32 * 32)
        #expect(second.leastMACs == second.multipliedMACs)
        #expect(second.bytesWritten == 32 * 5 * 7 * 4)
        #expect(second.weightBytes == 36 * 32 * 32 * 4)
        #expect(second.algorithm == "F(4,3)/2")

        let third = try #require(costs["sum"])
        #expect(third.directMACs == 0 && third.multipliedMACs == 0)
        #expect(third.leastMACs == 0 && third.scratchBytes == 0 && third.scratchTraffic == 0)
        #expect(third.bytes == 3 * 32 * 5 * 7 * 4)
    }
}
