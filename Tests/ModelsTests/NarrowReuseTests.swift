// Temporal reuse as it ships: the whole network in int8, and what changed in bf16 or int16.

import Foundation
import Testing

@testable import Models
@testable import NeuralEngine

private let supported = (try? Backend.shared().precisions) ?? []
/// What changes can be computed in here beside a whole network in int8, the usual one first.
private let pairs: [Precision] =
    supported.contains(.int8) ? [.bf16, .int16].filter(supported.contains) : []

@Suite(.enabled(if: !pairs.isEmpty, "this CPU multiplies int8, or what goes with it, no faster"))
struct NarrowReuseTests {
    private let ink: DistilledUNet

    init() throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent()
        ink = try DistilledUNet(file: root.appending(path: "Models/ink.safetensors").path)
    }

    /// - Parameter precisions: none: f32, and nothing is reused.
    private func session(
        _ model: DistilledUNet, _ width: Int, _ height: Int, _ precisions: Set<Precision> = [],
        threads: Int = 2
    ) throws -> ModelSession {
        try model.prepare(
            frameWidth: width, frameHeight: height, modelWidth: width, modelHeight: height,
            threads: threads, precisions: precisions, reuses: !precisions.isEmpty)
    }

    /// A small network whose file says what changes do, which takes long to measure.
    private func tiny(
        _ fixture: ModelFixture, _ sensitivities: ReuseSensitivities
    ) throws -> DistilledUNet {
        let bytes = try fixture.withFile { path in
            let file = try ModelFile(file: path)
            return try file.encoded(
                calibration: Calibration(
                    weights: file.checksum, frames: 1, figures: [:], sensitivities: sensitivities))
        }
        return try withTemporaryFile(bytes) { try DistilledUNet(file: $0) }
    }

    /// Where it does not matter what changes do.
    private func tiny() throws -> DistilledUNet {
        let ones = [Float](repeating: 1, count: 18)
        let json = try JSONEncoder().encode(["frame": Array(ones[..<4]), "layers": ones])
        return try tiny(
            ModelFixture(), JSONDecoder().decode(ReuseSensitivities.self, from: json))
    }

    private static func text(_ precision: Precision) -> String {
        precision == .f32 ? "f32 (18)" : "\(precision.rawValue) (16), f32 (2)"
    }

    // What is allowed, and where it is used.

    @Test("int8 is for the whole network only, also where it is the only one wanted")
    func wantedInt8() throws {
        let choice = PrecisionChoice(wanted: .int8, file: ink.file, supported: supported)
        #expect(choice.allowed == [.int8])
        let session = try session(ink, 64, 48, choice.allowed)
        let changes = try #require(pairs.first)
        #expect(session.precision == "\(Self.text(.int8)); changes: \(Self.text(changes))")
        #expect(session.reuse?.settings.crowdedShare == 0.45)
        let partial = try #require(session.partial).plan.precisions
        #expect(partial.contains(changes) && !partial.contains(.int8))
    }

    @Test(
        "Changes are computed in the fastest of what is allowed besides int8",
        arguments: [
            ([.f32, .int16, .bf16, .int8], .int8, nil), ([.int8, .int16], .int8, .int16),
            ([.int8, .bf16], .int8, .bf16), ([.int8, .f32], .int8, .f32),
            ([.bf16], .bf16, .bf16), ([.int16], .int16, .int16), ([.f32], .f32, .f32),
        ] as [(Set<Precision>, Precision, Precision?)])
    func pairing(allowed: Set<Precision>, whole: Precision, changes: Precision?) throws {
        let changes = try changes ?? #require(pairs.first)
        guard Set(supported).isSuperset(of: [whole, changes]) else { return }
        let session = try session(tiny(), 64, 48, allowed)
        #expect(session.precision == "\(Self.text(whole)); changes: \(Self.text(changes))")
        #expect(session.reuse?.settings.crowdedShare == (whole == .int8 ? 0.45 : 0.7))
    }

    @Test("The figures that ship allow all precisions, and so this pair")
    func shipped() throws {
        let choice = PrecisionChoice(wanted: nil, file: ink.file, supported: supported)
        #expect(choice.allowed == Set(supported))
        #expect(ink.file.calibration?.sensitivities != nil)
    }

    // What comes out.

    /// What frames become in f32, each by itself.
    private func inF32(_ frames: [Picture]) throws -> [Picture] {
        let dense = try session(ink, frames[0].width, frames[0].height)
        return try frames.map { try #require(dense.transform($0)) }
    }

    /// How far the frames of a session with reuse are from `expected`, and what work they took.
    private func follow(
        _ frames: [Picture], _ expected: [Picture], in session: ModelSession
    ) throws -> [(errors: Errors, work: Double)] {
        try zip(frames, expected).map { frame, expected in
            let output = try #require(session.transform(frame))
            return (Errors(output, expected), session.workShare)
        }
    }

    /// Nothing counts as a change, and nothing is refreshed.
    private func makeBlind(_ session: ModelSession) throws {
        let reuse = try #require(session.reuse)
        reuse.settings.frameMinimum = 1e6
        reuse.settings.frameMaximum = 1e6
        reuse.settings.refreshFrames = 1_000_000_000
    }

    @Test("A noisy scene that holds still costs a part, and no tile goes stale")
    func still() throws {
        // A patch becomes brighter by a level a frame: less than the noise, until it adds up.
        let frames = (0..<15).map { index in
            drawnFrame(
                128, 96, seed: index + 1, square: (x: 80, y: 16, edge: 24, level: 90 + index))
        }
        let expected = try inF32(frames)
        // 40 dB, and 27 dB in every square of 16 × 16 pixels.
        let (mean, worst) = (6.5, 130.0)
        for changes in pairs {
            let result = try follow(
                frames, expected, in: session(ink, 128, 96, [.int8, changes]))
            #expect(result[0].work == 1)
            #expect(result[3...].allSatisfy { $0.work < 0.3 })
            #expect(result.contains { $0.work > 0 && $0.work < 1 })
            for (index, frame) in result.enumerated() {
                #expect(frame.errors.mean < mean, "frame \(index), \(changes)")
                #expect(frame.errors.worst < worst, "frame \(index), \(changes)")
            }
        }
        // The bounds are such that tiles left behind exceed them.
        let blind = try session(ink, 128, 96, [.int8, pairs[0]])
        try makeBlind(blind)
        let last = try #require(follow(frames, expected, in: blind).last)
        #expect(last.work == 0 && last.errors.mean > 2 * mean && last.errors.worst > 2 * worst)
    }

    @Test("Where a square moves every tile follows at once")
    func movedSquare() throws {
        let frames = (0..<5).map { index in
            drawnFrame(
                192, 112, seed: index + 1,
                square: (x: index < 3 ? 40 : 52, y: 48, edge: 12, level: 230))
        }
        let expected = try inF32(frames)
        let worst = 65.0
        for changes in pairs {
            let session = try session(ink, 192, 112, [.int8, changes])
            for (index, frame) in try follow(frames, expected, in: session).enumerated() {
                #expect(frame.errors.worst < worst, "frame \(index), \(changes)")
                if index > 0 { #expect(frame.work < 0.45, "frame \(index), \(changes)") }
                if index == 3 { #expect(frame.work > 0) }
            }
        }
        let blind = try session(ink, 192, 112, [.int8, pairs[0]])
        try makeBlind(blind)
        let moved = try follow(frames, expected, in: blind)[3]
        #expect(moved.work == 0 && moved.errors.worst > 10 * worst)
    }

    @Test(
        "From calm to a cut, to motion everywhere and back: int8 for the whole, and nothing is lost"
    )
    func transitions() throws {
        let precisions: Set = [.int8, pairs[0]]
        let reusing = try session(ink, 96, 64, precisions)
        let whole = try ink.prepare(
            frameWidth: 96, frameHeight: 64, modelWidth: 96, modelHeight: 64, threads: 2,
            precisions: precisions)
        let calm = drawnFrame(96, 64, seed: 1, square: (x: 8, y: 8, edge: 16, level: 230))
        let expectedCalm = try #require(session(ink, 96, 64).transform(calm))
        let pause = 5
        try #require(reusing.reuse).settings.pauseFrames = pause
        for round in 0..<2 {
            for _ in 0..<3 { _ = reusing.transform(calm) }
            #expect(reusing.isPartial && reusing.workShare < 0.45, "round \(round)")
            // The cut, and then a whole pause and more: all by the network in int8.
            for index in 0..<pause + 4 {
                let other = Picture(width: 96, height: 64, seed: UInt32(100 * round + index + 1))
                let (a, b) = (reusing.transform(other), whole.transform(other))
                #expect(a == b && a != nil, "round \(round), frame \(index)")
                #expect(!reusing.isPartial && reusing.workShare == 1)
            }
            // Calm is noticed after the pause at the latest.
            var frames = 0
            while (!reusing.isPartial || reusing.workShare == 1) && frames < pause + 4 {
                let output = try #require(reusing.transform(calm))
                #expect(Errors(output, expectedCalm).worst < 65)
                frames += 1
            }
            #expect(frames < pause + 4, "round \(round)")
        }
    }

    // What must not matter.

    /// A square that jumps now and then, in noise.
    private func sequence(_ width: Int, _ height: Int, count: Int) -> [Picture] {
        (0..<count).map { index in
            drawnFrame(
                width, height, seed: index + 1,
                square: (x: width / 4 + 6 * (index / 3), y: height / 3, edge: 10, level: 230))
        }
    }

    @Test("Any number of threads gives the same pictures for the same work")
    func threads() throws {
        let frames = sequence(112, 80, count: 5)
        func outputs(threads: Int) throws -> [(Picture, Double)] {
            let session = try session(ink, 112, 80, [.int8, pairs[0]], threads: threads)
            return try frames.map { (try #require(session.transform($0)), session.workShare) }
        }
        let expected = try outputs(threads: 1)
        #expect(expected.contains { $0.1 > 0 && $0.1 < 0.45 })
        for threads in [2, 3, 7] {
            for (index, (found, expected)) in try zip(outputs(threads: threads), expected)
                .enumerated()
            {
                let isSame = found == expected
                #expect(isSame, "\(threads) threads, frame \(index)")
            }
        }
    }

    @Test("Image channels that no pixel fills change no frame and no work")
    func imageChannels() throws {
        let fixture = try ModelFixture()
        let frames = sequence(96, 64, count: 6)
        // They belong to the weights that matter, which are the same.
        let sensitivities = try fixture.withFile { path in
            try DistilledUNet(file: path).measureSensitivities(threads: 2)
        }
        func outputs(_ fixture: ModelFixture) throws -> [(picture: Picture, work: Double)] {
            let session = try session(tiny(fixture, sensitivities), 96, 64, [.int8, pairs[0]])
            return try frames.map { (try #require(session.transform($0)), session.workShare) }
        }
        let plain = try outputs(fixture)
        #expect(plain.contains { $0.work < 0.45 })
        for count in [64, 256] {
            for (plain, wide) in try zip(plain, outputs(fixture.widened(count))) {
                // The stem may be computed another way where it has more channels.
                let isNear = zip(plain.picture.bytes, wide.picture.bytes)
                    .allSatisfy { abs(Int($0) - Int($1)) <= 2 }
                #expect(isNear, "\(count) channels")
                #expect(abs(plain.work - wide.work) < 0.1, "\(count) channels")
            }
        }
    }

    @Test(
        "With thresholds of zero every frame equals the whole network's in the same precision",
        arguments: [(70, 45), (131, 83), (17, 33), (16, 16), (1, 1)], pairs)
    func oddSizes(size: (width: Int, height: Int), changes: Precision) throws {
        let tiny = try tiny()
        let whole = try tiny.prepare(
            frameWidth: size.width, frameHeight: size.height, modelWidth: size.width,
            modelHeight: size.height, threads: 2, precisions: [changes])
        let reusing = try session(tiny, size.width, size.height, [.int8, changes])
        let reuse = try #require(reusing.reuse)
        reuse.settings.frameMinimum = 0
        reuse.settings.frameMaximum = 0
        reuse.settings.limits = PlanReuse.Limits(tile: 0, cell: 0)
        reuse.settings.crowdedShare = 2
        for index in 0..<4 { reuse.memory.weights[index] = 1 }
        var least = 1.0
        for index in 0..<8 {
            let frame = drawnFrame(
                size.width, size.height, seed: 1,
                square: (x: 2 + 3 * index, y: 5, edge: 8, level: 230))
            let isSame = reusing.transform(frame) == whole.transform(frame)
            #expect(isSame && reusing.isPartial, "frame \(index)")
            least = min(least, reusing.workShare)
        }
        #expect(least < 1)
    }

    @Test("Frames of odd size and another than the network's stay near f32")
    func scaled() throws {
        let frames = sequence(151, 109, count: 8)
        func prepare(_ precisions: Set<Precision>) throws -> ModelSession {
            try ink.prepare(
                frameWidth: 151, frameHeight: 109, modelWidth: 101, modelHeight: 71, threads: 2,
                precisions: precisions, reuses: !precisions.isEmpty)
        }
        let dense = try prepare([])
        let expected = try frames.map { try #require(dense.transform($0)) }
        let result = try follow(frames, expected, in: prepare([.int8, pairs[0]]))
        for (index, frame) in result.enumerated() {
            #expect(frame.errors.worst < 65, "frame \(index)")
        }
        #expect(result.contains { $0.work < 0.45 })
    }
}

/// How far two pictures are from each other.
private struct Errors {
    /// Mean square, levels².
    let mean: Double
    /// That of the square of 16 × 16 pixels where it is largest.
    let worst: Double

    init(_ a: Picture, _ b: Picture) {
        let edge = 16
        let columns = (a.width + edge - 1) / edge
        var sums = [Int](repeating: 0, count: columns * ((a.height + edge - 1) / edge))
        for y in 0..<a.height {
            for x in 0..<3 * a.width {
                let d = Int(a.bytes[y * a.stride + x]) - Int(b.bytes[y * b.stride + x])
                sums[y / edge * columns + x / 3 / edge] += d * d
            }
        }
        mean = Double(sums.reduce(0, +)) / Double(3 * a.width * a.height)
        // The squares at the ends count as whole ones, which makes their errors small: they are few.
        worst = Double(sums.max() ?? 0) / Double(3 * edge * edge)
    }
}

/// Slanting stripes and a square in front of them, with seeded noise of deviation 1 and a triangular
/// distribution.
private func drawnFrame(
    _ width: Int, _ height: Int, seed: Int,
    square: (x: Int, y: Int, edge: Int, level: Int)
) -> Picture {
    var picture = Picture(width: width, height: height)
    let random = noise(6 * width * height, seed: UInt32(seed))
    for y in 0..<height {
        for x in 0..<width {
            let isInside =
                (0..<square.edge).contains(x - square.x) && (0..<square.edge).contains(y - square.y)
            for colour in 0..<3 {
                let ground = 60 + 40 * colour + ((x + y / 2) / 24 % 2 == 0 ? 50 : 0) + y / 4
                let place = 3 * (y * width + x) + colour
                // The sum of two equal distributions of width 2.45 has deviation 1.
                let sum = Int(random[2 * place]) + Int(random[2 * place + 1]) - 255
                let value = (isInside ? square.level - 20 * colour : ground) + sum * 245 / 25500
                picture.bytes[y * picture.stride + 3 * x + colour] = UInt8(
                    min(max(value, 0), 255))
            }
        }
    }
    return picture
}
