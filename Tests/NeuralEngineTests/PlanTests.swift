// Arena and plan: alignment, sharing of memory, refusals.

import Testing

@testable import NeuralEngine

struct PlanTests {
    @Test("Regions of an arena are aligned, apart and zeroed")
    func arena() throws {
        let arena = Arena()
        let regions = [1, 15, 16, 17, 1000].map { arena.plan($0) }
        try arena.allocate()
        for (index, region) in regions.enumerated() {
            let pointer = arena.pointer(region)
            #expect(UInt(bitPattern: pointer) % 64 == 0)
            #expect((0..<region.count).allSatisfy { pointer[$0] == 0 })
            for other in regions[..<index] {
                #expect(other.offset + other.count <= region.offset)
            }
        }
    }

    private func weights(_ channels: Int, seed: UInt64) throws -> ConvolutionWeights {
        var noise = Noise(seed: seed)
        return try ConvolutionWeights(
            outputs: channels, inputs: channels, kernel: 3,
            values: noise.floats(channels * channels * 9).map { $0 * 0.2 },
            bias: noise.floats(channels))
    }

    @Test("A chain of layers shares memory and still computes what separate plans do")
    func sharing() throws {
        let shape = TensorShape(channels: 20, height: 9, width: 13)
        let backend = try Backend.shared()
        var noise = Noise(seed: 4)
        let image = noise.floats(20 * 9 * 13)

        // One layer a plan: nothing can be shared.
        var expected = image
        for layer in 0..<6 {
            let builder = PlanBuilder(backend: backend, pool: try WorkerPool(threads: 2))
            let x = builder.input(shape)
            let y = try builder.convolution("", x, weights(20, seed: UInt64(layer)), adding: x)
            let plan = try builder.build(outputs: [y])
            expected.withUnsafeBufferPointer { plan.view(of: x).load(planar: $0) }
            plan.run()
            expected = plan.view(of: y).planar()
        }

        let builder = PlanBuilder(backend: backend, pool: try WorkerPool(threads: 2))
        let x = builder.input(shape)
        var y = x
        var addresses: Set<UInt> = []
        var tensors = [x]
        for layer in 0..<6 {
            y = try builder.convolution("", y, weights(20, seed: UInt64(layer)), adding: y)
            tensors.append(y)
        }
        let plan = try builder.build(outputs: [y])
        for tensor in tensors {
            addresses.insert(UInt(bitPattern: plan.view(of: tensor).pixel(block: 0, y: 0, x: 0)))
        }
        #expect(addresses.count == 2)
        for _ in 0..<3 {
            image.withUnsafeBufferPointer { plan.view(of: x).load(planar: $0) }
            plan.run()
            #expect(isClose(plan.view(of: y).planar(), expected, tolerance: 0))
        }
    }

    @Test("Layers that do not fit together are refused by name")
    func refusals() throws {
        let builder = PlanBuilder(
            backend: try Backend.shared(), pool: try WorkerPool(threads: 1))
        let x = builder.input(TensorShape(channels: 16, height: 4, width: 4))
        let small = builder.input(TensorShape(channels: 16, height: 2, width: 2))
        let weights = try weights(8, seed: 1)
        #expect(throws: EngineError.self) { try builder.convolution("c", x, weights) }
        #expect(throws: EngineError.self) { try builder.add("a", x, small) }
        let single = try ConvolutionWeights(
            outputs: 16, inputs: 16, kernel: 1, values: [Float](repeating: 1, count: 256))
        #expect(throws: EngineError.self) {
            try builder.convolutionUpsampled2("u", x, single, adding: small)
        }
        #expect(throws: EngineError.self) {
            try builder.convolutionUpsampled2("u", x, self.weights(16, seed: 1))
        }
        let good = try self.weights(16, seed: 1)
        #expect(throws: EngineError.self) { try builder.convolution("c", x, good, stride: 3) }
        #expect(throws: EngineError.self) { try builder.convolution("c", x, good, adding: small) }
        #expect(throws: EngineError.self) {
            try ConvolutionWeights(outputs: 1, inputs: 1, kernel: 5, values: [])
        }
        #expect(throws: EngineError.self) {
            try ConvolutionWeights(outputs: 2, inputs: 1, kernel: 1, values: [1])
        }
    }

    @Test("Too much memory is an error before anything is allocated")
    func tooLarge() throws {
        let builder = PlanBuilder(
            backend: try Backend.shared(), pool: try WorkerPool(threads: 1))
        let x = builder.input(TensorShape(channels: 16, height: 1 << 13, width: 1 << 12))
        let error = try #require(throws: EngineError.self) {
            try builder.build(outputs: [x], for: "a wall")
        }
        #expect(error.description.contains("a network for a wall needs 2051 MiB"))
        #expect(error.description.contains("transform.model_width"))
    }

    @Test("What the caller allocates besides is counted")
    func otherMemory() throws {
        let builder = PlanBuilder(
            backend: try Backend.shared(), pool: try WorkerPool(threads: 1))
        let x = builder.input(TensorShape(channels: 16, height: 1, width: 1))
        _ = try builder.build(outputs: [x])
        #expect(throws: EngineError.self) {
            try builder.build(outputs: [x], besides: PlanBuilder.maximumBytes)
        }
    }

    @Test("Memory that the system does not have is an error")
    func noMemory() throws {
        let arena = Arena()
        _ = arena.plan(1 << 57)
        #expect(throws: EngineError.self) { try arena.allocate() }
    }

    @Test("Sums and activations of tensors are computed in every channel")
    func add() throws {
        let shape = TensorShape(channels: 18, height: 5, width: 3)
        let builder = PlanBuilder(
            backend: try Backend.shared(), pool: try WorkerPool(threads: 2))
        let a = builder.input(shape)
        let b = builder.input(shape)
        let y = try builder.add("sum", a, b, activation: .relu)
        let plan = try builder.build(outputs: [y])
        var noise = Noise(seed: 2)
        let first = noise.floats(18 * 15)
        let second = noise.floats(18 * 15)
        first.withUnsafeBufferPointer { plan.view(of: a).load(planar: $0) }
        second.withUnsafeBufferPointer { plan.view(of: b).load(planar: $0) }
        plan.run()
        #expect(plan.view(of: y).planar() == zip(first, second).map { max($0 + $1, 0) })
    }

    @Test(
        "Resampling weights sum to 1 and stay inside",
        arguments: [(1, 1), (1, 7), (7, 1), (2, 3), (640, 1280), (1280, 640), (1000, 333), (5, 4)])
    func resampling(from: Int, to: Int) {
        let table = ResamplingTaps(from: from, to: to)
        #expect(table.starts.count == to)
        for index in 0..<to {
            let weights = table.weights[index * table.taps..<(index + 1) * table.taps]
            #expect(abs(weights.reduce(0, +) - 1) < 1e-5)
            #expect(weights.allSatisfy { $0 >= 0 })
            #expect(table.starts[index] >= 0 && Int(table.starts[index]) + table.taps <= from)
        }
    }

    @Test("Halving averages two samples, doubling interpolates between centres")
    func resamplingValues() {
        let half = ResamplingTaps(from: 6, to: 3)
        #expect(half.starts == [0, 2, 4])
        #expect(half.weights == [0.5, 0.5, 0.5, 0.5, 0.5, 0.5])
        let double = ResamplingTaps(from: 2, to: 4)
        #expect(double.starts == [0, 0, 0, 0])
        #expect(double.weights == [1, 0, 0.75, 0.25, 0.25, 0.75, 0, 1])
    }
}
