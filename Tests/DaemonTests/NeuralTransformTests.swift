// The network as the pipeline's transform: which frame a picture belongs to.

import Foundation
import Logging
import Models
import Pipeline
import Testing
import Video

@testable import Daemon

@Suite struct NeuralTransformTests {
    let format = VideoFormat(
        pixelFormat: .rgb24, width: 64, height: 48, frameRate: FrameRate(30))

    func transform(
        _ adjust: (inout Configuration.Transform) -> Void
    ) throws -> NeuralTransform {
        var configuration = Configuration()
        configuration.transform.style = try StyleMix("oil")
        // Hardly anything is drawn, so that a picture shows which frame it is of.
        configuration.transform.strength = 1e-6
        adjust(&configuration.transform)
        let model = URL(filePath: #filePath).deletingLastPathComponent()
            .appending(path: "../ModelsTests/Resources/streaming-unet.safetensors")
        let transform = try NeuralTransform(
            modelPath: model.standardizedFileURL.path, settings: configuration.transform,
            performance: configuration.performance, isLive: true, takesPicture: false,
            log: Logger(label: "test"))
        try transform.prepare(format: format)
        return transform
    }

    @Test func `the network is as large as the frames, or as a live one can be`() throws {
        func size(
            _ width: Int, _ height: Int, isLive: Bool = true, _ own: (Int, Int) = (0, 0)
        ) -> String {
            var settings = Configuration().transform
            (settings.modelWidth, settings.modelHeight) = own
            let size = settings.networkSize(
                for: FrameSize(width: width, height: height), isLive: isLive)
            return "\(size.width)×\(size.height)"
        }
        #expect(size(320, 180) == "320×180" && size(640, 360) == "640×360")
        #expect(size(640, 480) == "640×480" && size(480, 640) == "480×640")
        #expect(size(1280, 720) == "640×360" && size(1920, 1080) == "640×360")
        #expect(size(720, 1280) == "360×640" && size(960, 720) == "552×416")
        // As narrow as a network can be.
        #expect(size(4096, 100) == "3072×72" && size(4096, 80) == "3432×64")
        #expect(size(1280, 720, isLive: false) == "1280×720")
        #expect(size(1280, 720, (1024, 576)) == "1024×576")
        #expect(size(320, 180, (160, 96)) == "160×96")
    }

    @Test(arguments: [(1, true), (2, true), (4, true), (4, false)])
    func `a picture has timestamp and number of its own frame`(steps: Int, batch: Bool) throws {
        let transform = try transform {
            $0.steps = steps
            $0.streamBatch = batch
        }
        let delay = batch ? steps - 1 : 0
        #expect(transform.delayFrames == delay)
        let (input, output) = (FrameBuffer(format: format), FrameBuffer(format: format))
        for number in 0..<20 {
            // A camera that loses frames, and a break.
            input.metadata = FrameMetadata(
                timestampNanoseconds: 1000 + Int64(number * number), sequence: UInt64(3 * number))
            for index in input.bytes.indices { input.bytes[index] = UInt8(100 + number) }
            if number == 10 { transform.reset() }
            let result = transform.process(input, into: output, elapsedNanoseconds: 1)
            guard number % 10 >= delay else {
                #expect(result == .early)
                continue
            }
            #expect(result == .picture)
            let own = number - delay
            #expect(output.metadata.sequence == UInt64(3 * own))
            #expect(output.metadata.timestampNanoseconds == 1000 + Int64(own * own))
            #expect(output.bytes[0] == UInt8(100 + own))
        }
    }

    @Test func `with strength 0 a picture is its own frame at once`() throws {
        let transform = try transform {
            $0.steps = 4
            $0.streamBatch = true
            $0.strength = 0
        }
        let (input, output) = (FrameBuffer(format: format), FrameBuffer(format: format))
        for number in 1...3 {
            input.metadata = FrameMetadata(timestampNanoseconds: 7, sequence: UInt64(number))
            #expect(transform.process(input, into: output, elapsedNanoseconds: 1) == .picture)
            #expect(output.metadata == input.metadata)
        }
    }

    @Test func `strength, seed and temporal change with the next frame, and none is lost`() throws {
        var configuration = Configuration()
        let transform = try transform {
            $0.strength = 1
            $0.temporal = 0
            configuration.transform = $0
        }
        let (input, output) = (FrameBuffer(format: format), FrameBuffer(format: format))
        for index in input.bytes.indices { input.bytes[index] = UInt8(index * 7 % 256) }
        func picture() -> [UInt8] {
            #expect(transform.process(input, into: output, elapsedNanoseconds: 1) == .picture)
            return Array(output.bytes)
        }
        let frame = Array(input.bytes)
        let first = picture()
        #expect(first != frame && picture() == first)
        var settings = configuration.transform
        settings.strength = 0
        try transform.change(to: settings)
        #expect(picture() == frame)
        settings.strength = 1
        settings.seed = 99
        try transform.change(to: settings)
        let other = picture()
        #expect(other != frame && other != first)
        settings.seed = 0
        try transform.change(to: settings)
        #expect(picture() == first)
    }

    @Test(.timeLimit(.minutes(2)))
    func `a style changes between two frames, and a wrong one not at all`() throws {
        let transform = try transform {
            $0.strength = 1
            $0.temporal = 0
        }
        let (input, output) = (FrameBuffer(format: format), FrameBuffer(format: format))
        for index in input.bytes.indices { input.bytes[index] = UInt8(index * 7 % 256) }
        func picture() -> [UInt8] {
            #expect(transform.process(input, into: output, elapsedNanoseconds: 1) == .picture)
            return Array(output.bytes)
        }
        let oil = picture()
        var settings = Configuration().transform
        settings.temporal = 0
        settings.style = try StyleMix("nosuch")
        settings.strength = 0
        #expect(throws: (any Error).self) { try transform.change(to: settings) }
        #expect(picture() == oil)
        settings.strength = 1
        settings.style = try StyleMix("neon")
        settings.fade = 0
        try transform.change(to: settings)
        // The weights are folded on another thread; until then every frame is as before.
        var now = picture()
        while now == oil { now = picture() }
        for _ in 0..<10 { #expect(picture() == now) }
        #expect(transform.setup.style == "neon")
        #expect(transform.setup.model == "streaming-unet")
        #expect(transform.setup.architecture == "streaming-flow-unet v1")
    }
}
