import Foundation
import Testing
import Video

@testable import LibAV

/// Writes frames with irregular timestamps; returns the timestamps from the first on.
@discardableResult
func writeVideo(
    _ file: String, _ frames: [FrameBuffer], options: MuxerOptions = MuxerOptions()
) throws -> [Int64] {
    let muxer = try Muxer(file: file, input: frames[0].format, options: options)
    var times: [Int64] = []
    for (i, frame) in frames.enumerated() {
        times.append(Int64(i) * 33_000_000 + Int64(i * i % 7) * 2_000_000)
        // Cameras count from boot.
        frame.metadata.timestampNanoseconds = 8_000_000_000_000 + times[i]
        #expect(muxer.write(frame) == .written)
    }
    try muxer.finish()
    return times
}

/// Reads all frames as they are.
func readVideo(_ file: String) throws -> (frames: [FrameBuffer], demuxer: Demuxer) {
    let demuxer = try Demuxer(file: file)
    let output = format(.rgb24, demuxer.width, demuxer.height)
    try demuxer.prepare(output: output)
    var frames: [FrameBuffer] = []
    while true {
        let frame = FrameBuffer(format: output)
        let status = demuxer.next(into: frame)
        if status == .endOfStream { break }
        #expect(status == .frame)
        guard status == .frame else { break }
        frames.append(frame)
    }
    return (frames, demuxer)
}

@Suite struct FileTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    @Test(
        "a video keeps its pictures, their number and their timestamps",
        arguments: ["a.mp4", "a.mkv", "a.mov", "a.avi", "a.ts", "a.flv"])
    func lossy(name: String) throws {
        let pictures = (0..<24).map { FrameBuffer.gradient(96, 64, time: $0) }
        let file = folder.file(name)
        let times = try writeVideo(file, pictures)
        let (frames, demuxer) = try readVideo(file)
        #expect(demuxer.width == 96 && demuxer.height == 64)
        #expect(frames.count == pictures.count)
        // AVI has no timestamps but a rate.
        let tolerance: Int64 = name == "a.avi" ? 60_000_000 : 1_100_000
        for (i, frame) in frames.enumerated() where i < pictures.count {
            #expect(frame.psnr(against: pictures[i]) > 32)
            #expect(abs(frame.metadata.timestampNanoseconds - times[i]) < tolerance)
            #expect(frame.metadata.sequence == UInt64(i))
        }
    }

    @Test("FFV1 gives back every byte", arguments: ["a.mkv", "a.avi"])
    func lossless(name: String) throws {
        var options = MuxerOptions()
        options.codec = .ffv1
        let pictures = (0..<6).map { FrameBuffer.noise(61, 35, seed: UInt64($0)) }
        try writeVideo(folder.file(name), pictures, options: options)
        let (frames, _) = try readVideo(folder.file(name))
        #expect(frames.count == pictures.count)
        for (frame, picture) in zip(frames, pictures) {
            #expect(frame.hasSamePicture(as: picture))
        }
    }

    @Test("every codec by choice can be written and read", arguments: MuxerOptions.Codec.allCases)
    func codecs(codec: MuxerOptions.Codec) throws {
        var options = MuxerOptions()
        options.codec = codec
        let pictures = (0..<5).map { FrameBuffer.gradient(64, 48, time: $0) }
        try writeVideo(folder.file("a.mkv"), pictures, options: options)
        let (frames, _) = try readVideo(folder.file("a.mkv"))
        #expect(frames.count == 5)
        for (frame, picture) in zip(frames, pictures) {
            #expect(frame.psnr(against: picture) > 30)
        }
    }

    @Test("the colour bars come back from H.264", arguments: [48, 720])
    func colorBars(height: Int) throws {
        let bars = FrameBuffer.drawn(ColorBar.all.count * 16, height) { x, _ in
            ColorBar.all[x / 16].rgb
        }
        try writeVideo(folder.file("a.mp4"), [bars, bars])
        let (frames, _) = try readVideo(folder.file("a.mp4"))
        let last = try #require(frames.last)
        for (i, bar) in ColorBar.all.enumerated() {
            let color = last[i * 16 + 8, height / 2]
            #expect(color.distance(to: bar.rgb) <= 5, "\(bar): \(color)")
        }
    }

    @Test("an odd size is cut to the next even one for H.264, without scaling")
    func oddSize() throws {
        let picture = FrameBuffer.drawn(63, 47) { x, _ in x < 32 ? RGB(0, 0, 0) : RGB(255, 255, 255)
        }
        try writeVideo(folder.file("a.mp4"), [picture, picture])
        let (frames, demuxer) = try readVideo(folder.file("a.mp4"))
        #expect(demuxer.width == 62 && demuxer.height == 46)
        #expect(frames[0][29, 20].red < 20 && frames[0][34, 20].red > 235)
    }

    @Test("a file whose writer was killed can be read up to there", arguments: ["a.mp4", "a.mkv"])
    func killed(name: String) throws {
        let input = format(.rgb24, 64, 48)
        let muxer = try Muxer(file: folder.file(name), input: input)
        for i in 0..<200 {
            let frame = FrameBuffer.gradient(64, 48, time: i)
            frame.metadata.timestampNanoseconds = Int64(i) * 33_333_333
            #expect(muxer.write(frame) == .written)
        }
        // What a kill at this moment leaves.
        let file = try folder.write(try folder.bytes(name), "killed-" + name)
        let (frames, _) = try readVideo(file)
        #expect(frames.count >= 120)
        try muxer.finish()
    }

    @Test("timestamps that stand still, run back or jump are mended")
    func timestamps() throws {
        let input = format(.rgb24, 64, 48)
        let stated: [Int64] = [
            .max, .min, 0, 0, 0, 100_000, 1_000_000_000, 5, 1_000_000_000_000_000, 7, 33_333_340,
        ]
        for name in ["a.mp4", "a.mkv", "a.flv"] {
            let muxer = try Muxer(file: folder.file(name), input: input)
            for (i, time) in stated.enumerated() {
                let frame = FrameBuffer.gradient(64, 48, time: i)
                frame.metadata.timestampNanoseconds = time
                #expect(muxer.write(frame) == .written)
            }
            try muxer.finish()
            let (frames, _) = try readVideo(folder.file(name))
            #expect(frames.count == stated.count)
            let times = frames.map(\.metadata.timestampNanoseconds)
            #expect(zip(times, times.dropFirst()).allSatisfy { $0 < $1 }, "\(times)")
        }
    }

    @Test("PNG gives back every byte, also at odd sizes", arguments: [(64, 48), (63, 47), (1, 1)])
    func png(size: (Int, Int)) throws {
        let picture = FrameBuffer.noise(size.0, size.1, seed: 9)
        try ImageWriter.write(picture, to: folder.file("a.png"))
        let (frames, _) = try readVideo(folder.file("a.png"))
        #expect(frames.count == 1)
        #expect(frames.first?.hasSamePicture(as: picture) == true)
    }

    @Test("a JPEG picture and a YUYV frame can be written and read")
    func jpeg() throws {
        let picture = FrameBuffer.gradient(90, 60)
        try ImageWriter.write(picture, to: folder.file("a.JPG"))
        #expect(try folder.bytes("a.JPG").starts(with: [0xff, 0xd8]))
        #expect(try readVideo(folder.file("a.JPG")).frames.first?.psnr(against: picture) ?? 0 > 35)
        let coded = FrameBuffer(format: format(.yuyv, 90, 60))
        try Scaler(from: picture.format, to: coded.format).convert(picture, to: coded)
        try ImageWriter.write(coded, to: folder.file("b.png"))
        #expect(try readVideo(folder.file("b.png")).frames.first?.psnr(against: picture) ?? 0 > 35)
    }

    @Test("a series of pictures is numbered from 000001 and is read back as a video")
    func series() throws {
        let pictures = (0..<4).map { FrameBuffer.noise(40, 30, seed: UInt64($0)) }
        let directory = folder.file("frames")
        let writer = try ImageWriter(directory: directory, input: pictures[0].format)
        for picture in pictures { #expect(writer.writeNext(picture) == .written) }
        #expect(writer.count == 4)
        let names = try FileManager.default.contentsOfDirectory(atPath: directory).sorted()
        #expect(names == ["000001.png", "000002.png", "000003.png", "000004.png"])
        let (frames, _) = try readVideo(directory + "/%06d.png")
        #expect(frames.count == 4)
        #expect(zip(frames, pictures).allSatisfy { $0.hasSamePicture(as: $1) })
    }

    @Test("a name with colons or percent signs is taken literally")
    func oddNames() throws {
        let picture = FrameBuffer.gradient(32, 32)
        for name in ["a:b.mp4", "50%d.mkv"] {
            try writeVideo(folder.file(name), [picture, picture])
            #expect(try readVideo(folder.file(name)).frames.count == 2)
        }
        try ImageWriter.write(picture, to: folder.file("50%d.png"))
        #expect(try readVideo(folder.file("50%d.png")).frames.count == 1)
        #expect(try readVideo("file:" + folder.file("50%d.png")).frames.count == 1)
    }

    @Test("frames come out in the size, fit and mirroring asked for")
    func outputSize() throws {
        let picture = FrameBuffer.drawn(128, 64) { x, _ in
            x < 64 ? RGB(220, 30, 30) : RGB(30, 30, 220)
        }
        try ImageWriter.write(picture, to: folder.file("a.png"))
        let demuxer = try Demuxer(file: folder.file("a.png"))
        let output = FrameBuffer(format: format(.rgb24, 64, 64))
        try demuxer.prepare(output: output.format, fit: .letterbox, isMirrored: true)
        #expect(demuxer.next(into: output) == .frame)
        #expect(output[10, 5] == RGB(0, 0, 0) && output[10, 60] == RGB(0, 0, 0))
        #expect(output[10, 32].distance(to: RGB(30, 30, 220)) < 4)
        #expect(output[53, 32].distance(to: RGB(220, 30, 30)) < 4)
    }

    @Test("a phone's rotated video comes out upright")
    func rotation() throws {
        // Left red, right blue; turned clockwise: red on top.
        let picture = FrameBuffer.drawn(96, 64) { x, _ in
            x < 48 ? RGB(220, 30, 30) : RGB(30, 30, 220)
        }
        try writeVideo(folder.file("a.mp4"), [picture, picture])
        var bytes = try folder.bytes("a.mp4")
        let tag = Array("tkhd".utf8)
        let start = try #require(
            bytes.indices.first { $0 + 80 < bytes.count && Array(bytes[$0..<$0 + 4]) == tag })
        let one: [UInt8] = [0, 1, 0, 0]
        let minusOne: [UInt8] = [0xff, 0xff, 0, 0]
        let zero: [UInt8] = [0, 0, 0, 0]
        let matrix = zero + one + zero + minusOne + zero + zero + [0, 64, 0, 0] + zero
        bytes.replaceSubrange(start + 44..<start + 44 + 32, with: matrix)
        let (frames, demuxer) = try readVideo(try folder.write(bytes, "b.mp4"))
        #expect(demuxer.width == 64 && demuxer.height == 96)
        let frame = try #require(frames.first)
        #expect(frame[32, 10].distance(to: RGB(220, 30, 30)) < 10)
        #expect(frame[32, 85].distance(to: RGB(30, 30, 220)) < 10)
    }

    @Test("turning a picture moves each pixel to where it belongs")
    func turning() {
        let picture = FrameBuffer.noise(5, 3, seed: 1)
        let quarter = FrameBuffer(format: format(.rgb24, 3, 5))
        let half = FrameBuffer(format: picture.format)
        turn(picture, by: 1, into: quarter)
        #expect(
            (0..<5).allSatisfy { x in (0..<3).allSatisfy { quarter[2 - $0, x] == picture[x, $0] } })
        turn(picture, by: 3, into: quarter)
        #expect(
            (0..<5).allSatisfy { x in (0..<3).allSatisfy { quarter[$0, 4 - x] == picture[x, $0] } })
        turn(picture, by: 2, into: half)
        #expect(
            (0..<5).allSatisfy { x in (0..<3).allSatisfy { half[4 - x, 2 - $0] == picture[x, $0] } }
        )
    }

    @Test("a picture that changes its size in mid-stream is scaled to the size fixed at first")
    func sizeChange() throws {
        // Two raw MJPEG pictures one after another.
        var bytes: [UInt8] = []
        for (width, height) in [(64, 48), (128, 96), (64, 48)] {
            let picture = FrameBuffer.drawn(width, height) { _, _ in RGB(30, 200, 30) }
            let coded = FrameBuffer(format: format(.mjpeg, width, height))
            #expect(try MJPEGEncoder(input: picture.format).encode(picture, into: coded))
            bytes += coded.contents
        }
        let (frames, _) = try readVideo(try folder.write(bytes, "a.mjpeg"))
        #expect(frames.count == 3)
        #expect(frames.allSatisfy { $0[60, 40].distance(to: RGB(30, 200, 30)) < 5 })
    }
}
