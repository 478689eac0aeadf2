// The streaming network against PyTorch, and streams of frames through it.

import Foundation
import Testing

@testable import Models
@testable import NeuralEngine

struct StreamingUNetTests {
    private let model: StreamingUNet

    init() throws { model = try StreamingUNet(file: resource("streaming-unet.safetensors")) }

    private func session(
        _ width: Int, _ height: Int, style: String = "oil", threads: Int = 2,
        _ adjust: (inout SessionRequest) -> Void = { _ in }
    ) throws -> StreamSession {
        var request = SessionRequest(
            width: width, height: height, threads: threads, look: Look(style: try StyleMix(style)))
        adjust(&request)
        return try StreamSession(model, request)
    }

    /// Pictures of one scene with a little noise.
    private func scene(_ count: Int, width: Int = 64, height: Int = 48) -> [Picture] {
        let base = noise(3 * width * height, seed: 1)
        return (0..<count).map { index in
            var picture = Picture(width: width, height: height)
            let grain = noise(3 * width * height, seed: UInt32(2 + index))
            picture.bytes = zip(base, grain).map { UInt8(100 + Int($0) / 4 + Int($1) / 128) }
            return picture
        }
    }

    // MARK: Against PyTorch

    @Test(
        "one pass matches PyTorch to 1e-4, for one style and for a mix", arguments: [0, 1], [1, 2])
    func matchesPyTorch(index: Int, threads: Int) throws {
        let dump = try Safetensors(file: resource("streaming-unet-io.safetensors"))
        func values(_ name: String) throws -> [Float] {
            try dump.values(of: "pass-\(index)/\(name)")
        }
        let shape = try #require(dump.shape(of: "pass-\(index)/z"))
        let (height, width) = (shape[2], shape[3])
        let weights = try model.folded(values("style"), share: values("share")[0])

        let builder = PlanBuilder(
            backend: try Backend.shared(), pool: try WorkerPool(threads: threads))
        let input = builder.input(
            TensorShape(
                channels: StreamSteps.inputChannels, height: height, width: width))
        let output = try model.raw(input, weights, in: builder)
        let plan = try builder.build(outputs: [output])
        let planes = try values("z") + values("frame") + values("state") + values("tau")
        planes.withUnsafeBufferPointer { plan.view(of: input).load(planar: $0) }
        plan.run()

        let expected = try values("raw")
        let found = plan.view(of: output).planar()
        #expect(found.count == expected.count)
        let error = zip(found, expected).map { abs($0 - $1) }.max() ?? .infinity
        #expect(error < 1e-4)
    }

    @Test(
        "a stream that stands matches PyTorch's to a level: start, trust, gate, state, light, K steps",
        arguments: [1, 2, 4])
    func matchesPyTorchStream(steps: Int) throws {
        let dump = try Safetensors(file: resource("streaming-unet-io.safetensors"))
        let shape = try #require(dump.shape(of: "stream-\(steps)/frames"))
        let (count, height, width) = (shape[0], shape[2], shape[3])
        let frames = try dump.values(of: "stream-\(steps)/frames")
        let expected = try dump.values(of: "stream-\(steps)/outputs")
        let stream = try session(width, height) { $0.look.steps = steps }
        for index in 0..<count {
            var picture = Picture(width: width, height: height)
            for colour in 0..<3 {
                for pixel in 0..<width * height {
                    let value = frames[(3 * index + colour) * width * height + pixel]
                    picture.bytes[3 * pixel + colour] = UInt8(value)
                }
            }
            let found = try #require(stream.transform(picture)).pixels
            var worst: Float = 0
            for colour in 0..<3 {
                for pixel in 0..<width * height {
                    let wanted = 255 * expected[(3 * index + colour) * width * height + pixel]
                    worst = max(worst, abs(Float(found[3 * pixel + colour]) - wanted))
                }
            }
            // Half a level is the picture's own rounding.
            #expect(worst < 1, "frame \(index)")
        }
    }

    @Test("a source is the file's bytes, mixes between, and grey for a style without one")
    func sources() throws {
        let styles = model.file.styles
        let oil = try #require(styles.firstIndex(of: "oil"))
        let ink = try #require(styles.firstIndex(of: "ink"))
        func source(_ shares: [Int: Float]) -> [UInt8] {
            model.source(styles.indices.map { shares[$0] ?? 0 })
        }
        let file = try Safetensors(file: resource("streaming-unet.safetensors"))
        let texture = try file.bytes(of: "source.oil")
        #expect(source([oil: 1]) == texture)
        #expect(source([ink: 1]).allSatisfy { $0 == 128 })
        #expect(
            source([oil: 0.5, ink: 0.5])
                == texture.map { UInt8(((Float($0) + 128) / 2).rounded()) })
    }

    // MARK: Streams

    @Test("without the past every frame is as if it were the first", arguments: [1, 2, 4])
    func noMemory(steps: Int) throws {
        let frames = scene(3)
        let stream = try session(64, 48) {
            $0.look.temporal = 0
            $0.look.steps = steps
        }
        for frame in frames {
            // But for the light, which is followed slowly: of one frame it is always the same.
            stream.reset()
            let first = try #require(stream.transform(frame))
            for _ in 0..<2 { #expect((stream.transform(frame) == first) as Bool) }
        }
    }

    @Test("with it they differ from that")
    func memory() throws {
        let frame = scene(1)[0]
        let stream = try session(64, 48)
        let first = try #require(stream.transform(frame))
        let second = try #require(stream.transform(frame))
        #expect(first != second)
    }

    @Test("threads do not change a picture", arguments: [1, 3])
    func threads(count: Int) throws {
        let frames = scene(3)
        let one = try session(64, 48, threads: 2)
        let other = try session(64, 48, threads: count)
        for frame in frames { #expect((one.transform(frame) == other.transform(frame)) as Bool) }
    }

    @Test("strength is continuous: 0 is the camera, half lies half-way, and more than 1 is 1")
    func strength() throws {
        let frame = scene(1)[0]
        let stream = try session(64, 48)
        #expect(stream.transform(frame, strength: 0)?.bytes == frame.bytes)
        #expect(stream.transform(frame, strength: .nan)?.bytes == frame.bytes)
        let full = try #require(stream.transform(frame))
        stream.reset()
        let half = try #require(stream.transform(frame, strength: 0.5))
        stream.reset()
        #expect(stream.transform(frame, strength: 9) == full)
        // Where the full effect is not cut off at black or white.
        for (index, value) in full.bytes.enumerated() where value > 0 && value < 255 {
            let between = (Float(value) + Float(frame.bytes[index])) / 2
            #expect(abs(Float(half.bytes[index]) - between) <= 1)
        }
    }

    @Test("the seed changes what chance decides, and only in styles that have a source")
    func seed() throws {
        let frame = scene(1)[0]
        func picture(_ style: String, _ seed: Int) throws -> Picture? {
            try session(64, 48, style: style) { $0.look.seed = seed }.transform(frame)
        }
        #expect(try picture("oil", 0) != picture("oil", 1))
        #expect(try picture("oil", 512) == picture("oil", 0))
        #expect(try picture("ink", 0) == picture("ink", 1))
    }

    @Test(
        "frames of any size, the network's or not",
        arguments: [
            (64, 48, 64, 48), (61, 35, 61, 35), (90, 70, 64, 48), (16, 16, 16, 16), (1, 1, 1, 1),
        ]
    )
    func sizes(_ size: (Int, Int, Int, Int)) throws {
        let stream = try session(size.0, size.1) {
            $0.modelWidth = size.2
            $0.modelHeight = size.3
        }
        for seed in 1...3 {
            let frame = Picture(width: size.0, height: size.1, padding: 7, seed: UInt32(seed))
            let picture = try #require(stream.transform(frame, padding: 9))
            #expect(picture.isPaddingIntact)
            #expect(frame.isPaddingIntact)
        }
    }

    @Test("a network that answers with NaN shows nothing")
    func notFinite() throws {
        try ModelFixture.overflowing().withFile { path in
            let bad = try StreamSession(
                StreamingUNet(file: path),
                SessionRequest(
                    width: 64, height: 48, threads: 2, look: Look(style: StyleMix(style: "oil"))))
            for frame in scene(2) {
                let isShown = bad.transform(frame) != nil
                #expect(!isShown)
            }
        }
    }

    // MARK: Changes

    @Test("numbers outside of their range are refused, and change nothing")
    func ranges() throws {
        let frames = scene(3)
        let (stream, other) = (try session(64, 48), try session(64, 48))
        for change: (inout Look) -> Void in [
            { $0.steps = 0 }, { $0.steps = 5 }, { $0.temporal = .nan }, { $0.temporal = 1.1 },
            { $0.strength = -0.1 }, { $0.strength = .infinity },
        ] {
            var look = Look(style: StyleMix(style: "oil"))
            change(&look)
            #expect(throws: ModelError.self) { try stream.change(to: look, fadeSeconds: 0) }
            #expect(throws: ModelError.self) { try model.check(look) }
        }
        for frame in frames { #expect(stream.transform(frame) == other.transform(frame)) }
    }

    @Test("a fade of no sensible length ends all the same", arguments: [Double.nan, -1, 1e-9])
    func fadeLength(seconds: Double) throws {
        let stream = try session(64, 48)
        let wanted = try session(64, 48, style: "ink")
        try stream.change(to: Look(style: StyleMix(style: "ink")), fadeSeconds: seconds)
        let frame = scene(1)[0]
        var isThere = false
        for _ in 0..<2000 where !isThere {
            stream.reset()
            wanted.reset()
            isThere = stream.transform(frame) == wanted.transform(frame)
        }
        #expect(isThere)
    }

    @Test("after a change the picture is what a session of that look gives", arguments: [0, 0.3])
    func change(fade: Double) throws {
        let frame = scene(1)[0]
        var wanted = Look(style: try StyleMix("pencil:0.5,oil:0.5"))
        wanted.steps = 2
        wanted.seed = 7
        let expected = try session(64, 48) { $0.look = wanted }.transform(frame)
        let stream = try session(64, 48)
        try stream.change(to: wanted, fadeSeconds: fade)
        // The other thread makes it while frames go on.
        for _ in 0..<2000 {
            stream.reset()
            if stream.transform(frame) == expected { return }
            Thread.sleep(forTimeInterval: 0.005)
        }
        Issue.record("the change never showed")
    }

    @Test("a fade passes through mixes, and a new change ends it")
    func fade() throws {
        let frame = scene(1)[0]
        let stream = try session(64, 48, style: "ink")
        let start = try #require(stream.transform(frame))
        let end = try session(64, 48, style: "oil").transform(frame)
        try stream.change(to: Look(style: StyleMix(style: "oil")), fadeSeconds: 0.5)
        var between = 0
        for _ in 0..<2000 {
            stream.reset()
            let picture = stream.transform(frame)
            if picture == end { break }
            if picture != start { between += 1 }
            Thread.sleep(forTimeInterval: 0.005)
        }
        #expect(between > 0)
        try stream.change(to: Look(style: StyleMix(style: "ink")), fadeSeconds: 100)
        try stream.change(to: Look(style: StyleMix(style: "oil")), fadeSeconds: 0)
        for _ in 0..<2000 {
            stream.reset()
            if stream.transform(frame) == end { return }
            Thread.sleep(forTimeInterval: 0.005)
        }
        Issue.record("the second change never showed")
    }

    @Test("another style is there within a few frames, though the scene stands still")
    func turnover() throws {
        let root = URL(filePath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent()
        let base = try StreamingUNet(file: root.appending(path: "Models/base.safetensors").path)
        func stream(_ style: String) throws -> StreamSession {
            try StreamSession(
                base,
                SessionRequest(
                    width: 64, height: 48, threads: 2, look: Look(style: try StyleMix(style))))
        }
        let frames = scene(120)
        let (ink, neon) = (try stream("ink"), try stream("neon"))
        let wanted = try #require(frames[..<40].map { neon.transform($0) }.last ?? nil)
        let before = try #require(frames[..<40].map { ink.transform($0) }.last ?? nil)
        let start = difference(before, wanted)
        try ink.change(to: Look(style: StyleMix("neon")), fadeSeconds: 0)
        // The other thread makes it while the picture stands.
        var differences: [Double] = []
        for frame in frames[40...] {
            let picture = try #require(ink.transform(frame))
            differences.append(difference(picture, wanted))
            if differences.count > 1, (differences.last ?? 0) < start / 10 { break }
            if (differences.last ?? 0) > 0.9 * start { Thread.sleep(forTimeInterval: 0.05) }
        }
        #expect((differences.last ?? start) < start / 10)
        let began = try #require(differences.firstIndex { $0 < 0.9 * start })
        #expect(differences.count - began <= 8, "\(start): \(differences)")
    }

    private func difference(_ one: Picture, _ other: Picture) -> Double {
        let sum = zip(one.bytes, other.bytes).reduce(0) { $0 + abs(Int($1.0) - Int($1.1)) }
        return Double(sum) / Double(one.bytes.count)
    }

    @Test("a style that the weights lack is refused, and the old one stays")
    func unknownStyle() throws {
        let frame = scene(1)[0]
        let stream = try session(64, 48)
        let before = try #require(stream.transform(frame))
        #expect(throws: ModelError.self) {
            try stream.change(to: Look(style: try StyleMix("oil,unknown")), fadeSeconds: 0)
        }
        stream.reset()
        #expect(stream.transform(frame) == before)
    }

    // MARK: Files

    @Test(
        "a file that lacks something is refused by name",
        arguments: [
            "stem.weight", "stem.scale_in", "head.scale_out", "mid.0.a.shift", "up0.share_shift",
            "source.oil",
        ])
    func missing(name: String) throws {
        var fixture = try ModelFixture(resource: "streaming-unet.safetensors")
        fixture.tensors[name] = nil
        fixture.byteTensors[name] = nil
        try expectRefusal(of: fixture, naming: name)
    }

    @Test(
        "metadata that make no sense are refused",
        arguments: [
            ("styles", ""), ("styles", "ink,ink"), ("channels", "8,16"), ("channels", "8,16,0"),
            ("blocks", "1,0,1,1"), ("blocks", "1,-1,1,1,0"), ("blocks", "1,0,1,1,4097"),
            ("size_multiple", "8"), ("state", "15"), ("light", "0"), ("trust_max", "1.5"),
            ("trust_max", "0"),
            ("trust_max", ""),
            ("color_range", "limited"), ("architecture_version", "2"), ("sources", "oyl"),
            ("sources", ""),
        ])
    func metadata(key: String, value: String) throws {
        var fixture = try ModelFixture(resource: "streaming-unet.safetensors")
        fixture.metadata[key] = value
        try expectRefusal(of: fixture, naming: key)
    }

    private func expectRefusal(of fixture: ModelFixture, naming name: String) throws {
        try fixture.withFile { path in
            let error = #expect(throws: ModelError.self) { try StreamingUNet(file: path) }
            #expect(error?.description.contains(name) ?? false)
        }
    }
}

extension StreamSession {
    /// `transform` on pictures; nil if there is none.
    func transform(_ input: Picture, strength: Float = 1, padding: Int = 0) -> Picture? {
        let (result, output) = run(input, strength: strength, padding: padding)
        return result == .picture ? output : nil
    }

    /// `transform` on pictures: what it says, and what is in the output then.
    func run(
        _ input: Picture, strength: Float = 1, padding: Int = 0
    ) -> (result: FrameResult, output: Picture) {
        var output = Picture(width: input.width, height: input.height, padding: padding)
        let stride = output.stride
        let result = input.bytes.withUnsafeBufferPointer { from in
            output.bytes.withUnsafeMutableBufferPointer { to -> FrameResult in
                guard let from = from.baseAddress, let to = to.baseAddress else { return .bad }
                return transform(
                    FramePointers(
                        frame: from, frameStride: input.stride, output: to, outputStride: stride,
                        strength: strength), stepNanoseconds: nil)
            }
        }
        return (result, output)
    }
}
