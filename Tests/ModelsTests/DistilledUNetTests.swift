// The network against PyTorch, and frames of all sizes through it.

import Foundation
import Testing

@testable import Models
@testable import NeuralEngine

struct DistilledUNetTests {
    private let model: DistilledUNet

    init() throws { model = try DistilledUNet(file: resource("distilled-unet.safetensors")) }

    private func session(_ width: Int, _ height: Int, threads: Int = 2) throws -> ModelSession {
        try model.prepare(
            frameWidth: width, frameHeight: height, modelWidth: width, modelHeight: height,
            threads: threads)
    }

    @Test("The network matches PyTorch to 1e-4", arguments: [1, 2])
    func matchesPyTorch(threads: Int) throws {
        try expectMatch(
            model, dump: resource("distilled-unet-io.safetensors"), threads: threads)
    }

    @Test("The weights that ship match PyTorch to 1e-4")
    func shippedWeights() throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent()
        let ink = try DistilledUNet(file: root.appending(path: "Models/ink.safetensors").path)
        #expect(ink.file.styles == ["ink"])
        try expectMatch(ink, dump: resource("ink-io.safetensors"), threads: 2)
    }

    /// Runs the network on the dump's `input` and compares with its `output`.
    private func expectMatch(_ model: DistilledUNet, dump path: String, threads: Int) throws {
        let dump = try Safetensors(file: path)
        let shape = try #require(dump.shape(of: "input"))
        let (height, width) = (shape[2], shape[3])
        let input = try dump.values(of: "input")
        let expected = try dump.values(of: "output")

        let builder = PlanBuilder(
            backend: try Backend.shared(), pool: try WorkerPool(threads: threads))
        let blocks = TensorShape(channels: 48, height: height / 4, width: width / 4)
        let image = builder.input(blocks)
        let residual = try model.residual(of: image, in: builder)
        let plan = try builder.build(outputs: [residual])
        // Channel c · 16 + 4 · dy + dx of a square is colour c at (dy, dx).
        func index(_ channel: Int, _ y: Int, _ x: Int) -> Int {
            let (colour, place) = channel.quotientAndRemainder(dividingBy: 16)
            return (colour * height + 4 * y + place / 4) * width + 4 * x + place % 4
        }
        var planes = [Float](repeating: 0, count: input.count)
        var places = [Int](repeating: 0, count: input.count)
        var next = 0
        for channel in 0..<48 {
            for y in 0..<blocks.height {
                for x in 0..<blocks.width {
                    places[next] = index(channel, y, x)
                    planes[next] = input[places[next]]
                    next += 1
                }
            }
        }
        planes.withUnsafeBufferPointer { plan.view(of: image).load(planar: $0) }
        plan.run()
        let found = plan.view(of: residual).planar()
        var worst: Float = 0
        for (place, value) in zip(places, found) {
            let result = min(max(input[place] + value, 0), 1)
            worst = max(worst, abs(result - expected[place]))
        }
        #expect(found.allSatisfy { $0.isFinite })
        #expect(worst <= 1e-4, "off by \(worst)")
        // The test means something only if the network changes the picture.
        #expect(zip(input, expected).contains { abs($0 - $1) > 0.01 })
    }

    @Test("Frames in bytes give what the network gives in numbers")
    func framesMatch() throws {
        let dump = try Safetensors(file: resource("distilled-unet-io.safetensors"))
        let shape = try #require(dump.shape(of: "input"))
        let (height, width) = (shape[2], shape[3])
        let input = try dump.values(of: "input")
        let expected = try dump.values(of: "output")
        var picture = Picture(width: width, height: height)
        for colour in 0..<3 {
            for pixel in 0..<width * height {
                picture.bytes[3 * pixel + colour] = UInt8(
                    (input[colour * width * height + pixel] * 255).rounded())
            }
        }
        let output = try #require(try session(width, height).transform(picture))
        var worst: Float = 0
        for colour in 0..<3 {
            for pixel in 0..<width * height {
                let exact = expected[colour * width * height + pixel] * 255
                worst = max(worst, abs(Float(output.bytes[3 * pixel + colour]) - exact))
            }
        }
        // Rounding of the input (½ level, carried through the network) and of the output.
        #expect(worst <= 3, "off by \(worst) levels")
    }

    @Test("Any number of threads gives the same picture")
    func threads() throws {
        let picture = Picture(width: 83, height: 61, seed: 3)
        let one = try session(83, 61, threads: 1).transform(picture)
        for threads in 2...4 {
            let several = try session(83, 61, threads: threads).transform(picture)
            // Pieces differ in size, and BLAS may then sum in another order.
            let isSame = zip(one?.bytes ?? [], several?.bytes ?? []).allSatisfy {
                abs(Int($0) - Int($1)) <= 1
            }
            #expect(one != nil && several != nil && isSame)
        }
    }

    @Test(
        "A frame of any size is padded by repeating its edges and cropped again",
        arguments: [(1, 1), (3, 2), (15, 17), (33, 16), (50, 37), (64, 48)])
    func padding(width: Int, height: Int) throws {
        let small = Picture(width: width, height: height, padding: 5, seed: 7)
        let (wide, tall) = ((width + 15) / 16 * 16, (height + 15) / 16 * 16)
        var large = Picture(width: wide, height: tall)
        for y in 0..<tall {
            for x in 0..<wide {
                for colour in 0..<3 {
                    large.bytes[y * large.stride + 3 * x + colour] =
                        small.bytes[
                            min(y, height - 1) * small.stride + 3 * min(x, width - 1) + colour]
                }
            }
        }
        let found = try #require(try session(width, height).transform(small, padding: 7))
        let expected = try #require(try session(wide, tall).transform(large))
        #expect(found.isPaddingIntact)
        for y in 0..<height {
            #expect(
                Array(found.bytes[y * found.stride..<y * found.stride + 3 * width])
                    == Array(expected.bytes[y * expected.stride..<y * expected.stride + 3 * width]))
        }
    }

    @Test("Strength 0 gives back the input bit by bit", arguments: [(32, 32), (37, 21)])
    func strengthZero(modelWidth: Int, modelHeight: Int) throws {
        let session = try model.prepare(
            frameWidth: 37, frameHeight: 21, modelWidth: modelWidth, modelHeight: modelHeight,
            threads: 2)
        let picture = Picture(width: 37, height: 21, padding: 3, seed: 1)
        for strength in [0, -1, Float.nan] {
            let output = session.transform(picture, strength: strength, padding: 9)
            #expect(output?.pixels == picture.pixels)
            #expect(output?.isPaddingIntact == true)
        }
    }

    @Test("Strength scales the change and is clamped to 1")
    func strength() throws {
        let session = try session(48, 32)
        let picture = Picture(width: 48, height: 32, seed: 5)
        let full = try #require(session.transform(picture))
        let half = try #require(session.transform(picture, strength: 0.5))
        #expect(session.transform(picture, strength: 7)?.bytes == full.bytes)
        for (index, original) in picture.bytes.enumerated()
        where full.bytes[index] > 0 && full.bytes[index] < 255 {
            let middle = (Float(original) + Float(full.bytes[index])) / 2
            #expect(abs(Float(half.bytes[index]) - middle) <= 1)
        }
    }

    @Test("The output may overwrite the input")
    func inPlace() throws {
        for (modelWidth, modelHeight) in [(50, 37), (32, 16)] {
            let session = try model.prepare(
                frameWidth: 50, frameHeight: 37, modelWidth: modelWidth, modelHeight: modelHeight,
                threads: 2)
            var picture = Picture(width: 50, height: 37, seed: 9)
            let expected = session.transform(picture)
            let stride = picture.stride
            let isGood = picture.bytes.withUnsafeMutableBufferPointer { buffer in
                guard let base = buffer.baseAddress else { return false }
                return session.process(
                    rgb: base, strideBytes: stride, into: base, strideBytes: stride, strength: 1)
            }
            #expect(isGood && picture.bytes == expected?.bytes)
        }
    }

    @Test(
        "Frames larger and smaller than the model keep their padding and get a change",
        arguments: [
            (128, 72, 64, 36), (130, 75, 64, 36), (64, 36, 128, 72), (100, 20, 37, 55),
            (1, 1, 16, 16), (97, 33, 1, 1),
        ])
    func otherSizes(frameWidth: Int, frameHeight: Int, modelWidth: Int, modelHeight: Int) throws {
        let session = try model.prepare(
            frameWidth: frameWidth, frameHeight: frameHeight, modelWidth: modelWidth,
            modelHeight: modelHeight, threads: 2)
        let picture = Picture(width: frameWidth, height: frameHeight, padding: 1, seed: 11)
        let output = try #require(session.transform(picture, padding: 6))
        #expect(output.isPaddingIntact)
        #expect(output.pixels != picture.pixels)
    }

    @Test("A flat frame gets the same change at any frame size")
    func flatFrames() throws {
        // Away from the borders a flat picture stays flat at every scale, so the residual in the
        // middle must not depend on how frame and model sizes are related.
        func middle(_ width: Int, _ height: Int) throws -> [UInt8] {
            let session = try model.prepare(
                frameWidth: width, frameHeight: height, modelWidth: 256, modelHeight: 256,
                threads: 2)
            var picture = Picture(width: width, height: height)
            for index in picture.bytes.indices { picture.bytes[index] = [90, 140, 200][index % 3] }
            let output = try #require(session.transform(picture))
            var sums = [0, 0, 0]
            // The average over one period of the network (16 model pixels) in the middle.
            let (w, h) = (width / 16, height / 16)
            for y in height / 2..<height / 2 + h {
                for x in width / 2..<width / 2 + w {
                    for colour in 0..<3 {
                        sums[colour] += Int(output.bytes[3 * (y * width + x) + colour])
                    }
                }
            }
            return sums.map { UInt8(($0 + w * h / 2) / (w * h)) }
        }
        let same = try middle(256, 256)
        for (width, height) in [(512, 512), (128, 128), (384, 320)] {
            let other = try middle(width, height)
            #expect(zip(same, other).allSatisfy { abs(Int($0) - Int($1)) <= 1 }, "\(same) \(other)")
        }
    }

    @Test("Detail of a larger frame survives when the network changes nothing")
    func detailSurvives() throws {
        var fixture = try ModelFixture()
        fixture.tensors["head.weight"]?.values = [Float](repeating: 0, count: 48 * 8 * 9)
        fixture.tensors["head.bias"]?.values = [Float](repeating: 0, count: 48)
        try fixture.withFile { path in
            let session = try DistilledUNet(file: path).prepare(
                frameWidth: 160, frameHeight: 90, modelWidth: 64, modelHeight: 36, threads: 2)
            let picture = Picture(width: 160, height: 90, seed: 13)
            #expect(session.transform(picture)?.bytes == picture.bytes)
        }
    }

    @Test("A result that is not finite is reported, and the next frame is judged anew")
    func notFinite() throws {
        var fixture = try ModelFixture()
        // Finite weights that overflow on the way.
        fixture.tensors["stem.bias"]?.values = [3e38, 3e38, 3e38, 3e38, 3e38, 3e38, 3e38, 3e38]
        try fixture.withFile { path in
            let model = try DistilledUNet(file: path)
            for size in [32, 48] {
                let session = try model.prepare(
                    frameWidth: 32, frameHeight: 32, modelWidth: size, modelHeight: size,
                    threads: 2)
                let picture = Picture(width: 32, height: 32, seed: 17)
                #expect(session.transform(picture) == nil)
                #expect(session.transform(picture) == nil)
                #expect(session.transform(picture, strength: 0) != nil)
            }
        }
    }

    @Test("Senseless sizes and thread counts are errors")
    func badSizes() throws {
        for (width, height, threads) in [(0, 32, 2), (32, -1, 2), (32, 32, 0), (100_000, 32, 1)] {
            #expect(throws: ModelError.self) { try session(width, height, threads: threads) }
        }
    }

    @Test(
        "Sizes that would take gigabytes are errors that name the size and the setting",
        arguments: [(16_384, 16_384), (16_384, 8_192)])
    func hugeSizes(width: Int, height: Int) throws {
        let error = try #require(throws: ModelError.self) { try session(width, height) }
        #expect(error.description.contains("\(width)×\(height)"))
        #expect(error.description.contains("transform.model_width"))
        // A narrow network beneath a huge frame: the residual's rows are what is large.
        #expect(throws: ModelError.self) {
            try model.prepare(
                frameWidth: width, frameHeight: 16_384, modelWidth: 16, modelHeight: 16_384,
                threads: 2)
        }
    }

    @Test("A thread count beyond every machine is an error", arguments: [257, 100_000, Int.max])
    func hugeThreadCount(threads: Int) throws {
        let error = try #require(throws: ModelError.self) {
            try session(32, 32, threads: threads)
        }
        #expect(error.description.contains("use 1 to 256"))
    }

    @Test("The benchmark reports every run and step")
    func benchmark() throws {
        let result = try EngineBenchmark.run(
            model: resource("distilled-unet.safetensors"), width: 64, height: 48, threads: 2,
            iterations: 7)
        #expect(result.runsMilliseconds.count == 7)
        #expect(result.minimumMilliseconds <= result.medianMilliseconds)
        #expect(result.medianMilliseconds <= result.p99Milliseconds)
        #expect(result.steps.map(\.name).contains("enc0.0.a"))
        #expect(result.steps.allSatisfy { $0.minimumMilliseconds > 0 })
    }
}
