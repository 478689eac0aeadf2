// Jumps of the camera's exposure become fades; all else stays as it is.

import Testing

@testable import NeuralEngine

struct FrameExposureTests {

    private static func texture(_ x: Float, _ y: Float) -> Float {
        let index = UInt32(bitPattern: Int32(x) &* 73_856_093 ^ Int32(y) &* 19_349_663)
        return 90 + Float((index &* 2_654_435_761) >> 26)
    }

    /// Mean level of what the network sees as the frame.
    private func seen(_ bench: StreamBench) -> Float {
        var sum: Float = 0
        let shape = bench.input.shape
        for y in 0..<shape.height {
            for x in 0..<shape.width {
                for lane in 0..<16 { sum += bench.input.pixel(block: 3, y: y, x: x)[lane] }
            }
        }
        return 255 * sum / Float(16 * shape.height * shape.width)
    }

    @Test("A jump is undone, up or down, and fades back in", arguments: [1.2, 0.8] as [Float])
    func jump(factor: Float) throws {
        let bench = try StreamBench(width: 96, height: 64)
        let calm = bench.frame(Self.texture)
        let other = bench.frame { factor * Self.texture($0, $1) }
        bench.process(calm)
        let before = seen(bench)
        bench.process(calm)
        #expect(seen(bench) == before)
        var last = before
        for frame in 0..<120 {
            bench.process(other)
            let now = seen(bench)
            #expect(frame > 0 || abs(now - before) < 0.03 * before)
            #expect(factor > 1 ? now >= last - 0.3 : now <= last + 0.3)
            last = now
        }
        #expect(abs(last - factor * before) < 0.5)
        // And then the frame itself is read.
        bench.process(other)
        #expect(seen(bench) == last)
    }

    @Test("With half the strength half of it is undone")
    func strength() throws {
        let bench = try StreamBench(width: 96, height: 64)
        bench.strength = 0.5
        bench.process(bench.frame(Self.texture))
        let before = seen(bench)
        bench.process(bench.frame { 1.2 * Self.texture($0, $1) })
        #expect(abs(seen(bench) - 1.2 * before * (1 + 0.5 * (1 / 1.2 - 1))) < 0.02 * before)
    }

    @Test("Motion, a cut, a hand before the lens and a picture without light are no jumps")
    func notExposure() throws {
        let scenes: [(Float, Float, Int) -> Float] = [
            { x, y, frame in Self.texture(x + Float(3 * frame), y) },
            { x, y, frame in frame % 2 == 0 ? Self.texture(x, y) : 230 - 0.3 * x },
            { x, y, frame in x < Float(12 * frame) ? 200 : Self.texture(x, y) },
            { _, _, frame in Float(2 + 5 * (frame % 2)) },
        ]
        for (index, scene) in scenes.enumerated() {
            let bench = try StreamBench(width: 96, height: 64)
            for frame in 0..<6 {
                let rgb = bench.frame { scene($0, $1, frame) }
                bench.process(rgb)
                let mean = Float(rgb.reduce(0) { $0 + Int($1) }) / Float(rgb.count)
                #expect(abs(seen(bench) - mean) < 0.01, "scene \(index), frame \(frame)")
            }
        }
    }

    @Test("A frame of another size than the model's is steadied, too")
    func scaled() throws {
        let bench = try StreamBench(width: 192, height: 128, modelWidth: 96, modelHeight: 64)
        bench.process(bench.frame(Self.texture))
        let before = seen(bench)
        bench.process(bench.frame { 1.2 * Self.texture($0, $1) })
        #expect(abs(seen(bench) - before) < 0.03 * before)
    }

    @Test("During a fade the past is trusted as before, and no cut is seen", arguments: [1.3, 0.8])
    func trust(factor: Float) throws {
        let bench = try StreamBench(width: 96, height: 64)
        bench.process(bench.frame(Self.texture))
        for _ in 0..<60 {
            bench.process(bench.frame { factor * Self.texture($0, $1) }) { _ in
                bench.fill(block: 3, 3)
            }
            #expect(bench.stream.trust.count { $0 > 0.5 } > bench.stream.trust.count * 9 / 10)
        }
    }

    @Test("Another scene forgets the gain")
    func cut() throws {
        let bench = try StreamBench(width: 96, height: 64)
        bench.process(bench.frame(Self.texture))
        bench.process(bench.frame { 1.2 * Self.texture($0, $1) })
        let other = bench.frame { Self.texture($1, $0) > 122 ? 250 : 10 }
        bench.process(other)
        let mean = Float(other.reduce(0) { $0 + Int($1) }) / Float(other.count)
        bench.process(other)
        #expect(abs(seen(bench) - mean) < 0.01)
    }

    @Test("Without a past there is no gain")
    func noPast() throws {
        let bench = try StreamBench(width: 96, height: 64)
        bench.stream.temporal = 0
        bench.process(bench.frame(Self.texture))
        let before = seen(bench)
        bench.process(bench.frame { 1.2 * Self.texture($0, $1) })
        #expect(abs(seen(bench) - 1.2 * before) < 0.5)
    }

    @Test("A reset forgets the gain")
    func reset() throws {
        let bench = try StreamBench(width: 96, height: 64)
        let bright = bench.frame { 1.2 * Self.texture($0, $1) }
        bench.process(bench.frame(Self.texture))
        bench.process(bright)
        let steadied = seen(bench)
        bench.stream.reset()
        bench.process(bright)
        #expect(seen(bench) > 1.1 * steadied)
    }
}
