// A stream's steps without its network: motion, trust, alignment, the end of a frame.

import CKernels
import Glibc
import Testing

@testable import NeuralEngine

/// A picture of smooth random structure, known at every point of the plane.
struct DrawnScene {
    private let table: [Float]
    /// Pixels between the knots of the finest structure.
    private let grain: Float

    init(seed: UInt64, grain: Float = 14) {
        var noise = Noise(seed: seed)
        table = noise.floats(64 * 64)
        self.grain = grain
    }

    /// Levels at (x, y), about 10…245.
    func callAsFunction(_ x: Float, _ y: Float) -> Float {
        var sum: Float = 0
        for (scale, weight) in [(grain, 0.45), (3 * grain, 0.45), (9 * grain, 0.4)]
            as [(Float, Float)]
        {
            sum += weight * knot(x / scale, y / scale)
        }
        return 128 + 90 * sum
    }

    private func knot(_ x: Float, _ y: Float) -> Float {
        let (left, top) = (floor(x), floor(y))
        func smooth(_ t: Float) -> Float { t * t * (3 - 2 * t) }
        func value(_ x: Float, _ y: Float) -> Float {
            table[(Int(y) & 63) * 64 + (Int(x) & 63)]
        }
        let (fx, fy) = (smooth(x - left), smooth(y - top))
        let above = value(left, top) + fx * (value(left + 1, top) - value(left, top))
        let below =
            value(left, top + 1) + fx * (value(left + 1, top + 1) - value(left, top + 1))
        return above + fy * (below - above)
    }
}

/// Steps, the tensors that they lie between, and a pool.
final class StreamBench {
    let geometry: FrameGeometry
    let stream: StreamSteps
    let input: TensorView
    let result: TensorView
    private let pool: WorkerPool
    private let plan: Plan
    private(set) var output: [UInt8]
    var strength: Float = 1

    init(
        width: Int, height: Int, modelWidth: Int? = nil, modelHeight: Int? = nil,
        isa: InstructionSet? = nil, threads: Int = 1
    ) throws {
        geometry = try FrameGeometry(
            frameWidth: width, frameHeight: height, modelWidth: modelWidth ?? width,
            modelHeight: modelHeight ?? height, multiple: StreamSteps.sizeMultiple)
        let shared = try Backend.shared()
        let set = isa ?? shared.instructionSet
        let backend = Backend(
            instructionSet: set, kernels: try #require(ck_kernels_for(set.code)),
            matrix: shared.matrix, blasCore: shared.blasCore)
        pool = try WorkerPool(threads: threads)
        let builder = PlanBuilder(backend: shared, pool: pool)
        let x = builder.input(geometry.blocks(channels: StreamSteps.inputChannels))
        let y = builder.input(geometry.blocks(channels: StreamSteps.resultChannels))
        plan = try builder.build(outputs: [x, y])
        input = plan.view(of: x)
        result = plan.view(of: y)
        stream = try StreamSteps(
            backend: backend, geometry: geometry, input: input, result: result,
            threads: threads, check: FiniteCheck())
        output = [UInt8](repeating: 77, count: 3 * width * height)
    }

    /// A grey frame of levels at each pixel.
    func frame(_ level: (Float, Float) -> Float) -> [UInt8] {
        var rgb = [UInt8]()
        rgb.reserveCapacity(3 * geometry.frameWidth * geometry.frameHeight)
        for y in 0..<geometry.frameHeight {
            for x in 0..<geometry.frameWidth {
                let value = UInt8(min(max(level(Float(x), Float(y)) + 0.5, 0), 255))
                rgb += [value, value, value]
            }
        }
        return rgb
    }

    /// One number into every channel of a block of the result.
    func fill(block: Int, _ value: Float) {
        for y in 0..<result.shape.height {
            for x in 0..<result.shape.width {
                result.pixel(block: block, y: y, x: x).update(repeating: value, count: 16)
            }
        }
    }

    /// Lets frames take one step each in a frame's time.
    func setBatch(steps: Int) throws {
        stream.batch = try StreamBatch(
            steps: steps, input: input, backend: try Backend.shared(), geometry: geometry,
            threads: pool.threads)
    }

    /// A frame through all steps; `network` writes the result of each step.
    @discardableResult
    func process(_ rgb: [UInt8], steps: Int = 1, network: (Int) -> Void = { _ in }) -> Bool {
        rgb.withUnsafeBufferPointer { rgb in
            output.withUnsafeMutableBufferPointer { output in
                guard let from = rgb.baseAddress, let to = output.baseAddress else { return }
                stream.begin(
                    FramePointers(
                        frame: from, frameStride: 3 * geometry.frameWidth, output: to,
                        outputStride: 3 * geometry.frameWidth, strength: strength))
                for work in stream.beginning { pool.run(work) }
                let order = (0..<steps).map { stream.batch == nil ? $0 : steps - 1 - $0 }
                for index in order where stream.isDue(index) {
                    network(index)
                    pool.run(stream.step(index, of: steps))
                }
            }
        }
        return stream.finish()
    }

    /// Squares of a row.
    var columns: Int { geometry.paddedWidth / 4 }
    /// Rows of squares.
    var rows: Int { geometry.paddedHeight / 4 }

    func vector(_ column: Int, _ row: Int) -> (x: Float, y: Float) {
        let index = 2 * (row * columns + column)
        return (stream.flow[index], stream.flow[index + 1])
    }

    /// Lengths of the error of each square's vector, in ascending order, of those that `isIn`; nil
    /// where the truth lies outside of the frame.
    func flowErrors(_ truth: (Float, Float) -> (x: Float, y: Float)) -> [Float] {
        var errors: [Float] = []
        for row in 0..<rows {
            for column in 0..<columns {
                let (x, y) = (Float(4 * column) + 1.5, Float(4 * row) + 1.5)
                let (u, v) = truth(x, y)
                guard x + u > 2, x + u < Float(4 * columns - 3), y + v > 2,
                    y + v < Float(4 * rows - 3)
                else { continue }
                let found = vector(column, row)
                errors.append(hypot(found.x - u, found.y - v))
            }
        }
        return errors.sorted()
    }
}

struct StreamMotionTests {
    static let sets = InstructionSet.allCases.filter(\.isSupported)

    @Test(
        "A shifted picture's vectors", arguments: sets,
        [(0.3, 0.2), (1, -0.4), (-2.5, 1.1), (8, 3), (-20, 9), (4, -20)] as [(Float, Float)])
    func shift(isa: InstructionSet, by shift: (Float, Float)) throws {
        let bench = try StreamBench(width: 192, height: 128, isa: isa)
        // What changes by less than a level or two counts as noise: small shifts need fine structure.
        let isSlow = hypot(shift.0, shift.1) < 1.5
        let scene = DrawnScene(seed: 5, grain: isSlow ? 7 : 14)
        bench.process(bench.frame { scene($0, $1) })
        bench.process(bench.frame { scene($0 - shift.0, $1 - shift.1) })
        let errors = bench.flowErrors { _, _ in (-shift.0, -shift.1) }
        let mean = errors.reduce(0, +) / Float(errors.count)
        #expect(errors[errors.count / 2] < 0.12, "median; mean \(mean)")
        #expect(errors[errors.count * 9 / 10] < (isSlow ? 0.7 : 0.4), "nine in ten; mean \(mean)")
    }

    @Test("A turned picture's vectors", arguments: sets)
    func rotation(isa: InstructionSet) throws {
        let bench = try StreamBench(width: 192, height: 128, isa: isa)
        let scene = DrawnScene(seed: 6)
        let angle: Float = 0.04
        let (s, c) = (sin(angle), cos(angle))
        func before(_ x: Float, _ y: Float) -> (x: Float, y: Float) {
            let (dx, dy) = (x - 96, y - 64)
            return (c * dx - s * dy + 96 - x, s * dx + c * dy + 64 - y)
        }
        bench.process(bench.frame { scene($0, $1) })
        bench.process(
            bench.frame { x, y in
                let moved = before(x, y)
                return scene(x + moved.x, y + moved.y)
            })
        let errors = bench.flowErrors(before)
        #expect(errors[errors.count / 2] < 0.25)
        #expect(errors[errors.count * 9 / 10] < 0.6)
    }

    @Test("A square that moves over a background that does not", arguments: sets)
    func square(isa: InstructionSet) throws {
        let bench = try StreamBench(width: 192, height: 128, isa: isa)
        let (back, front) = (DrawnScene(seed: 7), DrawnScene(seed: 8))
        func frame(_ left: Float, _ top: Float) -> [UInt8] {
            bench.frame { x, y in
                let (u, v) = (x - left, y - top)
                let isFront = (0..<64).contains(u) && (0..<64).contains(v)
                return isFront ? 100 + 0.6 * front(u, v) : 0.6 * back(x, y)
            }
        }
        bench.process(frame(60, 40))
        bench.process(frame(66, 37))
        var (inside, outside) = ([Float](), 0)
        for row in 0..<bench.rows {
            for column in 0..<bench.columns {
                let (x, y) = (4 * column, 4 * row)
                let (u, v) = bench.vector(column, row)
                if (74..<118).contains(x) && (45..<90).contains(y) {
                    inside.append(hypot(u + 6, v - 3))
                } else if !(48..<140).contains(x) || !(24..<114).contains(y) {
                    outside += u == 0 && v == 0 ? 0 : 1
                }
            }
        }
        inside.sort()
        #expect(inside[inside.count / 2] < 0.1)
        #expect(inside[inside.count * 9 / 10] < 0.5)
        #expect(outside == 0, "the background stands exactly still")
        // What was hidden behind the square has little of a past.
        let uncovered = (12..<24).map { bench.stream.trust[15 + $0 * bench.columns] }
        #expect(uncovered.reduce(0, +) / 12 < 0.5)
    }

    @Test(
        "Noise is no motion", arguments: sets, [0.5, 2, 6] as [Float])
    func stillNoise(isa: InstructionSet, deviation: Float) throws {
        let bench = try StreamBench(width: 192, height: 128, isa: isa)
        let scene = DrawnScene(seed: 9)
        var noise = Noise(seed: 10)
        for index in 0..<4 {
            // Twelve uniform numbers have a variance of 4 in -1 ..< 1.
            bench.process(
                bench.frame { x, y in
                    let sum = (0..<12).reduce(Float(0)) { sum, _ in sum + noise.float() }
                    return scene(x, y) + deviation * 0.5 * sum
                })
            guard index > 0 else { continue }
            let moving = (0..<bench.columns * bench.rows).count {
                bench.stream.flow[2 * $0] != 0 || bench.stream.flow[2 * $0 + 1] != 0
            }
            #expect(moving * 100 <= bench.columns * bench.rows)
            #expect(bench.stream.trust.allSatisfy { $0 > 0.5 })
        }
    }

    @Test("A change of light is no motion")
    func light() throws {
        let bench = try StreamBench(width: 192, height: 128)
        let scene = DrawnScene(seed: 9)
        // Up on one side and down on the other: nothing that could be taken for exposure and undone.
        for change: Float in [0, 0.04, 0.04, 0] {
            bench.process(
                bench.frame { x, y in (0.8 + (x < 96 ? change : -change)) * scene(x, y) })
        }
        let moving = bench.stream.flow.count { abs($0) > 0.5 }
        // But along the border between them.
        #expect(moving * 16 <= bench.stream.flow.count)
        #expect(bench.stream.trust.count { $0 > 0.5 } > bench.stream.trust.count * 9 / 10)
    }

    @Test("Pictures without structure, and the smallest, give finite vectors")
    func degenerate() throws {
        for (width, height) in [(16, 16), (32, 16), (64, 64)] {
            let bench = try StreamBench(width: width, height: height)
            var noise = Noise(seed: 3)
            let frames = [
                bench.frame { _, _ in 0 }, bench.frame { _, _ in 255 },
                bench.frame { x, _ in 4 * x }, bench.frame { x, _ in 4 * x + 40 },
                bench.frame { _, _ in 128 + 127 * noise.float() },
                bench.frame { _, _ in 128 + 127 * noise.float() },
                bench.frame { _, _ in 128 },
            ]
            for frame in frames {
                #expect(bench.process(frame))
                #expect(bench.stream.flow.allSatisfy { abs($0) <= 64 })
                #expect(bench.stream.trust.allSatisfy { $0 >= 0 && $0 <= 1 })
            }
        }
    }

    @Test("Threads change nothing")
    func threads() throws {
        let scene = DrawnScene(seed: 12)
        let benches = try [1, 3].map {
            try StreamBench(width: 192, height: 128, threads: $0)
        }
        for shift: Float in [0, 1.5, 5, 5] {
            for bench in benches {
                bench.process(bench.frame { scene($0 + shift, $1) })
            }
            #expect(benches[0].stream.flow.elementsEqual(benches[1].stream.flow))
            #expect(benches[0].stream.trust.elementsEqual(benches[1].stream.trust))
            #expect(benches[0].stream.anchor.elementsEqual(benches[1].stream.anchor))
            #expect(benches[0].input.planar() == benches[1].input.planar())
        }
    }
}

struct StreamTests {
    @Test("Trust is what training computes", arguments: StreamMotionTests.sets)
    func trust(isa: InstructionSet) throws {
        let bench = try StreamBench(width: 96, height: 64, isa: isa)
        let scene = DrawnScene(seed: 11)
        var noise = Noise(seed: 12)
        func frame(_ shift: Float) -> [UInt8] {
            bench.frame { x, y in
                let moves = x > 40 && y > 20
                // Something that was not there before.
                if shift > 0 && hypot(x - 70, y - 40) < 9 { return x + y < 110 ? 255 : 0 }
                return scene(x - (moves ? shift : 0), y) + 3 * noise.float()
            }
        }
        let (first, second) = (frame(0), frame(3.4))
        bench.process(first)
        bench.process(second)
        func luma(_ rgb: [UInt8], _ x: Int, _ y: Int) -> Float {
            let at = 3 * (y * 96 + x)
            return StreamReference.luma(rgb[at], rgb[at + 1], rgb[at + 2]) / 255
        }
        let squares = (0..<bench.columns * bench.rows).map {
            (x: $0 % bench.columns, y: $0 / bench.columns)
        }
        func means(_ rgb: [UInt8]) -> [Float] {
            squares.map { square in
                (0..<16).reduce(0) {
                    $0 + luma(rgb, 4 * square.x + $1 % 4, 4 * square.y + $1 / 4) / 16
                }
            }
        }
        func surroundings(_ means: [Float]) -> [Float] {
            squares.map { square in
                (0..<25).reduce(0) {
                    let x = min(max(square.x + $1 % 5 - 2, 0), bench.columns - 1)
                    let y = min(max(square.y + $1 / 5 - 2, 0), bench.rows - 1)
                    return $0 + means[y * bench.columns + x] / 25
                }
            }
        }
        let (now, basis) = (means(second), means(first))
        let (nowAround, basisAround) = (surroundings(now), surroundings(basis))
        var errors: [Float] = []
        var around: [Float] = []
        for row in 0..<bench.rows {
            for column in 0..<bench.columns {
                let (u, v) = bench.vector(column, row)
                func strayed(_ now: [Float], _ basis: [Float]) -> Float {
                    let there = StreamReference.at(
                        Float(column) + u / 4, Float(row) + v / 4, width: bench.columns,
                        height: bench.rows
                    ) { basis[$1 * bench.columns + $0] }
                    return 2 * abs(now[row * bench.columns + column] - there)
                }
                around.append(strayed(nowAround, basisAround))
                var sum = 16 * strayed(now, basis)
                for y in 4 * row..<4 * row + 4 {
                    for x in 4 * column..<4 * column + 4 {
                        let before = StreamReference.at(
                            Float(x) + u, Float(y) + v, width: 96, height: 64
                        ) { luma(first, $0, $1) }
                        sum += abs(luma(second, x, y) - before)
                    }
                }
                errors.append(sum / 16)
            }
        }
        func median(_ errors: [Float]) -> Float {
            max(errors.sorted()[(errors.count - 1) / 2], 1 / 255)
        }
        let (n, m) = (median(errors), median(around))
        var kinds = [false, false, false]
        for index in errors.indices {
            let (u, v) = bench.vector(index % bench.columns, index / bench.columns)
            let x = Float(4 * (index % bench.columns)) + 1.5 + u
            let y = Float(4 * (index / bench.columns)) + 1.5 + v
            let isInside = x >= 0 && x <= 95 && y >= 0 && y <= 63
            let error = max(errors[index] / n, around[index] / m)
            let alike = min(max(1 - (error / 2.5 - 1) / 2, 0), 1)
            let expected = isInside ? StreamReference.trust(alike: alike, u, v) : 0
            #expect(abs(bench.stream.trust[index] - expected) < 0.02, "\(index)")
            kinds[alike == 0 ? 0 : alike < 1 ? 1 : 2] = true
        }
        #expect(kinds == [true, true, true], "the least, some and full trust occur")
    }

    @Test("What has changed too slowly to be seen from frame to frame is not trusted for ever")
    func slowChange() throws {
        // The more of the past the network keeps, the older is what is still seen.
        for (logit, least) in [(4, 0...0.6), (-20, 0.8...1)] as [(Float, ClosedRange<Float>)] {
            let bench = try StreamBench(width: 96, height: 64)
            var trust: Float = 1
            for step in 0..<20 {
                let frame = bench.frame { x, y in
                    x >= 32 && x < 64 && y >= 16 && y < 48 ? 100 + Float(step) : 100
                }
                bench.process(frame) { _ in bench.fill(block: 3, logit) }
                guard step > 0 else { continue }
                trust = min(trust, bench.stream.trust[8 * bench.columns + 12])
                #expect(abs(bench.stream.trust[0] - StreamReference.stood) < 1e-6)
            }
            #expect(least.contains(trust), "least trust, at a gate of \(logit)")
        }
    }

    @Test("The first frame starts at the source, and so does one after a reset")
    func firstFrame() throws {
        let bench = try StreamBench(width: 64, height: 48)
        let scene = DrawnScene(seed: 2)
        var noise = Noise(seed: 4)
        let texels = noise.bytes(3 * 512 * 512)
        texels.withUnsafeBufferPointer { bench.stream.setSource($0) }
        bench.stream.seed = -3
        let rgb = bench.frame { scene($0, $1) }
        for round in 0..<3 {
            if round == 1 { bench.process(rgb) }
            if round > 0 { bench.stream.reset() }
            bench.fill(block: 4, 5)
            bench.process(rgb)
            let planes = bench.input.planar()
            // Offsets of training: seed · 197 and seed · 359, modulo 512.
            let (offsetX, offsetY) = (-3 * 197 & 511, -3 * 359 & 511)
            for y in 0..<48 {
                for x in 0..<64 {
                    let square = y / 4 * 16 + x / 4
                    for colour in 0..<3 {
                        let channel = 16 * colour + 4 * (y % 4) + x % 4
                        let texel =
                            texels[
                                (colour * 512 + (y + offsetY & 511)) * 512 + (x + offsetX & 511)]
                        #expect(abs(planes[channel * 192 + square] - Float(texel) / 255) < 1e-6)
                        #expect(
                            planes[(48 + channel) * 192 + square]
                                == Float(rgb[3 * (y * 64 + x) + colour]) * (1 / 255))
                    }
                }
            }
            // No state and no tau; between them the light, alike everywhere.
            for lane in 0..<16 {
                let plane = planes[(96 + lane) * 192..<(97 + lane) * 192]
                let isLight = FrameLight.lanes.contains(lane)
                #expect(Set(plane).count == 1 && (plane.first ?? 0 > 0) == isLight, "\(lane)")
            }
        }
    }

    @Test("The light follows slowly, but for a cut: then it is the new scene's at once")
    func light() throws {
        let bench = try StreamBench(width: 64, height: 48)
        func red(after level: Float) -> Float {
            bench.process(bench.frame { _, _ in level })
            return 255 * bench.input.planar()[(96 + FrameLight.lanes.lowerBound) * 192]
        }
        #expect(abs(red(after: 20) - 20) < 0.01)
        #expect(abs(red(after: 30) - 21) < 0.01)
        #expect(abs(red(after: 200) - 200) < 0.01)
    }

    @Test("A still scene comes to what the network says, and then stays as it is, bit by bit")
    func noDrift() throws {
        let bench = try StreamBench(width: 48, height: 32)
        let scene = DrawnScene(seed: 2)
        var noise = Noise(seed: 6)
        let rgb = bench.frame { scene($0, $1) + 3 * noise.float() }
        var pasts: [[[UInt16]]] = []
        func past() -> [[UInt16]] {
            bench.stream.past.map { plane in
                (0..<plane.height).flatMap { y in
                    (0..<plane.width).map { plane.row(y)[$0] }
                }
            }
        }
        for index in 0..<1001 {
            // The gate is open, and the network says the same, but for the first time.
            let isGood = bench.process(rgb) { _ in
                for block in 0..<3 { bench.fill(block: block, index == 0 ? 0.2 : 0.01) }
                bench.fill(block: 3, 30)
            }
            #expect(isGood)
            if [0, 10, 999, 1000].contains(index) { pasts.append(past()) }
        }
        func distance(_ a: Int) -> Float {
            zip(pasts[a].joined(), pasts[3].joined()).reduce(0) {
                $0 + abs(Float($1.0) - Float($1.1))
            }
        }
        // What is left of the first picture shrinks by the trust in it, each frame.
        #expect(abs(distance(1) / distance(0) - pow(StreamReference.stood, 10)) < 0.02)
        #expect((pasts[2] == pasts[3]) as Bool)
        let middle = Float(pasts[3][0][16 * 48 + 24]) / 65535
        #expect(abs(middle - Float(rgb[3 * (16 * 48 + 24)]) / 255 - 0.01) < 1e-3)
        #expect(bench.stream.anchor.allSatisfy { $0 == 0 })
    }

    @Test(
        "Past, state and texture travel with the picture; at its border there is nothing to trust")
    func travel() throws {
        let bench = try StreamBench(width: 128, height: 64)
        let scene = DrawnScene(seed: 13)
        // The picture moves to the left by 8 pixels: two squares.
        bench.process(bench.frame { scene($0, $1) }) { _ in
            for row in 0..<bench.rows {
                for column in 0..<bench.columns {
                    for lane in 0..<15 {
                        bench.result.pixel(block: 4, y: row, x: column)[lane] =
                            0.01 * Float(column)
                    }
                }
            }
        }
        bench.process(bench.frame { scene($0 + 8, $1) })
        var travelled = 0
        for row in 2..<bench.rows - 2 {
            for column in 2..<bench.columns - 4 {
                let index = row * bench.columns + column
                let moved = bench.stream.flow[2 * index]
                let isThere = abs(moved - 8) < 0.5
                travelled += isThere ? 1 : 0
                #expect(!isThere || abs(bench.stream.anchor[2 * index] - 8) < 0.5)
                let cell = bench.input.pixel(block: 6, y: row, x: column)
                let state = StreamReference.moved * tanh(0.01 * Float(column + 2))
                #expect(!isThere || abs(cell[0] - state) < 0.003)
                #expect(cell[15] == 0.95 * bench.stream.trust[index])
            }
            for column in bench.columns - 2..<bench.columns {
                let index = row * bench.columns + column
                guard bench.vector(column, row).x > 4 else { continue }
                #expect(bench.stream.trust[index] == 0)
                #expect(bench.input.pixel(block: 6, y: row, x: column)[0] == 0)
            }
        }
        #expect(travelled * 10 > (bench.rows - 4) * (bench.columns - 6) * 9)
    }

    @Test("Slow texture arrives with its surface", arguments: [0.5, -1] as [Float])
    func slowTravel(speed: Float) throws {
        let bench = try StreamBench(width: 192, height: 64)
        let (back, front) = (DrawnScene(seed: 16, grain: 7), DrawnScene(seed: 17, grain: 7))
        for index in 0..<30 {
            let left = 64 + speed * Float(index)
            bench.process(
                bench.frame { x, y in
                    (left..<left + 64).contains(x) ? front(x - left, y) : back(x, y)
                })
        }
        // In the middle of the surface, where it is now, the texture has come as far as it.
        let (middle, moved) = (Int(96 + speed * 29) / 4, speed * 29)
        let offsets = (4..<12).map { bench.stream.anchor[2 * ($0 * 48 + middle)] }.sorted()
        #expect(abs(offsets[4] + moved) < 0.2 * abs(moved), "\(offsets)")
        // Far from it nothing has moved.
        for row in 0..<16 {
            for column in [2, 45] { #expect(bench.stream.anchor[2 * (row * 48 + column)] == 0) }
        }
    }

    @Test("`temporal` scales the use of the past", arguments: [0, 0.5, 1, -1, 2, .nan] as [Float])
    func temporal(value: Float) throws {
        let bench = try StreamBench(width: 64, height: 48)
        let scene = DrawnScene(seed: 2)
        let rgb = bench.frame { scene($0, $1) }
        bench.stream.temporal = value
        for _ in 0..<2 {
            bench.process(rgb) { _ in for block in 0..<5 { bench.fill(block: block, 0.25) } }
        }
        let used = value > 0 ? StreamReference.stood * min(value, 1) : 0
        let cell = bench.input.pixel(block: 6, y: 3, x: 3)
        #expect(abs(cell[15] - 0.95 * used) < 1e-6)
        #expect(abs(cell[0] - used * tanh(0.25)) < 1e-5)
        let level = Float(rgb[3 * (12 * 64 + 12)]) / 255
        let start = bench.input.pixel(block: 0, y: 3, x: 3)[0]
        let tau = 0.95 * used
        #expect(abs(start - ((1 - tau) * 128 / 255 + tau * min(level + 0.25, 1))) < 1e-4)
    }

    @Test("Several steps end where one does, if all see the same end")
    func steps() throws {
        let scene = DrawnScene(seed: 2)
        var outputs: [[UInt8]] = []
        for steps in [1, 4] {
            let bench = try StreamBench(width: 64, height: 48)
            bench.strength = 0.5
            bench.process(bench.frame { scene($0, $1) }, steps: steps) { index in
                for block in 0..<3 { bench.fill(block: block, 0.2) }
                // The state of the first step goes on.
                bench.fill(block: 4, index == 0 ? 0.5 : -1)
                let cell = bench.input.pixel(block: 6, y: 1, x: 1)
                #expect(abs(cell[15] - Float(index) / Float(steps)) < 1e-6)
            }
            outputs.append(bench.output)
            bench.process(bench.frame { scene($0, $1) })
            let state = StreamReference.stood * tanh(0.5)
            #expect(abs(bench.input.pixel(block: 6, y: 1, x: 1)[3] - state) < 1e-5)
        }
        // What the steps begin with is kept in 16 bits.
        #expect(zip(outputs[0], outputs[1]).allSatisfy { abs(Int($0) - Int($1)) <= 1 })
        let level = min(max(scene(20, 10) + 0.5, 0), 255).rounded(.down)
        let expected = level + 0.5 * (min(level + 51, 255) - level)
        #expect(abs(Float(outputs[0][3 * (10 * 64 + 20)]) - expected) <= 1)
    }

    @Test("NaN and infinity in the network's result are reported, and the past is forgotten")
    func notFinite() throws {
        for value: Float in [.nan, .infinity] {
            for block in 0..<5 {
                let bench = try StreamBench(width: 64, height: 48, threads: 2)
                let rgb = bench.frame { 2 * $0 + $1 }
                for _ in 0..<2 { #expect(bench.process(rgb)) }
                #expect(bench.stream.trust.allSatisfy { $0 > 0.9 })
                let isGood = bench.process(rgb) { _ in
                    bench.result.pixel(block: block, y: 7, x: 5)[11] = value
                }
                #expect(!isGood)
                bench.fill(block: block, 0)
                #expect(bench.process(rgb))
                #expect(bench.stream.trust.allSatisfy { $0 == 0 })
                #expect(bench.input.planar().allSatisfy { $0.isFinite })
            }
        }
    }

    @Test("In a batch every frame keeps what is its own, and the next rests on its first estimate")
    func batch() throws {
        let steps = 3
        let bench = try StreamBench(width: 64, height: 48, threads: 2)
        try bench.setBatch(steps: steps)
        let inputs = try #require(bench.stream.batch?.inputs)
        // Residuals of the steps, the second their mean; the gate stays shut.
        let residuals: [Float] = [0.1, 0.2, 0.3]
        for number in 0..<7 {
            let level = UInt8(40 + 10 * number)
            // The lower half goes the other way: so it is not the exposure that changes.
            let rgb = bench.frame { _, y in y < 24 ? Float(level) : Float(200 - 10 * number) }
            var taken: [Int] = []
            bench.stream.temporal = number == 4 ? 0 : 1
            let isGood = bench.process(rgb, steps: steps) { index in
                taken.append(index)
                bench.fill(block: 3, -100)
                for block in 0..<3 { bench.fill(block: block, residuals[index]) }
                bench.fill(block: 4, index == 0 ? 0.5 : -1)
                // Frame and tau of the frame whose step it is.
                let own = number - index
                let isFirst = own == 0
                let start: Float = isFirst || own == 4 ? 0 : 0.95 * StreamReference.stood
                let tau = 1 - (1 - start) * Float(steps - index) / Float(steps)
                let input = inputs[index]
                #expect(
                    abs(input.pixel(block: 3, y: 2, x: 5)[0] - Float(40 + 10 * own) / 255) < 1e-6)
                #expect(abs(input.pixel(block: 6, y: 2, x: 5)[15] - tau) < 1e-5)
                // The state of the first step goes on to the next frame, and with its own.
                let state = start == 0 ? 0 : StreamReference.stood * tanhf(0.5)
                #expect(abs(input.pixel(block: 6, y: 2, x: 5)[3] - state) < 1e-5)
            }
            #expect(isGood)
            #expect(taken == (0..<steps).reversed().filter { number >= $0 })
            let past = Float(bench.stream.past[0].row(20)[20]) / 65535
            #expect(abs(past - (Float(level) / 255 + residuals[0])) < 1e-4)
            guard number >= steps - 1 else {
                #expect(bench.stream.picture == nil && bench.output.allSatisfy { $0 == 77 })
                continue
            }
            // The mean of what the steps say.
            let shown = Float(40 + 10 * (number - steps + 1)) / 255 + residuals[1]
            let upper = bench.output.prefix(3 * 64 * 24)
            #expect(upper.allSatisfy { abs(Float($0) / 255 - shown) <= 1 / 255 })
        }
    }

    @Test("NaN in any frame under way drops them all", arguments: 0..<3)
    func batchNotFinite(step: Int) throws {
        let bench = try StreamBench(width: 64, height: 48, threads: 2)
        try bench.setBatch(steps: 3)
        let rgb = bench.frame { 2 * $0 + $1 }
        for block in 0..<5 {
            bench.stream.reset()
            for index in 0..<3 { bench.fill(block: index, 0) }
            for _ in 0..<4 { #expect(bench.process(rgb, steps: 3)) }
            #expect((0..<3).allSatisfy { bench.stream.isDue($0) })
            let isGood = bench.process(rgb, steps: 3) { index in
                let value: Float = index == step ? .nan : 0
                bench.result.pixel(block: block, y: 7, x: 5)[11] = value
            }
            #expect(!isGood)
            #expect(!bench.stream.isDue(0))
            bench.fill(block: block, 0)
            for number in 0..<3 {
                #expect(bench.process(rgb, steps: 3))
                #expect((bench.stream.picture == nil) == (number < 2))
            }
            #expect(bench.input.planar().allSatisfy { $0.isFinite })
        }
    }

    @Test("Memory is known beforehand", arguments: [(16, 16), (640, 384), (70, 1000)])
    func memory(width: Int, height: Int) throws {
        for threads in [1, 3] {
            let bench = try StreamBench(width: width, height: height, threads: threads)
            let most = StreamSteps.byteCount(bench.geometry, threads: threads)
            #expect(bench.stream.byteCount <= most)
            #expect(most * 3 / 4 < bench.stream.byteCount)
        }
    }

    @Test("After a cut nothing of the past is used")
    func cut() throws {
        let bench = try StreamBench(width: 96, height: 64)
        let (a, b) = (DrawnScene(seed: 14), DrawnScene(seed: 15))
        bench.process(bench.frame { 0.4 * a($0, $1) })
        bench.process(bench.frame { 150 + 0.4 * b($0, $1) })
        #expect(bench.stream.trust.allSatisfy { $0 == 0 })
    }

    @Test("Padding is cropped away, and nothing is written where sizes differ")
    func sizes() throws {
        let padded = try StreamBench(width: 70, height: 50)
        let rgb = padded.frame { 2 * $0 + $1 }
        for _ in 0..<2 {
            padded.process(rgb) { _ in for block in 0..<3 { padded.fill(block: block, 0.2) } }
            #expect(zip(padded.output, rgb).allSatisfy { $0 == UInt8(min(Int($1) + 51, 255)) })
        }
        let scaled = try StreamBench(width: 100, height: 75, modelWidth: 64, modelHeight: 48)
        for _ in 0..<2 {
            let frame = scaled.frame { 2 * $0 + $1 }
            scaled.process(frame) { _ in for block in 0..<3 { scaled.fill(block: block, 0.2) } }
        }
        #expect(scaled.output.allSatisfy { $0 == 77 })
        #expect(abs(scaled.result.pixel(block: 0, y: 2, x: 2)[0] - 0.2) < 1e-5)
        #expect(throws: EngineError.self) {
            let geometry = try FrameGeometry(
                frameWidth: 60, frameHeight: 60, modelWidth: 60, modelHeight: 60, multiple: 4)
            let builder = PlanBuilder(
                backend: try Backend.shared(), pool: try WorkerPool(threads: 1))
            let x = builder.input(geometry.blocks(channels: StreamSteps.inputChannels))
            let y = builder.input(geometry.blocks(channels: StreamSteps.resultChannels))
            let plan = try builder.build(outputs: [x, y])
            _ = try StreamSteps(
                backend: try Backend.shared(), geometry: geometry, input: plan.view(of: x),
                result: plan.view(of: y), threads: 1, check: FiniteCheck())
        }
    }
}
