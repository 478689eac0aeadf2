// The arithmetic of the roofline, on a machine and layers whose answers are known.

import Testing

@testable import Daemon
@testable import Models
@testable import NeuralEngine

@Suite struct RooflineTests {
    /// 100 GMAC/s in f32 and 400 in int8; 1000, 500, 200 and 20 GB/s; all of it with two threads, one
    /// tenth with one.
    private let peak: MachinePeak = {
        let caches = CacheSizes(bytes: [.l1: 32 << 10, .l2: 1 << 20, .l3: 16 << 20])
        let rates: [(MemoryLevel, Double)] = [(.l1, 1000), (.l2, 500), (.l3, 200), (.dram, 20)]
        return MachinePeak(
            instructionSet: .scalar,
            arithmetic: [(Precision.f32, 100.0), (.int8, 400)].flatMap { operand, rate in
                [(1, rate / 10), (2, rate)].map { threads, rate in
                    MachinePeak.Arithmetic(
                        operand: operand, threads: threads, macsPerSecond: rate * 1e9)
                }
            },
            bandwidths: rates.flatMap { level, rate in
                [(1, rate / 10), (2, rate)].map { threads, rate in
                    // The ceiling is the larger one, whichever it is.
                    MachinePeak.Bandwidth(
                        level: level, threads: threads, workingSetBytes: 0,
                        readBytesPerSecond: (level == .l2 ? 0.5 : 1) * rate * 1e9,
                        copyBytesPerSecond: (level == .l2 ? 1 : 0.5) * rate * 1e9)
                }
            }, caches: caches)
    }()

    private func layer(
        _ milliseconds: Double, threads: Int = 2, _ change: (inout StepCost) -> Void
    ) -> Roofline.Layer {
        var cost = StepCost()
        change(&cost)
        return Roofline.Layer(
            EngineBenchmark.Step(
                name: "layer", minimumMilliseconds: milliseconds, medianMilliseconds: 0,
                cost: cost), peak, threads: threads)
    }

    private func isNear(_ a: Double, _ b: Double) -> Bool { abs(a - b) <= 1e-9 + 1e-6 * abs(b) }

    @Test func `multiply-accumulates bound a layer that touches little`() {
        let layer = layer(4) {
            $0.multipliedMACs = 200_000_000
            $0.leastMACs = 100_000_000
            $0.directMACs = 900_000_000
            $0.weightBytes = 1000
            $0.bytesRead = 2000
            $0.bytesWritten = 1000
        }
        #expect(layer.bound == "compute")
        #expect(isNear(layer.roofMilliseconds, 2))
        #expect(isNear(layer.share, 0.5))
        // The best algorithm would take half as long.
        #expect(isNear(layer.bestRoofMilliseconds, 1))
        #expect(isNear(layer.shareOfBest, 0.25))
        #expect(isNear(layer.gigaMACsPerSecond, 50))
        #expect(isNear(layer.macsPerByte, 50_000))
        #expect(layer.activationBytes == 3000)
    }

    @Test func `the operand and the threads choose the peak`() {
        for (operand, threads, expected) in [
            (Precision.f32, 1, 20.0), (.f32, 2, 2), (.int8, 1, 5), (.int8, 2, 0.5),
        ] {
            let layer = layer(40, threads: threads) {
                $0.multipliedMACs = 200_000_000
                $0.operand = operand
            }
            #expect(isNear(layer.roofMilliseconds, expected))
        }
        // What was not measured bounds nothing.
        #expect(layer(1) { ($0.multipliedMACs, $0.operand) = (1, .bf16) }.roofMilliseconds == 0)
        #expect(layer(1, threads: 3) { $0.multipliedMACs = 1 }.share == 0)
    }

    @Test func `bytes are charged to the nearest memory that holds them all`() {
        // Two threads have two L1 and two L2.
        for (bytes, level, gigabytes) in [
            (60_000, "L1", 1000.0), (70_000, "L2", 500), (2_000_000, "L2", 500),
            (3_000_000, "L3", 200), (20_000_000, "DRAM", 20),
        ] {
            let layer = layer(1000) { $0.bytesRead = bytes }
            #expect(layer.bound == level)
            #expect(isNear(layer.roofMilliseconds, Double(bytes) / gigabytes / 1e6))
            #expect(layer.bestRoofMilliseconds == layer.roofMilliseconds)
        }
        let single = layer(1000, threads: 1) { $0.bytesRead = 60_000 }
        #expect(single.bound == "L2")
    }

    @Test func `scratch memory takes room from the tensors, and has a time of its own`() {
        let layer = layer(10) {
            $0.bytesRead = 60_000
            $0.scratchBytes = 500_000
            $0.scratchTraffic = 100_000_000
        }
        // 60 kB alone would lie in L1; beside half a megabyte a worker they lie in L2.
        #expect(layer.bound == "L2")
        #expect(isNear(layer.scratchMilliseconds, 0.2))
        #expect(isNear(layer.roofMilliseconds, 60_000 / 500e6))
        #expect(layer.scratchTrafficBytes == 100_000_000)
    }

    @Test func `a frame is the sum of its layers`() {
        let layers = [
            layer(4) { ($0.multipliedMACs, $0.leastMACs) = (200_000_000, 100_000_000) },
            layer(2) { ($0.bytesRead, $0.scratchTraffic) = (20_000_000, 5_000_000) },
        ]
        let frame = Roofline.Frame(layers, minimumMilliseconds: 5)
        #expect(isNear(frame.milliseconds, 6))
        #expect(isNear(frame.roofMilliseconds, 3))
        #expect(isNear(frame.share, 0.5))
        #expect(isNear(frame.bestRoofMilliseconds, 2))
        #expect(isNear(frame.shareOfBest, 0.333))
        #expect(isNear(frame.scratchMilliseconds, 0.005))
        let empty = Roofline.Frame([], minimumMilliseconds: 0)
        #expect(empty.share == 0 && empty.shareOfBest == 0)
    }

    @Test func `what the hypervisor and other programs took is told apart`() throws {
        let before = try #require(
            MachineLoad(statistics: "cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 1", own: 1))
        #expect(before.total == 10 && before.busy == 2)
        let after = try #require(
            MachineLoad(statistics: "cpu  400 0 200 1000 200 0 50 150 90 0\n", own: 3.5))
        let shares = after.shares(since: before)
        // 10 s passed: 4.5 busy, 2.5 of them our own; 1.5 stolen.
        #expect(isNear(shares.stolen, 0.15))
        #expect(isNear(shares.others, 0.2))
        #expect(before.shares(since: before) == (0, 0))
        for text in ["", "cpu", "cpu 1 2 3", "cpu0 1 2 3 4 5 6 7 8", "cpu a b c d e f g h"] {
            #expect(MachineLoad(statistics: text, own: 0) == nil, "\(text)")
        }
        let now = try #require(MachineLoad.current)
        #expect(now.total > 0 && now.busy > 0)
    }
}
