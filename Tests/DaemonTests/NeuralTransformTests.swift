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
            performance: configuration.performance, takesPicture: false,
            log: Logger(label: "test"))
        try transform.prepare(format: format)
        return transform
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
}
