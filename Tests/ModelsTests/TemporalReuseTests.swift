// What changed and nothing else: against the whole network, on sequences that are drawn.

import Foundation
import Testing

@testable import Models
@testable import NeuralEngine

struct TemporalReuseTests {
    private let tiny: DistilledUNet

    init() throws { tiny = try DistilledUNet(file: resource("distilled-unet.safetensors")) }

    private func session(
        _ model: DistilledUNet, _ width: Int, _ height: Int, reuses: Bool, threads: Int = 2,
        modelWidth: Int? = nil, modelHeight: Int? = nil
    ) throws -> ModelSession {
        try model.prepare(
            frameWidth: width, frameHeight: height, modelWidth: modelWidth ?? width,
            modelHeight: modelHeight ?? height, threads: threads, reuses: reuses)
    }

    /// Every change counts, and there is no way out.
    private func makeExact(_ session: ModelSession, refreshFrames: Int = 1000) throws {
        let reuse = try #require(session.reuse)
        reuse.settings.frameMinimum = 0
        reuse.settings.frameMaximum = 0
        reuse.settings.limits = PlanReuse.Limits(tile: 0, cell: 0)
        reuse.settings.crowdedShare = 2
        reuse.settings.refreshFrames = refreshFrames
        for index in 0..<4 { reuse.memory.weights[index] = 1 }
    }

    @Test(
        "With thresholds of zero every frame equals the whole network's",
        arguments: [(64, 48, 1), (70, 45, 2), (131, 83, 2), (16, 16, 2), (1, 1, 1)])
    func zeroThresholds(width: Int, height: Int, threads: Int) throws {
        let whole = try session(tiny, width, height, reuses: false, threads: threads)
        let reusing = try session(tiny, width, height, reuses: true, threads: threads)
        try makeExact(reusing)
        var least = 1.0
        for index in 0..<12 {
            let picture = scene(width, height, at: index)
            let isSame = reusing.transform(picture) == whole.transform(picture)
            #expect(isSame, "frame \(index)")
            least = min(least, reusing.workShare)
        }
        #expect(least < 1 || width * height < 1000)
    }

    @Test("The same where frame and model differ in size")
    func scaled() throws {
        let whole = try session(
            tiny, 150, 110, reuses: false, modelWidth: 100, modelHeight: 70)
        let reusing = try session(
            tiny, 150, 110, reuses: true, modelWidth: 100, modelHeight: 70)
        try makeExact(reusing)
        for index in 0..<8 {
            let picture = scene(150, 110, at: index)
            let isSame = reusing.transform(picture) == whole.transform(picture)
            #expect(isSame, "frame \(index)")
        }
    }

    @Test("A scene that holds still costs the refresh alone")
    func still() throws {
        // 3 × 2 squares of refresh.
        let reusing = try session(tiny, 192, 128, reuses: true)
        let refreshFrames = 60
        try #require(reusing.reuse).settings.refreshFrames = refreshFrames
        let picture = scene(192, 128, at: 0)
        let first = reusing.transform(picture)
        #expect(reusing.workShare == 1)
        var busy = 0
        var sum = 0.0
        for _ in 0..<refreshFrames {
            let isSame = reusing.transform(picture) == first
            #expect(isSame)
            busy += reusing.workShare > 0 ? 1 : 0
            sum += reusing.workShare
        }
        #expect(busy == 6)
        // Everything once, and what the squares' tiles overlap.
        #expect((1..<1.6).contains(sum), "\(sum)")
    }

    @Test("Whatever was wrong is right again after a round of refresh")
    func refresh() throws {
        let picture = scene(192, 128, at: 0)
        let expected = try session(tiny, 192, 128, reuses: false).transform(picture)
        let reusing = try session(tiny, 192, 128, reuses: true)
        let refreshFrames = 20
        try makeExact(reusing, refreshFrames: refreshFrames)
        _ = reusing.transform(picture)
        let plan = try #require(reusing.partial).plan
        for (_, result) in try #require(plan.reuse).steps {
            let view = plan.view(at: result)
            let wrong = [Float](
                repeating: 0.3, count: view.shape.channels * view.shape.height * view.shape.width)
            wrong.withUnsafeBufferPointer { view.load(planar: $0) }
        }
        let spoilt = reusing.transform(picture)
        #expect(spoilt != expected)
        var last: Picture?
        for _ in 0..<refreshFrames { last = reusing.transform(picture) }
        #expect(last == expected)
    }

    @Test("A cut is computed as a whole")
    func cut() throws {
        let whole = try session(tiny, 128, 96, reuses: false)
        let reusing = try session(tiny, 128, 96, reuses: true)
        for _ in 0..<3 { _ = reusing.transform(scene(128, 96, at: 0)) }
        #expect(reusing.workShare < 0.5)
        let other = Picture(width: 128, height: 96, seed: 9)
        let isSame = reusing.transform(other) == whole.transform(other)
        #expect(isSame)
        #expect(reusing.workShare == 1 && !reusing.isPartial)
        // What it shows from now on is taken over as a whole, then in part.
        _ = reusing.transform(other)
        #expect(reusing.workShare == 1 && reusing.isPartial)
        _ = reusing.transform(other)
        #expect(reusing.workShare < 0.5)
    }

    @Test("When everything moves nothing is lost but a comparison now and then")
    func everythingMoves() throws {
        let whole = try session(tiny, 128, 96, reuses: false)
        let reusing = try session(tiny, 128, 96, reuses: true)
        let pause = try #require(reusing.reuse).settings.pauseFrames
        var compared = 0
        for index in 0..<2 * (pause + 3) {
            let picture = Picture(width: 128, height: 96, seed: UInt32(index + 1))
            let isSame = reusing.transform(picture) == whole.transform(picture)
            #expect(isSame, "frame \(index)")
            #expect(reusing.workShare == 1)
            compared += reusing.isPartial ? 1 : 0
        }
        // The first frame alone: the network for changes is the slower one for all others.
        #expect(compared == 1)
        // Once it holds still again, that is noticed.
        for _ in 0..<pause + 4 { _ = reusing.transform(scene(128, 96, at: 0)) }
        #expect(reusing.workShare < 0.5)
    }

    @Test("What is not finite is reported once, and not kept")
    func notFinite() throws {
        let picture = scene(128, 96, at: 0)
        let expected = try session(tiny, 128, 96, reuses: false).transform(picture)
        let reusing = try session(tiny, 128, 96, reuses: true)
        _ = reusing.transform(picture)
        for value in [Float.nan, .infinity] {
            for (_, result) in try #require(reusing.partial?.plan.reuse).steps {
                let view = try #require(reusing.partial).plan.view(at: result)
                view.pixel(block: 0, y: 3, x: 3).pointee = value
            }
            #expect(reusing.transform(picture) == nil)
            #expect(reusing.transform(picture) == expected)
        }
    }

    @Test("After a reset the next frame is computed as a whole")
    func reset() throws {
        let reusing = try session(tiny, 128, 96, reuses: true)
        for _ in 0..<3 { _ = reusing.transform(scene(128, 96, at: 0)) }
        #expect(reusing.workShare < 1)
        reusing.reset()
        _ = reusing.transform(scene(128, 96, at: 0))
        #expect(reusing.workShare == 1)
    }

    @Test("The style that ships loses little on a drawn scene", arguments: [0, 1, 2])
    func fidelity(deviation: Int) throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent()
        let ink = try DistilledUNet(file: root.appending(path: "Models/ink.safetensors").path)
        let (width, height) = (256, 192)
        let whole = try session(ink, width, height, reuses: false)
        let reusing = try session(ink, width, height, reuses: true)
        var work = 0.0
        var error = 0.0
        var worst = 0.0
        let frames = 24
        for index in 0..<frames {
            let picture = scene(width, height, at: index, deviation: deviation)
            let a = try #require(whole.transform(picture))
            let b = try #require(reusing.transform(picture))
            let errors = squaredErrors(a, b)
            error += errors.mean / Double(frames)
            worst = max(worst, errors.worst)
            work += reusing.workShare / Double(frames)
        }
        // 40 dB, and 30 dB in the worst square of 32 × 32 pixels.
        #expect(error < 6.5, "mean square \(error)")
        #expect(worst < 65, "mean square of the worst tile \(worst)")
        #expect(work < 0.6, "\(work)")
    }

    private func squaredErrors(_ a: Picture, _ b: Picture) -> (mean: Double, worst: Double) {
        var sums = [Double](repeating: 0, count: a.width / 32 * (a.height / 32))
        for y in 0..<a.height {
            for x in 0..<3 * a.width {
                let d = Double(a.bytes[y * a.stride + x]) - Double(b.bytes[y * b.stride + x])
                sums[y / 32 * (a.width / 32) + x / 96] += d * d
            }
        }
        let mean = sums.reduce(0, +) / Double(3 * a.width * a.height)
        return (mean, (sums.max() ?? 0) / 3072)
    }
}

/// A disc that moves in front of slanting stripes, with seeded noise of a triangular distribution.
private func scene(_ width: Int, _ height: Int, at index: Int, deviation: Int = 0) -> Picture {
    var picture = Picture(width: width, height: height)
    let random = noise(6 * width * height, seed: UInt32(index + 1))
    let radius = 10 + width / 16
    let (left, top) = (width / 8 + 4 * index, height / 3 + 2 * index)
    for y in 0..<height {
        for x in 0..<width {
            let (dx, dy) = (x - left, y - top)
            let isInside = dx * dx + dy * dy < radius * radius
            for colour in 0..<3 {
                let ground = 60 + 40 * colour + ((x + y / 2) / 24 % 2 == 0 ? 50 : 0) + y / 4
                let place = 3 * (y * width + x) + colour
                // The sum of two equal distributions of width 2.45 σ has deviation σ.
                let sum = Int(random[2 * place]) + Int(random[2 * place + 1]) - 255
                let value = (isInside ? 200 - 50 * colour : ground) + sum * deviation * 245 / 25500
                picture.bytes[y * picture.stride + 3 * x + colour] = UInt8(
                    min(max(value, 0), 255))
            }
        }
    }
    return picture
}
