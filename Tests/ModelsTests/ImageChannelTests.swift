// Networks with more image channels than pixels fill, and the check of a network's answer.

import Foundation
import Testing

@testable import Models
@testable import NeuralEngine

struct ImageChannelTests {
    private func session(_ path: String, _ width: Int, _ height: Int) throws -> ModelSession {
        try DistilledUNet(file: path).prepare(
            frameWidth: width, frameHeight: height, modelWidth: width, modelHeight: height,
            threads: 2)
    }

    @Test("Channels past 48 change no frame", arguments: [48, 64, 256])
    func frames(count: Int) throws {
        let picture = Picture(width: 70, height: 45, seed: 4)
        let plain = try session(resource("distilled-unet.safetensors"), 70, 45).transform(picture)
        let wide = try ModelFixture().widened(count).withFile { path in
            let model = try DistilledUNet(file: path)
            #expect(model.imageChannels == count)
            let session = try session(path, 70, 45)
            let first = session.transform(picture)
            // A run of the network alone leaves nothing behind for the next frame.
            let noise = [Float](repeating: 0.5, count: count * 12 * 20)
            #expect(session.residual(of: noise).count == noise.count)
            let isSame = session.transform(picture) == first
            #expect(isSame)
            return first
        }
        let pairs = zip(try #require(plain).bytes, try #require(wide).bytes)
        // The stem may be computed another way where it has more channels.
        #expect(pairs.allSatisfy { abs(Int($0) - Int($1)) <= 1 })
    }

    @Test(
        "Other numbers of image channels are refused by name",
        arguments: ["", "0", "47", "50", "32", "272", "-64", "64.0", "many", "9999999999999999999"])
    func refused(text: String) throws {
        try ModelFixture().widened(64, metadata: text).withFile { path in
            let error = try #require(throws: ModelError.self) { try DistilledUNet(file: path) }
            #expect(error.description.hasPrefix(path + ":"))
            #expect(error.description.contains("image_channels is \"\(text)\""))
        }
    }

    @Test("Weights of another number of channels than the metadata says are refused")
    func mismatch() throws {
        try ModelFixture().widened(64, metadata: "80").withFile { path in
            let error = try #require(throws: ModelError.self) { try DistilledUNet(file: path) }
            #expect(error.description.contains("stem.weight"))
        }
    }
}

struct NetworkCheckTests {
    /// A file with an input, and as output what `answer` makes of the network's own.
    private func check(
        _ session: ModelSession, _ answer: (Float) -> Float = { $0 }
    ) throws -> ModelFixture {
        var fixture = try ModelFixture()
        let shape = [
            session.networkShape.channels, session.networkShape.height,
            session.networkShape.width,
        ]
        let input = noise(shape.reduce(1, *), seed: 3).map { Float($0) / 255 }
        fixture.tensors = [
            "input": (shape, input),
            "output": (shape, session.residual(of: input).map(answer)),
        ]
        return fixture
    }

    private func session() throws -> ModelSession {
        try DistilledUNet(file: resource("distilled-unet.safetensors")).prepare(
            frameWidth: 64, frameHeight: 48, modelWidth: 64, modelHeight: 48, threads: 1)
    }

    @Test("The relative error is that of the L2 norms")
    func relativeError() throws {
        let session = try session()
        for (factor, expected) in [(Float(1), 0), (0.8, 0.25), (-1, 2)] {
            try check(session, { $0 * factor }).withFile { path in
                let found = try NetworkCheck(file: path).relativeError(of: session)
                #expect(abs(found - expected) < 1e-6)
            }
        }
    }

    @Test("The benchmark reports it")
    func benchmark() throws {
        try check(session()).withFile { path in
            let result = try EngineBenchmark.run(
                model: resource("distilled-unet.safetensors"), width: 64, height: 48, threads: 1,
                iterations: 2, check: NetworkCheck(file: path))
            #expect(try #require(result.relativeError) < 1e-5)
            // Tests do not interpose malloc.
            #expect(result.allocations == nil)
            #expect(result.runsMilliseconds.count == 2)
            #expect(result.steps.first?.name == "frame in")
            #expect(result.steps.contains { $0.cost.directMACs > 0 })
        }
    }

    @Test("A file that is no check is refused, with its name and the reason")
    func refused() throws {
        let session = try session()
        let good = try check(session)
        func reason(_ change: (inout ModelFixture) -> Void) throws -> String {
            var fixture = good
            change(&fixture)
            return try fixture.withFile { path in
                let error = try #require(throws: ModelError.self) {
                    try NetworkCheck(file: path).relativeError(of: session)
                }
                #expect(error.description.hasPrefix(path + ":"))
                return error.description
            }
        }
        #expect(try reason { $0.tensors["output"] = nil }.contains("\"output\""))
        #expect(try reason { $0.tensors["input"] = nil }.contains("\"input\""))
        #expect(try reason { $0.tensors["output"]?.shape = [12, 16, 48] }.contains("[12, 16, 48]"))
        #expect(try reason { $0.tensors["input"]?.values[7] = .nan }.contains("NaN"))
        #expect(try reason { $0.tensors["output"]?.values[0] = .infinity }.contains("infinity"))
        let zeros = [Float](repeating: 0, count: 48 * 12 * 16)
        let zero = try reason { $0.tensors["output"]?.values = zeros }
        #expect(zero.contains("zero"))
        let flat = try reason { fixture in
            for name in ["input", "output"] { fixture.tensors[name]?.shape = [48 * 12, 16] }
        }
        #expect(flat.contains("(channels, height / 4, width / 4)"))
        let turned = try reason { fixture in
            for name in ["input", "output"] { fixture.tensors[name]?.shape = [48, 16, 12] }
        }
        #expect(turned.contains("[48, 12, 16] at 64x48") && turned.contains("--size 48x64"))
    }

    @Test("A network that answers with NaN is an error, not a figure")
    func notFinite() throws {
        let good = try check(session())
        var broken = try ModelFixture()
        // Finite weights whose products are not.
        broken.tensors["head.bias"]?.values[0] = .greatestFiniteMagnitude
        let count = try #require(broken.tensors["head.weight"]).values.count
        broken.tensors["head.weight"]?.values = [Float](
            repeating: .greatestFiniteMagnitude, count: count)
        try broken.withFile { model in
            let session = try DistilledUNet(file: model).prepare(
                frameWidth: 64, frameHeight: 48, modelWidth: 64, modelHeight: 48, threads: 1)
            try good.withFile { path in
                let error = try #require(throws: ModelError.self) {
                    try NetworkCheck(file: path).relativeError(of: session)
                }
                #expect(error.description.contains("NaN or infinity"))
            }
        }
    }
}
