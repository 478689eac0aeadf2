// The stream batch: frames that are under way together.

import Foundation
import Testing

@testable import Models
@testable import NeuralEngine

struct StreamBatchTests {
    private let model: StreamingUNet

    init() throws { model = try StreamingUNet(file: resource("streaming-unet.safetensors")) }

    private func session(
        _ width: Int = 64, _ height: Int = 48, steps: Int, batch: Bool = true, threads: Int = 2,
        _ adjust: (inout SessionRequest) -> Void = { _ in }
    ) throws -> StreamSession {
        var request = SessionRequest(
            width: width, height: height, threads: threads,
            look: try look(steps, batch: batch))
        adjust(&request)
        return try StreamSession(model, request)
    }

    private func look(_ steps: Int, batch: Bool = true, style: String = "oil") throws -> Look {
        var look = Look(style: try StyleMix(style))
        look.steps = steps
        look.streamBatch = batch
        return look
    }

    /// Pictures of a scene that moves, each brighter than the one before, with a little noise.
    private func frames(_ count: Int, width: Int = 64, height: Int = 48) -> [Picture] {
        let base = noise(3 * width * height, seed: 1)
        return (0..<count).map { index in
            var picture = Picture(width: width, height: height)
            let grain = noise(3 * width * height, seed: UInt32(2 + index))
            picture.bytes = base.indices.map {
                let moved = base[($0 + 3 * index) % base.count]
                return UInt8(60 + 5 * index + Int(moved) / 4 + Int(grain[$0]) / 128)
            }
            return picture
        }
    }

    // MARK: Pictures

    @Test(
        "the first K - 1 frames are early, then every frame brings a picture", arguments: [2, 3, 4])
    func filling(steps: Int) throws {
        let stream = try session(steps: steps)
        for (index, frame) in frames(10).enumerated() {
            let (result, output) = stream.run(frame)
            #expect(result == (index < steps - 1 ? .early : .picture))
            let isTouched = output != Picture(width: frame.width, height: frame.height)
            #expect(isTouched == (result == .picture))
            if result == .picture { #expect(stream.delayFrames == steps - 1) }
        }
    }

    @Test(
        "without the past a picture is what all steps at once make of its own frame, bit by bit",
        arguments: [2, 4],
        [(64, 48, 64, 48), (61, 35, 61, 35), (90, 70, 64, 48), (40, 30, 61, 35)]
    )
    func equalsSequential(steps: Int, _ size: (Int, Int, Int, Int)) throws {
        func adjust(_ request: inout SessionRequest) {
            request.look.temporal = 0
            request.modelWidth = size.2
            request.modelHeight = size.3
        }
        let batch = try session(size.0, size.1, steps: steps, adjust)
        let sequential = try session(size.0, size.1, steps: steps, batch: false, adjust)
        let frames = frames(9, width: size.0, height: size.1)
        let expected = try frames.map { try #require(sequential.transform($0, strength: 0.7)) }
        for (index, frame) in frames.enumerated() {
            let (result, output) = batch.run(frame, strength: 0.7)
            guard index >= steps - 1 else { continue }
            #expect(result == .picture)
            let isSame = output == expected[index - steps + 1]
            #expect(isSame, "frame \(index)")
        }
    }

    @Test("a picture is blended with its own frame", arguments: [2, 4], [64, 48])
    func ownFrame(steps: Int, modelWidth: Int) throws {
        let stream = try session(steps: steps) { $0.modelWidth = modelWidth }
        let frames = frames(8)
        for (index, frame) in frames.enumerated() {
            let output = stream.transform(frame, strength: 1e-6)
            if index >= steps - 1 { #expect(output?.bytes == frames[index - steps + 1].bytes) }
        }
    }

    @Test("the result may go where the frame was", arguments: [64, 48])
    func inPlace(modelWidth: Int) throws {
        func adjust(_ request: inout SessionRequest) { request.modelWidth = modelWidth }
        let apart = try session(steps: 3, adjust)
        let inPlace = try session(steps: 3, adjust)
        for frame in frames(6) {
            let expected = apart.transform(frame)
            var both = frame
            let stride = both.stride
            let result = both.bytes.withUnsafeMutableBufferPointer { bytes -> FrameResult in
                guard let first = bytes.baseAddress else { return .bad }
                return inPlace.transform(
                    FramePointers(
                        frame: UnsafePointer(first), frameStride: stride, output: first,
                        outputStride: stride, strength: 1), stepNanoseconds: nil)
            }
            #expect((result == .picture) == (expected != nil))
            if let expected { #expect(both.bytes == expected.bytes) }
        }
    }

    @Test("the first picture has no past; the others rest on it where nothing moves")
    func memory() throws {
        let frame = frames(1)[0]
        let batch = try session(steps: 2)
        let first = try session(steps: 2, batch: false).transform(frame)
        _ = batch.run(frame)
        let pictures = (0..<4).map { _ in batch.transform(frame) }
        #expect(pictures[0] == first)
        #expect(pictures[1] != first)
    }

    @Test("threads do not change a picture", arguments: [1, 3])
    func threads(count: Int) throws {
        let one = try session(steps: 3)
        let other = try session(steps: 3, threads: count)
        for frame in frames(6) {
            let isSame = one.transform(frame) == other.transform(frame)
            #expect(isSame)
        }
    }

    @Test("one step has nothing to wait for")
    func oneStep() throws {
        let batch = try session(steps: 1)
        let sequential = try session(steps: 1, batch: false)
        for frame in frames(3) {
            let expected = try #require(sequential.transform(frame))
            #expect(batch.transform(frame) == expected)
            #expect(batch.delayFrames == 0)
        }
        #expect(batch.byteCount == sequential.byteCount)
    }

    @Test(
        "the oldest frame is finished first, so that the newest leaves the past",
        arguments: [64, 48])
    func order(modelWidth: Int) throws {
        let stream = try session(steps: 3) { $0.modelWidth = modelWidth }
        let names = stream.stepNames.filter {
            ["stem", "end", "residual rows", "onward"].contains($0)
        }
        // The last step's change must be added before the next network runs.
        let added = modelWidth == 64 ? [] : ["residual rows"]
        #expect(names == ["stem", "end"] + added + ["stem", "onward", "stem", "onward"])
    }

    // MARK: Breaks

    @Test("after a reset it fills anew, and nothing of before is left")
    func reset() throws {
        let frames = frames(8)
        let stream = try session(steps: 3)
        let expected = try session(steps: 3)
        for frame in frames.prefix(5) { _ = stream.run(frame) }
        // The second one in the middle of filling.
        for count in [1, 5] {
            stream.reset()
            expected.reset()
            for frame in frames.suffix(count) {
                let (a, b) = (stream.run(frame), expected.run(frame))
                #expect(a.result == b.result)
                #expect(a.output == b.output)
            }
        }
    }

    @Test("strength 0 is the camera's newest frame; what was under way is dropped")
    func strengthZero() throws {
        let frames = frames(7)
        let stream = try session(steps: 3)
        for frame in frames.prefix(4) { _ = stream.run(frame) }
        #expect(stream.transform(frames[4], strength: 0)?.bytes == frames[4].bytes)
        #expect(stream.delayFrames == 0)
        let results = [4, 5, 6].map { stream.run(frames[$0]).result }
        #expect(results == [.early, .early, .picture])
        #expect(stream.delayFrames == 2)
    }

    @Test("a network that answers with NaN shows nothing")
    func notFinite() throws {
        try ModelFixture.overflowing().withFile { path in
            let bad = try StreamSession(
                StreamingUNet(file: path),
                SessionRequest(width: 64, height: 48, threads: 2, look: look(2)))
            for frame in frames(4) { #expect(bad.run(frame).result == .bad) }
        }
    }

    // MARK: Changes

    /// Feeds frames of a scene that stands still until pictures are the look's, and as late as its.
    private func results(
        of stream: StreamSession, until wanted: Look, _ change: () throws -> Void
    ) throws -> [FrameResult] {
        let frame = frames(1)[0]
        var reference = wanted
        reference.temporal = 0
        let expected = try session(steps: wanted.steps, batch: false) {
            $0.look = reference
            $0.look.streamBatch = false
        }.transform(frame)
        let delay = wanted.streamBatch ? wanted.steps - 1 : 0
        for _ in 0..<4 { _ = stream.run(frame) }
        try change()
        var results: [FrameResult] = []
        for _ in 0..<2000 {
            let (result, output) = stream.run(frame)
            results.append(result)
            let isThere = result == .picture && stream.delayFrames == delay
            if isThere && output == expected { return results }
            Thread.sleep(forTimeInterval: 0.005)
        }
        Issue.record("the change never showed")
        return results
    }

    @Test(
        "another number of steps fills the batch anew, once",
        arguments: [(2, true, 4, true, 3), (4, true, 2, true, 1), (3, false, 3, true, 2)])
    func steps(_ from: (Int, Bool, Int, Bool, early: Int)) throws {
        var wanted = try look(from.2, batch: from.3)
        wanted.temporal = 0
        let stream = try session(steps: from.0, batch: from.1) { $0.look.temporal = 0 }
        let found = try results(of: stream, until: wanted) {
            try stream.change(to: wanted, fadeSeconds: 0)
        }
        #expect(found.count { $0 == .early } == from.early)
        #expect(!found.contains(.bad))
    }

    @Test("switched off, the next picture is the newest frame's", arguments: [(3, 3), (3, 1)])
    func off(_ steps: (Int, Int)) throws {
        var wanted = try look(steps.1, batch: steps.1 == 1)
        wanted.temporal = 0
        let stream = try session(steps: steps.0) { $0.look.temporal = 0 }
        // Without the past the sequential picture is the same: the delay tells them apart.
        let frame = frames(1)[0]
        for _ in 0..<4 { _ = stream.run(frame) }
        #expect(stream.delayFrames == 2)
        try stream.change(to: wanted, fadeSeconds: 0)
        for _ in 0..<2000 where stream.delayFrames > 0 {
            #expect(stream.run(frame).result == .picture)
            Thread.sleep(forTimeInterval: 0.005)
        }
        #expect(stream.delayFrames == 0)
    }

    @Test("another style, seed or temporal lets frames under way go on", arguments: [0, 0.3])
    func styles(fade: Double) throws {
        var wanted = try look(3, style: "pencil:0.5,oil:0.5")
        wanted.temporal = 0
        wanted.seed = 7
        let stream = try session(steps: 3)
        let found = try results(of: stream, until: wanted) {
            try stream.change(to: wanted, fadeSeconds: fade)
        }
        #expect(found.allSatisfy { $0 == .picture })
    }
}
