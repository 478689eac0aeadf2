// The kernels around a streaming network against plain references, for each instruction set.

import CKernels
import Glibc
import Testing

@testable import NeuralEngine

/// The references, in the words of `stream.h`.
enum StreamReference {
    /// The most trust in a past that was copied where it stands, and in one that was moved.
    static let stood: Float = 0.98
    static let moved: Float = 0.75

    /// Trust where the motion is (u, v): the share `alike`, 0…1, of what lies above the least.
    static func trust(alike: Float, _ u: Float, _ v: Float) -> Float {
        0.3 + ((u == 0 && v == 0 ? stood : moved) - 0.3) * alike
    }

    static func luma(_ r: UInt8, _ g: UInt8, _ b: UInt8) -> Float {
        0.299 * Float(r) + 0.587 * Float(g) + 0.114 * Float(b)
    }

    /// Bilinear, the edges repeated.
    static func at(
        _ x: Float, _ y: Float, width: Int, height: Int, _ value: (Int, Int) -> Float
    ) -> Float {
        let x = min(max(x, 0), Float(width - 1))
        let y = min(max(y, 0), Float(height - 1))
        let (left, top) = (Int(x), Int(y))
        let (right, bottom) = (min(left + 1, width - 1), min(top + 1, height - 1))
        let (fx, fy) = (x - Float(left), y - Float(top))
        let above = value(left, top) + fx * (value(right, top) - value(left, top))
        let below = value(left, bottom) + fx * (value(right, bottom) - value(left, bottom))
        return above + fy * (below - above)
    }

    /// Bilinear and periodic, of a plane of a source texture without margins.
    static func periodic(_ x: Float, _ y: Float, _ value: (Int, Int) -> Float) -> Float {
        let size = Int(CK_SOURCE)
        let (left, top) = (Int(floor(x)), Int(floor(y)))
        let (fx, fy) = (x - floor(x), y - floor(y))
        func texel(_ x: Int, _ y: Int) -> Float { value(x & (size - 1), y & (size - 1)) }
        let above = texel(left, top) + fx * (texel(left + 1, top) - texel(left, top))
        let below =
            texel(left, top + 1) + fx * (texel(left + 1, top + 1) - texel(left, top + 1))
        return above + fy * (below - above)
    }

    static func sigmoid(_ x: Float) -> Float { 1 / (1 + exp(-x)) }
}

struct StreamKernelTests {
    static let sets: [ck_isa] = [CK_SCALAR, CK_AVX2, CK_AVX512].filter { ck_supports($0) != 0 }

    private func table(_ isa: ck_isa) throws -> ck_stream_kernels {
        try #require(ck_stream_kernels_for(isa)).pointee
    }

    private func random<Element: BitwiseCopyable>(
        _ plane: MarginPlane<Element>, _ value: () -> Element
    ) {
        for y in 0..<plane.height { for x in 0..<plane.width { plane.row(y)[x] = value() } }
        plane.repeatEdges(rows: 0..<plane.height)
    }

    @Test("Frame, luma and half luma", arguments: sets)
    func frame(isa: ck_isa) throws {
        for count in [1, 2, 3, 7, 16] {
            var noise = Noise(seed: UInt64(count))
            let (stride, lumaStride, halfStride) = (12 * count + 5, 4 * count + 3, 2 * count + 1)
            let rgb = noise.bytes(4 * stride)
            var blocks = [Float](repeating: -7, count: 3 * (16 * count + 16))
            var luma = [UInt16](repeating: 7, count: 4 * lumaStride)
            var half = [Float](repeating: -7, count: 2 * halfStride)
            var means = [Float](repeating: -7, count: 8 * count + 1)
            try table(isa).frame_squares(
                rgb, stride, count, &blocks, 16 * count + 16, &luma, lumaStride, &half, halfStride,
                &means)
            for index in means.indices {
                let isWritten = index < 8 * count && index % 8 < 4
                let expected =
                    isWritten ? mean(of: rgb, stride: stride, square: index / 8)[index % 8] : -7
                #expect(abs(means[index] - expected) < 1e-3)
            }
            var expected = [Float](repeating: -7, count: half.count)
            for y in 0..<2 { for x in 0..<2 * count { expected[y * halfStride + x] = 0 } }
            for y in 0..<4 {
                for x in 0..<4 * count {
                    let pixel = rgb[(y * stride + 3 * x)...]
                    let first = pixel.startIndex
                    let level = StreamReference.luma(
                        pixel[first], pixel[first + 1], pixel[first + 2])
                    #expect(abs(Float(luma[y * lumaStride + x]) - 64 * level) <= 0.51)
                    expected[y / 2 * halfStride + x / 2] += level / 4
                    for colour in 0..<3 {
                        let at = colour * (16 * count + 16) + x / 4 * 16 + 4 * y + x % 4
                        #expect(abs(blocks[at] - Float(pixel[first + colour]) / 255) < 1e-6)
                    }
                }
            }
            #expect(isClose(half, expected, tolerance: 1e-5))
            #expect(luma[4 * count] == 7, "nothing is written beside the rows")
            #expect(blocks[16 * count] == -7)
        }
    }

    @Test("Means of squares' surroundings, and what the past's basis differs by", arguments: sets)
    func basis(isa: ck_isa) throws {
        let kernel = try table(isa)
        for (columns, rows) in [(2, 2), (5, 3), (9, 8)] {
            var noise = Noise(seed: 3)
            let count = 8 * columns * rows
            var means = (0..<count).map { $0 % 8 < 3 ? 200 * noise.float() : $0 % 8 < 4 ? 0 : -7 }
            let alone = means
            for row in 0..<rows { kernel.surrounding_means(&means, columns, rows, row) }
            for index in 0..<count {
                let (x, y, part) = (index / 8 % columns, index / 8 / columns, index % 8)
                var expected = part < 4 ? alone[index] : 0
                for near in 0..<25 where part >= 4 {
                    let column = min(max(x + near % 5 - 2, 0), columns - 1)
                    let line = min(max(y + near / 5 - 2, 0), rows - 1)
                    expected += alone[8 * (line * columns + column) + part - 4] / 25
                }
                #expect(abs(means[index] - expected) < 1e-3)
            }
            let basis = noise.floats(count).map { 200 * $0 }
            for (u, v) in [(0, 0), (4, -4), (2, 1), (-100, 100)] as [(Float, Float)] {
                for row in 0..<rows {
                    let now = Array(means[(8 * row * columns)...].prefix(8 * columns))
                    expectErrors(
                        kernel, now, basis, columns: columns, rows: rows, row: row, u: u, v: v)
                }
            }
        }
    }

    private func expectErrors(
        _ kernel: ck_stream_kernels, _ now: [Float], _ basis: [Float], columns: Int, rows: Int,
        row: Int, u: Float, v: Float
    ) {
        var errors = [Float](repeating: 3, count: columns + 1)
        var around = [Float](repeating: -7, count: columns + 1)
        var aligned = [Float](repeating: -7, count: 8 * columns + 1)
        let flow = (0..<2 * columns).map { $0 % 2 == 0 ? u : v }
        kernel.basis_errors(
            now, basis, columns, rows, row, flow, 0.9, &aligned, &errors, &around)
        for i in 0..<columns {
            var expected: [Float] = [3, 0]
            for part in 0..<8 {
                let there = StreamReference.at(
                    Float(i) + u / 4, Float(row) + v / 4, width: columns, height: rows
                ) { 0.9 * basis[8 * ($1 * columns + $0) + part] }
                #expect(abs(aligned[8 * i + part] - there) < 1e-3)
                expected[part / 4] += [2, 1, 1, 0][part % 4] * abs(now[8 * i + part] - there)
            }
            #expect(abs(errors[i] - expected[0]) < 2e-3)
            #expect(abs(around[i] - expected[1]) < 2e-3)
        }
        #expect(errors[columns] == 3 && around[columns] == -7 && aligned[8 * columns] == -7)
    }

    @Test("Bytes times a gain", arguments: sets)
    func multiply(isa: ck_isa) throws {
        var noise = Noise(seed: 8)
        for count in [1, 15, 16, 17, 33, 48] {
            for gain: Float in [0.7, 1.3] {
                let source = noise.bytes(count)
                var target = [UInt8](repeating: 7, count: count + 16)
                try table(isa).multiply_bytes(source, count, gain, &target)
                for (found, byte) in zip(target, source) {
                    // Halves go to either side.
                    #expect(abs(Float(found) - min(gain * Float(byte), 255)) <= 0.501)
                }
                #expect(target[count + 15] == 7, "no more than 15 bytes behind are written")
            }
        }
    }

    /// Of a square: luma, red − luma, blue − luma, and 0.
    private func mean(of rgb: [UInt8], stride: Int, square: Int) -> [Float] {
        var sums: [Float] = [0, 0, 0, 0]
        for y in 0..<4 {
            for x in 4 * square..<4 * square + 4 {
                let at = y * stride + 3 * x
                let luma = StreamReference.luma(rgb[at], rgb[at + 1], rgb[at + 2])
                sums[0] += luma / 16
                sums[1] += (Float(rgb[at]) - luma) / 16
                sums[2] += (Float(rgb[at + 2]) - luma) / 16
            }
        }
        return sums
    }

    @Test("Halved rows", arguments: sets)
    func halve(isa: ck_isa) throws {
        for count in [1, 3, 8, 13, 40] {
            var noise = Noise(seed: UInt64(count))
            let stride = 2 * count + 1
            let source = noise.floats(2 * stride)
            var target = [Float](repeating: -7, count: count + 1)
            try table(isa).halve(source, stride, count, &target)
            let expected = (0..<count).map { x in
                [0, 1, stride, stride + 1].reduce(Float(0)) { $0 + source[2 * x + $1] } / 4
            }
            #expect(isClose(target, expected + [-7], tolerance: 1e-6))
        }
    }

    @Test("Changes of patches, also at the edges", arguments: sets)
    func patchChanges(isa: ck_isa) throws {
        for (width, height) in [(8, 8), (21, 13), (40, 24)] {
            let allocator = StreamAllocator()
            var noise = Noise(seed: UInt64(width))
            let planes = (0..<2).map { _ in
                MarginPlane<Float>(width: width, height: height, in: allocator)
            }
            for plane in planes { random(plane) { 128 + 100 * noise.float() } }
            var level = ck_luma_level(
                now: planes[0].first, before: planes[1].first, stride: planes[0].stride,
                width: width, height: height)
            let columns = (width + 3) / 4
            for row in 0..<(height + 3) / 4 {
                var changes = [Float](repeating: -7, count: columns + 1)
                var grain = changes
                try table(isa).patch_changes(&level, row, columns, &changes, &grain)
                for i in 0..<columns {
                    func difference(_ x: Int, _ y: Int) -> Double {
                        Double(planes[1].row(y)[x] - planes[0].row(y)[x])
                    }
                    var (sum, square, fine) = (0.0, 0.0, 0.0)
                    for y in 4 * row - 2..<4 * row + 6 {
                        for x in 4 * i - 2..<4 * i + 6 {
                            let d = difference(x, y)
                            sum += d
                            square += d * d
                            let right = difference(x + 1, y) - d
                            let below = y < 4 * row + 5 ? difference(x, y + 1) - d : 0
                            fine += right * right + below * below
                        }
                    }
                    let expected = Float((square - sum * sum / 64) / 64)
                    #expect(abs(changes[i] - expected) < 1e-4 * expected)
                    #expect(abs(grain[i] - Float(fine / 240)) < 1e-4 * Float(fine / 240))
                }
                #expect(changes[columns] == -7 && grain[columns] == -7)
            }
        }
    }

    @Test("A patch finds a shifted texture, and stands where it may not move", arguments: sets)
    func search(isa: ck_isa) throws {
        let (width, height) = (45, 29)
        let allocator = StreamAllocator()
        let planes = (0..<2).map { _ in
            MarginPlane<Float>(width: width, height: height, in: allocator)
        }
        let shift: (Float, Float) = (1.3, -0.8)
        for (index, plane) in planes.enumerated() {
            for y in 0..<height {
                for x in 0..<width {
                    let (u, v) = index == 0 ? (0, 0) : shift
                    plane.row(y)[x] =
                        128 + 60 * sin(0.5 * (Float(x) - u)) + 50 * cos(0.4 * (Float(y) - v))
                }
            }
            plane.repeatEdges(rows: 0..<height)
        }
        let (columns, rows) = (12, 8)
        let flow = allocator.make(2 * columns * rows, of: Float.self)
        let cells = allocator.make(16 * columns * rows, of: Float.self)
        let active = allocator.make(columns * rows, of: UInt8.self)
        active.update(repeating: 1, count: columns * rows)
        active[3 * columns + 5] = 0
        let last = allocator.make(2 * columns * rows, of: Float.self)
        let grain = allocator.make(columns * rows, of: Float.self)
        var search = ck_patch_search(
            level: ck_luma_level(
                now: planes[0].first, before: planes[1].first, stride: planes[0].stride,
                width: width, height: height),
            columns: columns, rows: rows, scale: 1, active: active, active_columns: columns,
            active_rows: rows, noise: 0.1, grain: grain, coarse: nil, coarse_columns: 0,
            coarse_rows: 0, last: last, flow: flow, cells: cells)
        for row in 0..<rows { try table(isa).search_patches(&search, row) }
        // Not where a patch sees the repeated edge.
        for row in 1..<rows - 2 {
            for column in 1..<columns - 2 {
                let index = row * columns + column
                let expected = active[index] == 0 ? (0, 0) : shift
                #expect(abs(flow[2 * index] - expected.0) < 0.1, "\(column) \(row)")
                #expect(abs(flow[2 * index + 1] - expected.1) < 0.1, "\(column) \(row)")
                if active[index] != 0 {
                    #expect((0..<16).allSatisfy { cells[16 * index + $0] < 5 })
                } else {
                    #expect((0..<16).contains { cells[16 * index + $0] > 10 })
                }
            }
        }
    }

    @Test("Vectors of squares are weighted means of four patches", arguments: sets)
    func spread(isa: ck_isa) throws {
        for (columns, rows) in [(2, 2), (5, 3), (8, 7)] {
            var noise = Noise(seed: UInt64(columns))
            var flow = noise.floats(2 * columns * rows).map { 10 * $0 }
            // Where no patch moves, nothing does.
            for index in 0..<2 * columns + 4 { flow[index] = 0 }
            let cells = noise.floats(16 * columns * rows).map { 4 * abs($0) }
            for row in 0..<2 * rows {
                var found = [Float](repeating: -7, count: 4 * columns + 1)
                try table(isa).spread_flow(flow, cells, columns, rows, row, 2 * columns, &found)
                var expected = [Float]()
                for i in 0..<2 * columns {
                    var (u, v, weights) = (Float(0), Float(0), Float(0))
                    for y in 0..<rows {
                        for x in 0..<columns {
                            // Patch x covers squares 2 x − 1 … 2 x + 2.
                            let (cellX, cellY) = (i - 2 * x + 1, row - 2 * y + 1)
                            guard (0..<4).contains(cellX), (0..<4).contains(cellY) else {
                                continue
                            }
                            let index = y * columns + x
                            let error = cells[16 * index + 4 * cellY + cellX]
                            let weight = 1 / (0.25 + error * error)
                            weights += weight
                            u += weight * flow[2 * index]
                            v += weight * flow[2 * index + 1]
                        }
                    }
                    expected += [2 * u / weights, 2 * v / weights]
                }
                #expect(isClose(found, expected + [-7], tolerance: 1e-4))
                if row == 0 { #expect(found[0] == 0 && found[1] == 0) }
            }
        }
    }

    @Test("Errors after the motion, inside and far outside of the picture", arguments: sets)
    func errors(isa: ck_isa) throws {
        let (columns, rows) = (5, 3)
        let allocator = StreamAllocator()
        var noise = Noise(seed: 3)
        let planes = (0..<2).map { _ in
            MarginPlane<UInt16>(width: 4 * columns, height: 4 * rows, in: allocator)
        }
        for plane in planes { random(plane) { UInt16(noise.below(255 * 64)) } }
        let (now, before) = (planes[0], planes[1])
        let flows: [(Float, Float)] = [
            (0, 0), (0.25, -0.5), (3.75, 2.5), (-64, 64), (64, -64), (-7.9, -11.2), (1, 0),
        ]
        func error(_ i: Int, _ row: Int, _ u: Float, _ v: Float) -> Float {
            var sum: Float = 0
            for y in 4 * row..<4 * row + 4 {
                for x in 4 * i..<4 * i + 4 {
                    let there = StreamReference.at(
                        Float(x) + u, Float(y) + v, width: 4 * columns, height: 4 * rows
                    ) { Float(before.row($1)[$0]) }
                    sum += abs(Float(now.row(y)[x]) - there)
                }
            }
            return sum / 16 / 64
        }
        for (index, flow) in flows.enumerated() {
            // Differences are about 85 levels: above the noise, or within it.
            let noise: Float = index % 2 == 0 ? 1 : 100
            for row in 0..<rows {
                var vectors = (0..<2 * columns).map { $0 % 2 == 0 ? flow.0 : flow.1 }
                vectors.append(-7)
                var drift = vectors
                var errors = [Float](repeating: -7, count: columns + 1)
                try table(isa).square_errors(
                    now.first, before.first, now.stride, columns, rows, row, noise, &vectors,
                    &drift, &errors)
                for i in 0..<columns {
                    let (still, moved) = (error(i, row, 0, 0), error(i, row, flow.0, flow.1))
                    let isBelieved = moved < (still > 1.5 * noise ? 1 : 0.75) * still
                    #expect(abs(errors[i] - (isBelieved ? moved : still)) < 1e-3 * still)
                    #expect(vectors[2 * i] == (isBelieved ? flow.0 : 0))
                    #expect(vectors[2 * i + 1] == (isBelieved ? flow.1 : 0))
                    #expect(drift[2 * i] == (moved < still ? flow.0 : 0))
                    #expect(drift[2 * i + 1] == (moved < still ? flow.1 : 0))
                }
                #expect(vectors[2 * columns] == -7 && errors[columns] == -7)
                #expect(drift[2 * columns] == -7)
            }
        }
    }
}

/// Change of an anchor for each pixel, from square to square.
private func anchorSlope(_ a: Float, _ b: Float, _ c: Float) -> Float {
    let (before, after) = (b - a, c - b)
    let least = abs(before) < abs(after) ? before : after
    return before * after > 0 && (0.2...2).contains(abs(least)) ? least / 4 : 0
}

/// The kernels that work on a stream's past.
struct StreamPastKernelTests {
    /// A past of random numbers.
    private final class Past {
        let columns = 6
        let rows = 5
        let allocator = StreamAllocator()
        let planes: [MarginPlane<UInt16>]
        let state: UnsafeMutablePointer<Float>
        let anchor: UnsafeMutablePointer<Float>
        let source: UnsafeMutablePointer<UInt32>
        let texels: [UInt8]
        var noise = Noise(seed: 9)

        init() {
            planes = MarginPlane.planes(
                3, width: 4 * columns, height: 4 * rows, in: allocator)
            let squares = columns * rows
            state = allocator.make(16 * squares, of: Float.self)
            anchor = allocator.make(2 * squares, of: Float.self)
            let (size, stride) = (Int(CK_SOURCE), Int(CK_SOURCE_STRIDE))
            source = allocator.make(stride * stride, of: UInt32.self)
            var noise = Noise(seed: 8)
            texels = noise.bytes(3 * size * size)
            for y in 0..<stride {
                for x in 0..<stride {
                    for plane in 0..<3 {
                        let texel = texels[(plane * size + y % size) * size + x % size]
                        source[y * stride + x] |= UInt32(texel) << (8 * plane)
                    }
                }
            }
            for plane in planes {
                for y in 0..<plane.height {
                    for x in 0..<plane.width { plane.row(y)[x] = UInt16(noise.below(65536)) }
                }
                plane.repeatEdges(rows: 0..<plane.height)
            }
            for index in 0..<squares {
                for lane in 0..<15 { state[16 * index + lane] = noise.float() }
                for axis in 0..<2 { anchor[2 * index + axis] = 300 * noise.float() }
            }
            self.noise = noise
        }

        var kernelView: ck_stream_past {
            ck_stream_past(
                columns: columns, rows: rows, past: planes[0].first,
                past_stride: planes[0].stride, plane_stride: planes[1].first - planes[0].first,
                state: state, anchor: anchor, source: source, offset_x: 197, offset_y: 359)
        }

        /// Where the texture of a square that drifted is now.
        func drifted(
            _ i: Int, _ row: Int, _ drift: (Float, Float), _ phase: Float, _ axis: Int
        ) -> Float {
            let (x, y) = (drift.0 / 4, drift.1 / 4)
            let column = min(max(i + Int(floor(x + phase)), 0), columns - 1)
            let line = min(max(row + Int(floor(y + phase)), 0), rows - 1)
            func at(_ x: Int, _ y: Int) -> Float {
                anchor[
                    2 * (min(max(y, 0), rows - 1) * columns + min(max(x, 0), columns - 1)) + axis]
            }
            let here = at(column, line)
            let across = anchorSlope(at(column - 1, line), here, at(column + 1, line))
            let down = anchorSlope(at(column, line - 1), here, at(column, line + 1))
            return here + (axis == 0 ? drift.0 : drift.1) + 4 * (x - Float(column - i)) * across
                + 4 * (y - Float(line - row)) * down
        }

        func flows() -> [Float] {
            let some: [Float] = [0, 0.5, -0.25, 3.7, -9.3, 17, 64, -64]
            return (0..<2 * columns).map { _ in some[noise.below(some.count)] }
        }
    }

    @Test(
        "Trust, and anchors that travel", arguments: StreamKernelTests.sets,
        [0, 0.5, 0.875] as [Float])
    func trust(isa: ck_isa, phase: Float) throws {
        let past = Past()
        // Half of the squares lie on a turned surface.
        for index in 0..<past.columns * past.rows where index % past.columns > 2 {
            past.anchor[2 * index] = 0.7 * Float(index % past.columns)
            past.anchor[2 * index + 1] = -0.6 * Float(index / past.columns)
        }
        let table = try #require(ck_stream_kernels_for(isa)).pointee
        for row in 0..<past.rows {
            for _ in 0..<8 {
                let flow = past.flows()
                let errors = (0..<past.columns).map { _ in 10 * abs(past.noise.float()) }
                let around = (0..<past.columns).map { _ in 7 * abs(past.noise.float()) }
                var trust = [Float](repeating: -7, count: past.columns + 1)
                var anchor = [Float](repeating: -7, count: 2 * past.columns + 1)
                var view = past.kernelView
                let drift = past.flows()
                let noise: (Float, Float) = (1.4, 1.1)
                table.trust_squares(
                    &view, row, flow, drift, errors, 1 / (2.5 * noise.0), around,
                    1 / (2.5 * noise.1), 1, phase, &trust, &anchor)
                for i in 0..<past.columns {
                    let x = Float(4 * i) + 1.5 + flow[2 * i]
                    let y = Float(4 * row) + 1.5 + flow[2 * i + 1]
                    let isInside =
                        x >= 0 && x <= Float(4 * past.columns - 1) && y >= 0
                        && y <= Float(4 * past.rows - 1)
                    let error = max(errors[i] / noise.0, around[i] / noise.1)
                    let alike = min(max(1 - (error / 2.5 - 1) / 2, 0), 1)
                    let most = StreamReference.trust(alike: alike, flow[2 * i], flow[2 * i + 1])
                    #expect(abs(trust[i] - (isInside ? most : 0)) < 1e-5)
                    let isCarried = isInside && alike > 0
                    let vector = (drift[2 * i], drift[2 * i + 1])
                    for axis in 0..<2 {
                        let moved = past.drifted(i, row, vector, phase, axis)
                        let found = anchor[2 * i + axis]
                        #expect(abs(found - (isCarried ? moved : 0)) < 1e-3)
                        if vector == (0, 0) && isCarried { #expect(found == moved) }
                    }
                }
                #expect(trust[past.columns] == -7 && anchor[2 * past.columns] == -7)
            }
        }
    }

    @Test("Torn anchors are mended", arguments: StreamKernelTests.sets)
    func mend(isa: ck_isa) throws {
        let table = try #require(ck_stream_kernels_for(isa)).pointee
        for (columns, rows) in [(2, 2), (4, 5), (30, 9)] {
            var noise = Noise(seed: UInt64(columns))
            // Two surfaces, the grid, and some squares that belong to nothing.
            var field = (0..<2 * columns * rows).map { index -> Float in
                let (x, y) = (index / 2 % columns, index / 2 / columns)
                return y < 5 ? 0 : x % 12 < 6 ? 20 + 0.4 * Float(x) : -7
            }
            for _ in 0..<columns * rows / 6 { field[noise.below(field.count)] += 30 }
            func near(_ x: Int, _ y: Int) -> [(Float, Float)] {
                (0..<9).map { k in
                    let column = min(max(x + k % 3 - 1, 0), columns - 1)
                    let row = min(max(y + k / 3 - 1, 0), rows - 1)
                    let at = 2 * (row * columns + column)
                    return (field[at], field[at + 1])
                }
            }
            func hasSupport(_ nine: [(Float, Float)], _ value: (Float, Float)) -> Bool {
                nine.indices.count {
                    $0 != 4 && abs(nine[$0].0 - value.0) < 1 && abs(nine[$0].1 - value.1) < 1
                } >= 3
            }
            for y in 0..<rows {
                var mended = [Float](repeating: -7, count: 2 * columns + 1)
                table.mend_anchors(field, columns, rows, y, &mended)
                for x in 0..<columns {
                    let nine = near(x, y)
                    let median = (nine.map(\.0).sorted()[4], nine.map(\.1).sorted()[4])
                    let expected =
                        hasSupport(nine, nine[4])
                        ? nine[4] : hasSupport(nine, median) ? median : (0, 0)
                    #expect(mended[2 * x] == expected.0 && mended[2 * x + 1] == expected.1)
                }
                #expect(mended[2 * columns] == -7)
            }
        }
    }

    @Test("Without a past there is no trust", arguments: StreamKernelTests.sets)
    func noTrust(isa: ck_isa) throws {
        let past = Past()
        var view = past.kernelView
        var trust = [Float](repeating: -7, count: past.columns)
        var anchor = [Float](repeating: -7, count: 2 * past.columns)
        let zeros = [Float](repeating: 0, count: 2 * past.columns)
        try #require(ck_stream_kernels_for(isa)).pointee.trust_squares(
            &view, 0, zeros, zeros, zeros, 1, zeros, 1, 0, 0, &trust, &anchor)
        #expect(trust.allSatisfy { $0 == 0 } && anchor.allSatisfy { $0 == 0 })
    }

    /// Fields of anchors: nothing moved, one shift, a turned surface, and tears.
    enum Field: CaseIterable { case grid, shifted, turned, torn }

    @Test("The start", arguments: StreamKernelTests.sets, Field.allCases)
    func start(isa: ck_isa, field: Field) throws {
        let past = Past()
        let table = try #require(ck_stream_kernels_for(isa)).pointee
        let (columns, rows) = (past.columns, past.rows)
        let anchor = (0..<2 * columns * rows).map { index -> Float in
            let (x, y) = (Float(index / 2 % columns), Float(index / 2 / columns))
            switch field {
            case .grid: return 0
            case .shifted: return index % 2 == 0 ? -700.25 : 1030.5
            case .turned:
                return index % 2 == 0 ? 10 + 0.3 * x - 0.6 * y : -20 + 0.6 * x + 0.3 * y
            case .torn: return past.anchor[index]
            }
        }
        for row in 0..<rows {
            let flow = past.flows()
            let trust = (0..<columns).map { $0 % 3 == 1 ? 0 : 0.95 * abs(past.noise.float()) }
            let blockStride = 16 * columns + 16
            var input = [Float](repeating: -7, count: 7 * blockStride)
            var aligned = [UInt16](repeating: 7, count: 48 * columns)
            var view = past.kernelView
            let (temporal, trustMax): (Float, Float) = (0.8, 0.7)
            let light = (0..<16).map { $0 == 15 ? 0 : 0.01 * Float($0) }
            anchor.withUnsafeBufferPointer {
                guard let base = $0.baseAddress else { return }
                table.start_squares(
                    &view, row, flow, trust, temporal, trustMax, light, base + 2 * row * columns,
                    &aligned, &input, blockStride)
            }
            func displacement(_ column: Int, _ row: Int, _ axis: Int) -> Float {
                let x = min(max(column, 0), columns - 1)
                let y = min(max(row, 0), rows - 1)
                return anchor[2 * (y * columns + x) + axis]
            }
            for i in 0..<columns {
                let (u, v, tau) = (flow[2 * i], flow[2 * i + 1], trustMax * temporal * trust[i])
                for pixel in 0..<16 {
                    let (dx, dy) = (Float(pixel % 4), Float(pixel / 4))
                    var place: [Float] = [Float(4 * i) + dx + 197, Float(4 * row) + dy + 359]
                    for axis in 0..<2 {
                        let here = displacement(i, row, axis)
                        let across = anchorSlope(
                            displacement(i - 1, row, axis), here, displacement(i + 1, row, axis))
                        let down = anchorSlope(
                            displacement(i, row - 1, axis), here, displacement(i, row + 1, axis))
                        place[axis] += here + (dx - 1.5) * across + (dy - 1.5) * down
                    }
                    for colour in 0..<3 {
                        let source =
                            StreamReference.periodic(place[0], place[1]) {
                                Float(past.texels[(colour * 512 + $1) * 512 + $0])
                            } / 255
                        let plane = past.planes[colour]
                        let before =
                            StreamReference.at(
                                Float(4 * i) + dx + u, Float(4 * row) + dy + v,
                                width: plane.width, height: plane.height
                            ) { Float(plane.row($1)[$0]) } / 65535
                        let expected = tau > 0 ? (1 - tau) * source + tau * before : source
                        let found = input[colour * blockStride + 16 * i + pixel]
                        // 700 pixels off, f32 knows coordinates to 6e-5.
                        #expect(abs(found - expected) < 3e-4, "\(i) \(row) \(pixel) \(u) \(v)")
                        let kept = aligned[48 * i + 16 * colour + pixel]
                        if tau > 0 {
                            #expect(abs(Float(kept) / 65535 - before) < 2e-5)
                        } else {
                            #expect(kept == 7)
                        }
                        if tau > 0 && u == 0 && v == 0 {
                            let own = plane.row(4 * row + pixel / 4)[4 * i + pixel % 4]
                            #expect(kept == own)
                        }
                    }
                    let state = StreamReference.at(
                        Float(i) + u / 4, Float(row) + v / 4, width: columns, height: rows
                    ) { past.state[16 * ($1 * columns + $0) + pixel] }
                    let carried = tau > 0 ? temporal * trust[i] * state : 0
                    let expected = pixel == 15 ? max(tau, 0) : light[pixel] + carried
                    #expect(abs(input[6 * blockStride + 16 * i + pixel] - expected) < 1e-5)
                }
            }
            // The frame's blocks, and what lies beside, stay.
            #expect(input[3 * blockStride..<6 * blockStride].allSatisfy { $0 == -7 })
            #expect((0..<7).allSatisfy { input[$0 * blockStride + 16 * columns] == -7 })
        }
    }

    /// A row of a network's result and what goes with it.
    private struct Row {
        let count = 5
        let stride: Int
        let rgbStride: Int
        var result: [Float]
        let rgb: [UInt8]
        let aligned: [UInt16]
        let trust: [Float]

        init() {
            stride = 16 * count + 16
            rgbStride = 12 * count + 1
            var noise = Noise(seed: 21)
            result = noise.floats(5 * stride).map { 2 * $0 }
            rgb = noise.bytes(4 * rgbStride)
            aligned = (0..<48 * count).map { _ in UInt16(noise.below(65536)) }
            trust = [0.9, 0, 0.3, 1e-3, 0]
        }

        func frame(_ i: Int, _ lane: Int, _ colour: Int) -> Float {
            Float(rgb[lane / 4 * rgbStride + 3 * (4 * i + lane % 4) + colour]) / 255
        }

        var squares: [(i: Int, lane: Int, colour: Int)] {
            (0..<count).flatMap { i in
                (0..<16).flatMap { lane in (0..<3).map { (i, lane, $0) } }
            }
        }

        func kept(_ i: Int, _ lane: Int) -> Float {
            trust[i] * StreamReference.sigmoid(result[3 * stride + 16 * i + lane])
        }

        func end(_ i: Int, _ lane: Int, _ colour: Int) -> Float {
            let end = frame(i, lane, colour) + result[colour * stride + 16 * i + lane]
            guard trust[i] > 0 else { return end }
            return end + kept(i, lane) * (Float(aligned[48 * i + 16 * colour + lane]) / 65535 - end)
        }

        func expectState(_ state: [Float]) {
            for i in 0..<count {
                for lane in 0..<16 {
                    let expected = lane == 15 ? 0 : tanh(result[4 * stride + 16 * i + lane])
                    #expect(abs(state[16 * i + lane] - expected) < 1e-5)
                }
            }
            #expect(state[16 * count] == -7)
        }
    }

    @Test("A step that is not the last", arguments: StreamKernelTests.sets, [true, false])
    func advance(isa: ck_isa, isFirst: Bool) throws {
        let row = Row()
        let table = try #require(ck_stream_kernels_for(isa)).pointee
        var noise = Noise(seed: 22)
        let before = noise.floats(7 * row.stride).map { abs($0) }
        let old = (0...48 * row.count).map { _ in UInt16(noise.below(65536)) }
        for (share, part) in [(0.25, 0.25), (0.5, 0.2)] as [(Float, Float)] {
            var (input, start) = (before, old)
            var kept = [Float](repeating: 0.5, count: row.count)
            var state = [Float](repeating: -7, count: 16 * row.count + 1)
            let bad = table.advance_squares(
                row.result, row.stride, row.rgb, row.rgbStride, row.aligned, row.trust, 1,
                row.count, share, part, &state, &input, row.stride, &start, &kept, isFirst ? 1 : 0)
            #expect(bad == 0)
            for i in 0..<row.count {
                let mean = (0..<16).reduce(isFirst ? 0 : 0.5) { $0 + row.kept(i, $1) / 16 }
                #expect(abs(kept[i] - mean) < 1e-5)
            }
            row.expectState(state)
            var expected = before
            for (i, lane, colour) in row.squares {
                let at = colour * row.stride + 16 * i + lane
                let begin = Float(start[48 * i + 16 * colour + lane]) / 65535
                if isFirst { #expect(abs(begin - min(before[at], 1)) < 2e-5) }
                expected[at] += part * (row.end(i, lane, colour) - begin)
                let tau = 6 * row.stride + 16 * i + 15
                expected[tau] = before[tau] + share * (1 - before[tau])
            }
            #expect(isClose(input, expected, tolerance: 1e-5))
            #expect(isFirst || start == old)
            #expect(start.last == old.last)
        }
        // Without a place for the state, there is none.
        var (input, start) = (before, old)
        var kept = [Float](repeating: 0, count: row.count)
        #expect(
            table.advance_squares(
                row.result, row.stride, row.rgb, row.rgbStride, row.aligned, row.trust, 1,
                row.count, 0.5, 0.5, nil, &input, row.stride, &start, &kept, 1) == 0)
    }

    @Test(
        "Of several steps the picture is the mean of their ends",
        arguments: StreamKernelTests.sets)
    func meanEnd(isa: ck_isa) throws {
        let row = Row()
        let table = try #require(ck_stream_kernels_for(isa)).pointee
        var noise = Noise(seed: 24)
        let start = (0..<48 * row.count).map { _ in UInt16(noise.below(65536)) }
        // Of four ends the first three are `earlier`.
        let earlier = (0..<3).map { _ in noise.floats(3 * row.stride) }
        var z = [Float](repeating: 0, count: 3 * row.stride)
        for (i, lane, colour) in row.squares {
            let at = colour * row.stride + 16 * i + lane
            let begin = Float(start[48 * i + 16 * colour + lane]) / 65535
            z[at] = earlier.reduce(begin) { $0 + ($1[at] - begin) / 4 }
        }
        var result = row.result
        let means = noise.floats(8 * row.count)
        let before = means.map { $0 + 1 }
        let keptEarlier = (0..<row.count).map { 0.3 * Float($0) }
        var past = [UInt16](repeating: 0, count: 48 * row.count)
        var basis = [Float](repeating: 0, count: 8 * row.count)
        let bad = start.withUnsafeBufferPointer { start in
            z.withUnsafeBufferPointer { z in
                keptEarlier.withUnsafeBufferPointer { kept in
                    var way = ck_stream_way(
                        start: start.baseAddress, kept: kept.baseAddress, z: z.baseAddress,
                        block_stride: row.stride, part: 0.25)
                    return table.end_squares(
                        &result, row.stride, row.rgb, row.rgbStride, row.aligned, row.trust, 1,
                        row.count, nil, &past, 4 * row.count, 16 * row.count, means, before,
                        &basis, &way)
                }
            }
        }
        #expect(bad == 0)
        for i in 0..<row.count {
            let kept = (0..<16).reduce(keptEarlier[i]) { $0 + row.kept(i, $1) / 16 } / 4
            #expect(abs(basis[8 * i + 3] - means[8 * i + 3] - kept) < 1e-5)
        }
        for (i, lane, colour) in row.squares {
            let at = colour * row.stride + 16 * i + lane
            let sum = earlier.reduce(row.end(i, lane, colour)) { $0 + $1[at] }
            let expected = min(max(sum / 4, 0), 1) - row.frame(i, lane, colour)
            #expect(abs(result[at] - expected) < 2e-5)
        }
    }

    @Test("The end", arguments: StreamKernelTests.sets)
    func end(isa: ck_isa) throws {
        let row = Row()
        let table = try #require(ck_stream_kernels_for(isa)).pointee
        var result = row.result
        var state = [Float](repeating: -7, count: 16 * row.count + 1)
        let (stride, planeStride) = (4 * row.count + 3, 4 * (4 * row.count + 3) + 5)
        var past = [UInt16](repeating: 7, count: 3 * planeStride)
        var noise = Noise(seed: 5)
        let means = noise.floats(8 * row.count).map { 200 * $0 }
        // Of what is not trusted nothing is read.
        let before = (0..<8 * row.count).map { row.trust[$0 / 8] > 0 ? Float($0) : .nan }
        var basis = [Float](repeating: -7, count: 8 * row.count + 1)
        let bad = table.end_squares(
            &result, row.stride, row.rgb, row.rgbStride, row.aligned, row.trust, 1, row.count,
            &state, &past, stride, planeStride, means, before, &basis, nil)
        #expect(bad == 0)
        row.expectState(state)
        for i in 0..<row.count {
            for lane in 0..<16 {
                for colour in 0..<3 {
                    let end = min(max(row.end(i, lane, colour), 0), 1)
                    let kept =
                        past[
                            colour * planeStride + lane / 4 * stride + 4 * i + lane % 4]
                    #expect(abs(Float(kept) - 65535 * end) < 1.5)
                    let change = result[colour * row.stride + 16 * i + lane]
                    #expect(abs(change - (end - row.frame(i, lane, colour))) < 1e-5)
                }
            }
        }
        for i in 0..<row.count {
            let kept = (0..<16).reduce(0) { $0 + row.kept(i, $1) / 16 }
            for part in 8 * i..<8 * i + 8 {
                let expected =
                    kept > 0 ? means[part] + kept * (before[part] - means[part]) : means[part]
                #expect(abs(basis[part] - expected) < 1e-3)
            }
        }
        #expect(basis[8 * row.count] == -7)
        #expect(past[4 * row.count] == 7)
        #expect(result.dropFirst(3 * row.stride) == row.result.dropFirst(3 * row.stride))
    }

    @Test("NaN and infinity anywhere in the result are seen", arguments: StreamKernelTests.sets)
    func notFinite(isa: ck_isa) throws {
        let row = Row()
        let table = try #require(ck_stream_kernels_for(isa)).pointee
        for value: Float in [.nan, -.nan, .infinity, -.infinity] {
            for block in 0..<5 {
                for place in [0, 7, 31, 64, 79] {
                    var result = row.result
                    result[block * row.stride + place] = value
                    var input = [Float](repeating: 0, count: 7 * row.stride)
                    var start = [UInt16](repeating: 0, count: 48 * row.count)
                    var kept = [Float](repeating: 0, count: row.count)
                    #expect(
                        table.advance_squares(
                            result, row.stride, row.rgb, row.rgbStride, row.aligned, row.trust,
                            1, row.count, 0.5, 0.5, nil, &input, row.stride, &start, &kept, 1) != 0)
                    var past = [UInt16](repeating: 0, count: 48 * row.count)
                    let means = [Float](repeating: 0, count: 8 * row.count)
                    var basis = means
                    #expect(
                        table.end_squares(
                            &result, row.stride, row.rgb, row.rgbStride, row.aligned, row.trust,
                            1, row.count, nil, &past, 4 * row.count, 16 * row.count, means, means,
                            &basis, nil) != 0)
                }
            }
        }
    }
}
