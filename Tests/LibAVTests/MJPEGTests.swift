import Foundation
import LibAV
import Testing
import Video

@Suite struct MJPEGTests {
    private func jpeg(_ picture: FrameBuffer, quantizer: Int = 2) throws -> FrameBuffer {
        let coded = FrameBuffer(
            format: format(.mjpeg, picture.format.width, picture.format.height))
        let encoder = try MJPEGEncoder(input: picture.format, quantizer: quantizer)
        #expect(encoder.encode(picture, into: coded))
        return coded
    }

    @Test(
        "a JPEG comes back as the picture that went in", arguments: [(64, 48), (63, 47), (160, 90)])
    func roundTrip(size: (Int, Int)) throws {
        let picture = FrameBuffer.gradient(size.0, size.1)
        picture.metadata = FrameMetadata(timestampNanoseconds: 42, sequence: 3)
        let coded = try jpeg(picture)
        #expect(coded.usedBytes < picture.bytes.count / 2)
        let decoder = try MJPEGDecoder(output: picture.format)
        let back = FrameBuffer(format: picture.format)
        for _ in 0..<3 { #expect(decoder.decode(coded, into: back) == .frame) }
        #expect(back.metadata == picture.metadata)
        #expect(back.psnr(against: picture) > 36)
    }

    @Test("a better quantizer gives a longer JPEG")
    func quantizer() throws {
        let picture = FrameBuffer.noise(64, 48, seed: 1)
        #expect(try jpeg(picture, quantizer: 2).usedBytes > jpeg(picture, quantizer: 20).usedBytes)
    }

    @Test("full-range JPEG becomes limited-range YUYV with the values of the colour bars")
    func colorBars() throws {
        let bars = FrameBuffer.drawn(ColorBar.all.count * 16, 16) { x, _ in
            ColorBar.all[x / 16].rgb
        }
        let coded = try jpeg(bars)
        let output = FrameBuffer(format: format(.yuyv, bars.format.width, 16))
        #expect(try MJPEGDecoder(output: output.format).decode(coded, into: output) == .frame)
        for (i, bar) in ColorBar.all.enumerated() {
            let start = 8 * output.strides[0] + (i * 16 + 8) * 2
            let pair = output.contents[start..<start + 4].map(Double.init)
            for (value, expected) in zip([pair[0], pair[1], pair[3]], bar.yCbCr(.limited)) {
                #expect(abs(value - expected) <= 2, "\(bar): \(value), not \(expected)")
            }
        }
    }

    @Test("a camera that sends another size is scaled, and may change it in mid-stream")
    func sizeChange() throws {
        let output = FrameBuffer(format: format(.rgb24, 64, 36))
        let decoder = try MJPEGDecoder(output: output.format)
        for (width, height) in [(64, 36), (128, 72), (64, 48), (320, 180), (64, 36)] {
            let picture = FrameBuffer.drawn(width, height) { x, _ in
                x < width / 2 ? RGB(220, 30, 30) : RGB(30, 30, 220)
            }
            #expect(decoder.decode(try jpeg(picture), into: output) == .frame)
            #expect(output[10, 18].distance(to: RGB(220, 30, 30)) < 8)
            #expect(output[53, 18].distance(to: RGB(30, 30, 220)) < 8)
        }
    }

    @Test("a JPEG cut off anywhere is refused")
    func truncated() throws {
        let picture = FrameBuffer.gradient(160, 90)
        let coded = try jpeg(picture)
        let decoder = try MJPEGDecoder(output: picture.format)
        let output = FrameBuffer(format: picture.format)
        for count in stride(from: 0, to: coded.usedBytes, by: 7) {
            let part = UnsafeRawBufferPointer(rebasing: coded.bytes[..<count])
            #expect(decoder.decode(part, into: output) == .badFrame)
            // A driver that does not say how much came: the rest is zeros.
            let whole = UnsafeMutableRawBufferPointer.allocate(
                byteCount: coded.usedBytes, alignment: 1)
            defer { whole.deallocate() }
            whole.initializeMemory(as: UInt8.self, repeating: 0)
            whole.copyMemory(from: part)
            #expect(decoder.decode(UnsafeRawBufferPointer(whole), into: output) == .badFrame)
        }
        #expect(decoder.decode(coded, into: output) == .frame)
        #expect(output.psnr(against: picture) > 36)
    }

    @Test(
        "a JPEG whose middle is missing is mostly refused: where the code makes no sense any more")
    func missingMiddle() throws {
        let picture = FrameBuffer.noise(160, 90, seed: 5)
        let coded = try jpeg(picture)
        let decoder = try MJPEGDecoder(output: picture.format)
        let output = FrameBuffer(format: picture.format)
        let bytes = coded.contents
        var statuses: [MJPEGDecoder.Status] = []
        for cut in stride(from: 1000, to: bytes.count - 600, by: 500) {
            let damaged = Array(bytes[..<cut] + bytes[(cut + 500)...])
            damaged.withUnsafeBytes { statuses.append(decoder.decode($0, into: output)) }
        }
        // JPEG has no checksum: what happens to be valid code with bytes left over passes.
        #expect(statuses.count { $0 == .badFrame } * 2 > statuses.count)
    }

    @Test("zeros behind the end marker do no harm")
    func trailingZeros() throws {
        let picture = FrameBuffer.gradient(64, 48)
        let coded = try jpeg(picture)
        let padded = coded.contents + [UInt8](repeating: 0, count: 4096)
        let output = FrameBuffer(format: picture.format)
        let decoder = try MJPEGDecoder(output: picture.format)
        padded.withUnsafeBytes { #expect(decoder.decode($0, into: output) == .frame) }
    }

    @Test("thousands of damaged JPEGs neither crash nor leak, and good ones still decode")
    func fuzz() throws {
        let picture = FrameBuffer.gradient(48, 32)
        let coded = try jpeg(picture)
        let bytes = coded.contents
        let decoder = try MJPEGDecoder(output: picture.format)
        let output = FrameBuffer(format: picture.format)
        var mutator = Mutator(seed: 2026)
        var refused = 0
        func run(_ count: Int) {
            for _ in 0..<count {
                let damaged = mutator.mutate(bytes)
                let status = damaged.withUnsafeBytes { decoder.decode($0, into: output) }
                if status == .badFrame { refused += 1 }
            }
        }
        run(1000)
        #expect(leastGrowth { run(600 * fuzzRounds) } < 512 << 10)
        #expect(refused > 1000)
        #expect(decoder.decode(coded, into: output) == .frame)
        #expect(output.psnr(against: picture) > 36)
    }
}

/// By how much the resident set grew in all but one of eight runs at least: a leak grows it in each, other
/// tests running meanwhile make it grow in some, and shrink in one or another.
func leastGrowth(_ body: () throws -> Void) rethrows -> Int {
    var growths: [Int] = []
    for _ in 0..<8 {
        let before = residentBytes()
        try body()
        growths.append(residentBytes() - before)
    }
    return growths.sorted()[1]
}

/// Resident set size of this process.
func residentBytes() -> Int {
    guard let text = try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8) else {
        return 0
    }
    let fields = text.split(separator: " ")
    return fields.count > 1 ? (Int(fields[1]) ?? 0) * 4096 : 0
}
