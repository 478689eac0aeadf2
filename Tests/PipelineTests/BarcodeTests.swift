import Foundation
import Testing
import Video

@testable import Pipeline

@Suite struct BarcodeTests {
    static let sizes = [
        (96, 72), (128, 80), (319, 200), (320, 180), (641, 363),
    ]
    static let few: [UInt32] = [0x5a_0f33, 1_234_567]
    static let values: [UInt32] = [0, 1, 2, 0x5555_55, 0xaaaa_aa, 0xfe_dcba, 0xff_ffff, 1_234_567]

    @Test(arguments: sizes) func `what is drawn is read`(width: Int, height: Int) {
        for value in Self.values {
            #expect(Barcode.read(drawn(value, width, height)) == value)
        }
    }

    @Test func `numbers wrap at 24 bits`() {
        #expect(Barcode.read(drawn(0x0100_0005, 128, 80)) == 5)
    }

    @Test(arguments: sizes) func `noise, blur, contrast and brightness do not hurt`(
        width: Int, height: Int
    ) {
        for (index, value) in Self.few.enumerated() {
            let picture = drawn(value, width, height)
            blur(picture)
            change(picture) { 40 + $0 * 2 / 5 }
            addNoise(picture, amplitude: 25, seed: UInt64(index))
            #expect(Barcode.read(picture) == value)
        }
    }

    @Test func `a gradient across the picture does not hurt`() {
        let picture = drawn(0x00_ff0f, 640, 360)
        for y in 0..<360 {
            for x in 0..<640 * 3 {
                let pixel = picture.plane(0) + y * 640 * 3 + x
                // Black is 0 on the left and 120 on the right; white 130 and 250.
                pixel.pointee = UInt8(Int(pixel.pointee) * 130 / 255 + 120 * x / (640 * 3))
            }
        }
        #expect(Barcode.read(picture) == 0x00_ff0f)
    }

    @Test(arguments: sizes) func `coarse quantisation in 8×8 squares does not hurt`(
        width: Int, height: Int
    ) {
        for value in Self.few {
            let picture = drawn(value, width, height)
            quantise(picture, step: 70)
            #expect(Barcode.read(picture) == value)
        }
    }

    @Test(arguments: [0.5, 0.75, 1.5, 2.0, 2.37]) func `scaling does not hurt`(factor: Double) {
        for (width, height) in Self.sizes where Double(width) * factor >= 128 {
            for value in Self.few {
                let picture = scaled(
                    drawn(value, width, height), Int(Double(width) * factor),
                    Int(Double(height) * factor))
                #expect(Barcode.read(picture) == value, "\(width)×\(height) by \(factor)")
            }
        }
    }

    @Test func `black bars around a scaled picture do not hurt`() {
        for value in Self.few {
            let small = drawn(value, 128, 80)
            #expect(Barcode.read(padded(scaled(small, 256, 160), 256, 256, x: 0, y: 48)) == value)
            #expect(Barcode.read(padded(scaled(small, 256, 160), 384, 160, x: 64, y: 0)) == value)
            let large = drawn(value, 640, 360)
            #expect(Barcode.read(padded(scaled(large, 480, 270), 500, 301, x: 7, y: 19)) == value)
        }
    }

    @Test func `pictures too small for a strip get none and read as none`() {
        for (width, height) in [(95, 400), (16, 16), (1, 1), (128, 30), (640, 60)] {
            let frame = FrameBuffer(format: rgb(width, height))
            Barcode.draw(77, into: frame)
            #expect(Barcode.stripHeight(width: width, height: height) == 0)
            #expect(frame.bytes.allSatisfy { $0 == 0 })
            #expect(Barcode.read(frame) == nil)
        }
    }

    @Test func `drawing touches nothing above the strip`() {
        let frame = FrameBuffer(format: rgb(200, 120))
        Barcode.draw(0xff_ffff, into: frame)
        let strip = Barcode.stripHeight(width: 200, height: 120)
        #expect(frame.bytes[..<((120 - strip) * 600)].allSatisfy { $0 == 0 })
        #expect(frame.bytes[((120 - strip) * 600)...].prefix(600).allSatisfy { $0 == 255 })
    }

    @Test func `blank pictures read as none`() {
        for shade in [0, 1, 127, 254, 255] as [UInt8] {
            let frame = FrameBuffer(format: rgb(128, 80))
            frame.bytes.initializeMemory(as: UInt8.self, repeating: shade)
            #expect(Barcode.read(frame) == nil)
        }
    }

    @Test func `any one or two wrong blocks are noticed`() {
        let blocks = 2 * 22
        for first in 0..<blocks {
            for second in first..<blocks {
                let frame = drawn(0x12_3456, 176, 60)
                invert(frame, block: first)
                if second != first { invert(frame, block: second) }
                #expect(Barcode.read(frame) == nil)
            }
        }
    }

    @Test func `CRC-8 is the one of the specification`() {
        // x⁸ + x² + x + 1 with initial value FF is divisible by its own remainder.
        #expect(Barcode.crc8(0) == reference(0))
        for value in Self.values { #expect(Barcode.crc8(value) == reference(value)) }
    }

    /// Bit by bit, as a division of polynomials.
    private func reference(_ value: UInt32) -> UInt8 {
        // An initial value of FF inverts the first eight bits of the message.
        var rest = (UInt64(value & 0xff_ffff) ^ 0xff_0000) << 8
        for bit in stride(from: 31, through: 8, by: -1) where rest & (1 << UInt64(bit)) != 0 {
            rest ^= 0x107 << UInt64(bit - 8)
        }
        return UInt8(rest)
    }

    @Test func `random pictures read as none`() {
        var random = Generator(seed: 1)
        let frame = FrameBuffer(format: rgb(96, 40))
        var found = 0
        for _ in 0..<10_000 {
            frame.bytes.withMemoryRebound(to: UInt64.self) { words in
                for index in words.indices { words[index] = random.next() }
            }
            found += Barcode.read(frame) == nil ? 0 : 1
        }
        // One in 65,000 of those whose blocks differ enough at all.
        #expect(found <= 2)
    }

    @Test func `strips of random blocks pass as often as sync, border and CRC allow`() {
        var random = Generator(seed: 2)
        let frame = FrameBuffer(format: rgb(176, 54))
        var found = 0
        for _ in 0..<10_000 {
            frame.bytes.initializeMemory(as: UInt8.self, repeating: 255)
            for block in 0..<44 where random.next() & 1 != 0 { invert(frame, block: block) }
            found += Barcode.read(frame) == nil ? 0 : 1
        }
        // 8 bits of sync, 4 of border and 8 of CRC: one in a million.
        #expect(found <= 1)
    }

    @Test func `with sync and border right, the CRC lets one in 256 pass`() {
        var random = Generator(seed: 3)
        var found = 0
        for _ in 0..<10_000 {
            let frame = drawn(0, 176, 54)
            for row in 0..<2 {
                for column in 3..<19 where random.next() & 1 != 0 {
                    invert(frame, block: row * 22 + column)
                }
            }
            found += Barcode.read(frame) == nil ? 0 : 1
        }
        // 39 expected, standard deviation 6.
        #expect(found > 5)
        #expect(found < 80)
    }

    static let python = ["/usr/bin/python3", "/usr/local/bin/python3"].first {
        FileManager.default.isExecutableFile(atPath: $0)
    }

    @Test(.enabled(if: python != nil, "needs python3")) func `the Python reader agrees`() throws {
        var pictures: [FrameBuffer] = []
        for (index, value) in Self.values.enumerated() {
            let clean = drawn(value, 128, 80)
            let rough = drawn(value, 128, 80)
            blur(rough)
            addNoise(rough, amplitude: 60, seed: UInt64(index))
            let wrong = drawn(value, 128, 80)
            // Too hard for some: both readers have to fail on the same ones.
            for _ in 0..<3 { blur(wrong) }
            addNoise(wrong, amplitude: 250, seed: UInt64(index))
            let oneRow = scaled(drawn(value, 640, 400), 128, 80)
            let barred = padded(scaled(drawn(value, 320, 180), 100, 56), 128, 80, x: 11, y: 9)
            pictures += [clean, rough, wrong, oneRow, barred]
        }
        let expected = pictures.map { Barcode.read($0).map(String.init) ?? "-" }
        #expect(expected.contains("-"))
        #expect(Set(expected).isSuperset(of: Self.values.map(String.init)))
        #expect(try runPython(pictures, 128, 80) == expected)
    }

    private func runPython(_ pictures: [FrameBuffer], _ width: Int, _ height: Int) throws
        -> [String]
    {
        let file = FileManager.default.temporaryDirectory
            .appendingPathComponent("barcode-\(UUID().uuidString).rgb")
        defer { try? FileManager.default.removeItem(at: file) }
        try pictures.reduce(into: Data()) { $0.append(contentsOf: Array($1.bytes)) }.write(to: file)
        let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().appendingPathComponent("VM/barcode.py")
        let process = Process()
        process.executableURL = URL(fileURLWithPath: try #require(Self.python))
        process.arguments = [script.path, String(width), String(height)]
        process.standardInput = try FileHandle(forReadingFrom: file)
        let output = Pipe()
        process.standardOutput = output
        try process.run()
        let data = output.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
        return String(decoding: data, as: UTF8.self).split(separator: "\n").map(String.init)
    }
}

// MARK: - Pictures

private func rgb(_ width: Int, _ height: Int) -> VideoFormat {
    VideoFormat(pixelFormat: .rgb24, width: width, height: height, frameRate: FrameRate(30))
}

/// A number on a textured picture.
private func drawn(_ value: UInt32, _ width: Int, _ height: Int) -> FrameBuffer {
    let frame = FrameBuffer(format: rgb(width, height))
    for y in 0..<height {
        for x in 0..<3 * width { frame.bytes[y * 3 * width + x] = UInt8((x * 5 ^ y * 3) & 255) }
    }
    Barcode.draw(value, into: frame)
    return frame
}

/// Inverts a block of the two-row layout where width is 176: blocks are then 8 pixels wide, 6 high,
/// and the quiet border has 3 rows.
private func invert(_ frame: FrameBuffer, block: Int) {
    let (row, column) = (block / 22, block % 22)
    let top = frame.format.height - 15 + 6 * row
    for y in top..<top + 6 {
        for x in 24 * column..<24 * column + 24 {
            let index = y * frame.strides[0] + x
            frame.bytes[index] = 255 - frame.bytes[index]
        }
    }
}

private struct Generator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 1
        return scramble(state &* 0x1234_5678_9abc_def1)
    }
}

private func change(_ frame: FrameBuffer, _ map: (Int) -> Int) {
    for index in frame.bytes.indices {
        frame.bytes[index] = UInt8(max(0, min(255, map(Int(frame.bytes[index])))))
    }
}

private func addNoise(_ frame: FrameBuffer, amplitude: Int, seed: UInt64) {
    var random = Generator(seed: seed &+ 99)
    change(frame) { $0 + Int(random.next() % UInt64(2 * amplitude + 1)) - amplitude }
}

/// 3×3 mean.
private func blur(_ frame: FrameBuffer) {
    let (width, height) = (frame.format.width, frame.format.height)
    let source = Array(frame.bytes)
    for y in 0..<height {
        for x in 0..<3 * width {
            var sum = 0
            for dy in -1...1 {
                let row = max(0, min(height - 1, y + dy)) * 3 * width
                for dx in -1...1 {
                    let column = x + 3 * dx
                    sum += Int(source[row + (column < 0 || column >= 3 * width ? x : column)])
                }
            }
            frame.bytes[y * 3 * width + x] = UInt8(sum / 9)
        }
    }
}

/// Each 8×8 square keeps its mean; what differs from it is rounded to multiples of `step`.
private func quantise(_ frame: FrameBuffer, step: Int) {
    let (width, height) = (frame.format.width, frame.format.height)
    for top in stride(from: 0, to: height, by: 8) {
        for left in stride(from: 0, to: width, by: 8) {
            for channel in 0..<3 {
                var indices: [Int] = []
                for y in top..<min(top + 8, height) {
                    for x in left..<min(left + 8, width) {
                        indices.append((y * width + x) * 3 + channel)
                    }
                }
                let mean = indices.reduce(0) { $0 + Int(frame.bytes[$1]) } / indices.count
                for index in indices {
                    let rest = Double(Int(frame.bytes[index]) - mean) / Double(step)
                    let value = mean + Int(rest.rounded()) * step
                    frame.bytes[index] = UInt8(max(0, min(255, value)))
                }
            }
        }
    }
}

/// Bilinear up, area mean down.
private func scaled(_ frame: FrameBuffer, _ width: Int, _ height: Int) -> FrameBuffer {
    let (oldWidth, oldHeight) = (frame.format.width, frame.format.height)
    let result = FrameBuffer(format: rgb(width, height))
    let (stepX, stepY) = (
        Double(oldWidth) / Double(width), Double(oldHeight) / Double(height)
    )
    // Samples an output pixel in each direction.
    let taps = 2
    for y in 0..<height {
        for x in 0..<width {
            var sum = (0.0, 0.0, 0.0)
            for tap in 0..<taps * taps {
                let u = (Double(x) + (Double(tap % taps) + 0.5) / Double(taps)) * stepX
                let v = (Double(y) + (Double(tap / taps) + 0.5) / Double(taps)) * stepY
                let source = (Int(v) * oldWidth + Int(u)) * 3
                sum.0 += Double(frame.bytes[source])
                sum.1 += Double(frame.bytes[source + 1])
                sum.2 += Double(frame.bytes[source + 2])
            }
            let target = (y * width + x) * 3
            result.bytes[target] = UInt8(sum.0 / Double(taps * taps))
            result.bytes[target + 1] = UInt8(sum.1 / Double(taps * taps))
            result.bytes[target + 2] = UInt8(sum.2 / Double(taps * taps))
        }
    }
    return result
}

/// On a black ground, a little noisy as codecs leave it.
private func padded(_ frame: FrameBuffer, _ width: Int, _ height: Int, x x0: Int, y y0: Int)
    -> FrameBuffer
{
    let result = FrameBuffer(format: rgb(width, height))
    for index in result.bytes.indices { result.bytes[index] = UInt8(index * 7 % 23) }
    for y in 0..<frame.format.height {
        for x in 0..<3 * frame.format.width {
            result.bytes[(y + y0) * 3 * width + 3 * x0 + x] =
                frame.bytes[y * 3 * frame.format.width + x]
        }
    }
    return result
}
