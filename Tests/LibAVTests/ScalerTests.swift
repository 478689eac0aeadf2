import CLibAV
import Foundation
import Testing
import Video

@testable import LibAV

@Suite struct ScalerTests {
    /// Y, Cb and Cr of one pixel of a frame of any YCbCr layout.
    private func yCbCr(of frame: FrameBuffer, _ x: Int, _ y: Int) -> [Double] {
        let luma = frame.plane(0)
        let stride = frame.strides[0]
        let values: [UInt8]
        switch frame.format.pixelFormat {
        case .yuyv:
            let pair = luma + y * stride + x / 2 * 4
            values = [pair[x % 2 * 2], pair[1], pair[3]]
        case .uyvy:
            let pair = luma + y * stride + x / 2 * 4
            values = [pair[x % 2 * 2 + 1], pair[0], pair[2]]
        case .nv12:
            let chroma = frame.plane(1) + y / 2 * frame.strides[1] + x / 2 * 2
            values = [luma[y * stride + x], chroma[0], chroma[1]]
        case .yu12:
            let offset = y / 2 * frame.strides[1] + x / 2
            values = [luma[y * stride + x], frame.plane(1)[offset], frame.plane(2)[offset]]
        case .rgb24, .bgr24, .mjpeg: values = []
        }
        return values.map(Double.init)
    }

    /// Bars of 16 pixels each.
    private func bars(height: Int) -> FrameBuffer {
        .drawn(ColorBar.all.count * 16, height) { x, _ in ColorBar.all[x / 16].rgb }
    }

    @Test(
        "RGB colour bars become the BT.601 values of the range asked for, and come back",
        arguments: [PixelFormat.yuyv, .uyvy, .nv12, .yu12], [ColorRange.limited, .full])
    func colorBars(pixels: PixelFormat, range: ColorRange) throws {
        let input = bars(height: 16)
        let coded = FrameBuffer(format: format(pixels, input.format.width, 16, range: range))
        let back = FrameBuffer(format: input.format)
        #expect(try Scaler(from: input.format, to: coded.format).convert(input, to: coded))
        #expect(try Scaler(from: coded.format, to: back.format).convert(coded, to: back))
        for (i, bar) in ColorBar.all.enumerated() {
            let expected = bar.yCbCr(range)
            let x = i * 16 + 8
            for (value, right) in zip(yCbCr(of: coded, x, 8), expected) {
                #expect(abs(value - right) <= 1, "\(bar): \(value), expected \(right)")
            }
            #expect(back[x, 8].distance(to: bar.rgb) <= 3, "\(bar): \(back[x, 8])")
        }
    }

    @Test(
        "BT.709 colour bars come out right, as RGB and as BT.601",
        arguments: [PixelFormat.yuyv, .uyvy, .nv12, .yu12], [ColorRange.limited, .full])
    func bt709(pixels: PixelFormat, range: ColorRange) throws {
        var bt709 = format(pixels, ColorBar.all.count * 16, 16, range: range)
        bt709.matrix = .bt709
        let coded = FrameBuffer(format: bt709)
        try Scaler(from: bars(height: 16).format, to: bt709).convert(bars(height: 16), to: coded)
        let back = FrameBuffer(format: bars(height: 16).format)
        #expect(try Scaler(from: bt709, to: back.format).convert(coded, to: back))
        let apps = FrameBuffer(format: format(.yuyv, bt709.width, 16))
        #expect(try Scaler(from: bt709, to: apps.format).convert(coded, to: apps))
        for (i, bar) in ColorBar.all.enumerated() {
            let x = i * 16 + 8
            for (value, right) in zip(yCbCr(of: coded, x, 8), bar.yCbCr(range, .bt709)) {
                #expect(abs(value - right) <= 1, "\(bar): \(value), expected \(right)")
            }
            #expect(back[x, 8].distance(to: bar.rgb) <= 3, "\(bar): \(back[x, 8])")
            for (value, right) in zip(yCbCr(of: apps, x, 8), bar.yCbCr(.limited)) {
                #expect(abs(value - right) <= 3, "\(bar): \(value), expected \(right)")
            }
        }
    }

    @Test("chroma of a driver's padded 4:2:0 lies where V4L2 says, at odd strides too")
    func oddStrides() {
        let memory = [UInt8](repeating: 0, count: 65536)
        memory.withUnsafeBytes { bytes in
            guard let base = bytes.baseAddress else { return }
            for (pixels, width, stride, chroma) in [
                (PixelFormat.yu12, 63, 65, 32), (.yu12, 63, 0, 32), (.yu12, 64, 80, 40),
                (.nv12, 63, 63, 64), (.nv12, 63, 80, 80),
            ] {
                let planes = ImagePlanes(
                    base: base, format: format(pixels, width, 34), bytesPerLine: stride)
                let first = max(stride, 63)
                #expect(planes.planes.linesize.1 == chroma)
                #expect(
                    planes.planes.data.1.map { UnsafeRawPointer($0) - base }
                        == max(first, width) * 34)
                let row = pixels.rowBytes(plane: 1, width: width)
                let planeCount = pixels == .yu12 ? 2 : 1
                #expect(
                    planes.byteCount
                        == max(first, width) * 34 + chroma * (17 * planeCount - 1) + row)
            }
        }
    }

    @Test("white is 235/128/128 and black 16/128/128 in limited-range YUYV")
    func whiteAndBlack() throws {
        let input = FrameBuffer.drawn(32, 8) { x, _ in x < 16 ? RGB(255, 255, 255) : RGB(0, 0, 0) }
        let output = FrameBuffer(format: format(.yuyv, 32, 8))
        try Scaler(from: input.format, to: output.format).convert(input, to: output)
        #expect(yCbCr(of: output, 4, 4) == [235, 128, 128])
        #expect(yCbCr(of: output, 24, 4) == [16, 128, 128])
        let back = FrameBuffer(format: input.format)
        try Scaler(from: output.format, to: back.format).convert(output, to: back)
        #expect(back[4, 4] == RGB(255, 255, 255))
        #expect(back[24, 4] == RGB(0, 0, 0))
    }

    @Test("full-range luma is compressed on the way from one YCbCr layout to another")
    func rangeCompression() throws {
        for (value, expected) in [(255, 235), (0, 16)] {
            let input = FrameBuffer(format: format(.nv12, 64, 16, range: .full))
            memset(input.plane(0), Int32(value), 64 * 16)
            memset(input.plane(1), 128, 64 * 8)
            for pixels in [PixelFormat.yuyv, .nv12, .yu12] {
                let output = FrameBuffer(format: format(pixels, 64, 16, range: .limited))
                try Scaler(from: input.format, to: output.format).convert(input, to: output)
                #expect(yCbCr(of: output, 20, 7) == [Double(expected), 128, 128], "\(pixels)")
            }
        }
    }

    @Test(
        "a round trip keeps the picture, at even, odd, tiny and unaligned sizes",
        arguments: [PixelFormat.rgb24, .bgr24, .yuyv, .uyvy, .nv12, .yu12],
        [
            (64, 48), (63, 48), (64, 47), (63, 47), (61, 35), (33, 9), (17, 3), (8, 2), (16, 16),
            (90, 50), (72, 41),
        ])
    func roundTrip(pixels: PixelFormat, size: (Int, Int)) throws {
        let input = FrameBuffer.gradient(size.0, size.1)
        let coded = FrameBuffer(format: format(pixels, size.0, size.1))
        let back = FrameBuffer(format: input.format)
        input.metadata = FrameMetadata(timestampNanoseconds: 5, sequence: 7)
        #expect(try Scaler(from: input.format, to: coded.format).convert(input, to: coded))
        #expect(try Scaler(from: coded.format, to: back.format).convert(coded, to: back))
        #expect(back.metadata == input.metadata)
        let psnr = back.psnr(against: input)
        if pixels.isYCbCr {
            // Chroma is subsampled: few pixels of a steep gradient lose much.
            #expect(psnr > (size.0 >= 60 && size.1 >= 35 ? 38 : 20), "\(psnr) dB")
        } else {
            #expect(psnr == .infinity)
        }
        // Every edge pixel was written.
        for (x, y) in [(size.0 - 1, size.1 - 1), (0, size.1 - 1), (size.0 - 1, 0)] {
            let distance = back[x, y].distance(to: input[x, y])
            #expect(distance < (pixels.isYCbCr ? 50 : 1), "(\(x), \(y)): \(back[x, y])")
        }
    }

    @Test("any layout becomes any other of another size")
    func everyPair() throws {
        let layouts: [PixelFormat] = [.rgb24, .bgr24, .yuyv, .uyvy, .nv12, .yu12]
        let picture = FrameBuffer.gradient(96, 54)
        for from in layouts {
            let input = FrameBuffer(format: format(from, 96, 54))
            try Scaler(from: picture.format, to: input.format).convert(picture, to: input)
            for to in layouts {
                for (width, height) in [(48, 27), (191, 107), (96, 54), (33, 61)] {
                    for fit in Fit.allCases {
                        let output = FrameBuffer(format: format(to, width, height))
                        let scaler = try Scaler(from: input.format, to: output.format, fit: fit)
                        #expect(scaler.convert(input, to: output))
                    }
                }
            }
        }
    }

    @Test("nothing is written past the end of the picture")
    func noOverrun() throws {
        let input = FrameBuffer.gradient(96, 54)
        for pixels in [PixelFormat.rgb24, .bgr24, .yuyv, .uyvy, .nv12, .yu12] {
            for (width, height) in [(31, 9), (33, 27), (40, 30), (57, 31), (1, 1), (2, 2), (5, 4)] {
                for fit in Fit.allCases {
                    let output = FrameBuffer(format: format(pixels, width, height))
                    // The spare bytes of a FrameBuffer.
                    let spare = output.plane(0) + output.bytes.count
                    memset(spare, 0xa5, 64)
                    let scaler = try Scaler(from: input.format, to: output.format, fit: fit)
                    #expect(scaler.convert(input, to: output))
                    let isUntouched = withExtendedLifetime(output) {
                        (0..<64).allSatisfy { spare[$0] == 0xa5 }
                    }
                    #expect(isUntouched, "\(pixels) \(width)×\(height)")
                }
            }
        }
    }

    @Test("crop keeps the middle: what stands out is cut off evenly, pixel for pixel")
    func crop() throws {
        // Column x has red = x: the same height, so nothing is scaled.
        let wide = FrameBuffer.drawn(100, 40) { x, y in RGB(UInt8(x), UInt8(y), 9) }
        let square = FrameBuffer(format: format(.rgb24, 40, 40))
        try Scaler(from: wide.format, to: square.format, fit: .crop).convert(wide, to: square)
        for (x, y) in [(0, 0), (39, 0), (0, 39), (39, 39), (17, 23)] {
            #expect(square[x, y] == RGB(UInt8(x + 30), UInt8(y), 9))
        }
        let tall = FrameBuffer.drawn(40, 100) { x, y in RGB(UInt8(x), UInt8(y), 9) }
        try Scaler(from: tall.format, to: square.format, fit: .crop).convert(tall, to: square)
        for (x, y) in [(0, 0), (39, 0), (0, 39), (39, 39)] {
            #expect(square[x, y] == RGB(UInt8(x), UInt8(y + 30), 9))
        }
    }

    @Test("letterbox shows the whole picture between black bars, pixel for pixel")
    func letterbox() throws {
        let square = FrameBuffer.drawn(40, 40) { x, y in RGB(UInt8(x + 50), UInt8(y + 50), 99) }
        let wide = FrameBuffer(format: format(.rgb24, 100, 40))
        for _ in 0..<2 {
            // The slots of a ring hold older pictures: the bars are painted every time.
            wide.bytes.initializeMemory(as: UInt8.self, repeating: 200)
            let scaler = try Scaler(from: square.format, to: wide.format, fit: .letterbox)
            #expect(scaler.convert(square, to: wide))
            for y in 0..<40 {
                for x in 0..<100 {
                    let inside = (30..<70).contains(x)
                    let expected = inside ? RGB(UInt8(x + 20), UInt8(y + 50), 99) : RGB(0, 0, 0)
                    #expect(wide[x, y] == expected)
                }
            }
        }
        let tall = FrameBuffer(format: format(.rgb24, 40, 100))
        try Scaler(from: square.format, to: tall.format, fit: .letterbox).convert(square, to: tall)
        #expect(tall[20, 29] == RGB(0, 0, 0))
        #expect(tall[20, 30] == RGB(70, 50, 99))
        #expect(tall[20, 69] == RGB(70, 89, 99))
        #expect(tall[20, 70] == RGB(0, 0, 0))
    }

    @Test(
        "the bars of a letterbox are black in every YCbCr layout and range",
        arguments: [PixelFormat.yuyv, .uyvy, .nv12, .yu12], [ColorRange.limited, .full])
    func letterboxBars(pixels: PixelFormat, range: ColorRange) throws {
        let square = FrameBuffer.drawn(40, 40) { _, _ in RGB(255, 255, 255) }
        let black: [Double] = [range == .limited ? 16 : 0, 128, 128]
        let white: [Double] = [range == .limited ? 235 : 255, 128, 128]
        for (width, height) in [(100, 40), (40, 100), (101, 41)] {
            let output = FrameBuffer(format: format(pixels, width, height, range: range))
            output.bytes.initializeMemory(as: UInt8.self, repeating: 77)
            let scaler = try Scaler(from: square.format, to: output.format, fit: .letterbox)
            #expect(scaler.convert(square, to: output))
            for (x, y) in [(0, 0), (width - 1, 0), (0, height - 1), (width - 1, height - 1)] {
                #expect(yCbCr(of: output, x, y) == black, "\(width)×\(height) at (\(x), \(y))")
            }
            let middle = yCbCr(of: output, width / 2, height / 2)
            #expect(zip(middle, white).allSatisfy { abs($0 - $1) <= 1 }, "\(middle)")
        }
    }

    @Test("a mirrored picture has left and right swapped, exactly, whatever the width")
    func mirror() throws {
        for (width, height) in [(64, 16), (63, 15), (1, 3), (2, 2), (37, 5)] {
            let input = FrameBuffer.noise(width, height, seed: 3)
            let output = FrameBuffer(format: input.format)
            let scaler = try Scaler(from: input.format, to: output.format, isMirrored: true)
            #expect(scaler.convert(input, to: output))
            for y in 0..<height {
                for x in 0..<width { #expect(output[x, y] == input[width - 1 - x, y]) }
            }
        }
    }

    @Test(
        "mirroring works to and from every layout",
        arguments: [PixelFormat.yuyv, .uyvy, .nv12, .yu12, .bgr24])
    func mirrorLayouts(pixels: PixelFormat) throws {
        let input = FrameBuffer.gradient(66, 34)
        let coded = FrameBuffer(format: format(pixels, 66, 34))
        let again = FrameBuffer(format: coded.format)
        let back = FrameBuffer(format: input.format)
        try Scaler(from: input.format, to: coded.format, isMirrored: true).convert(input, to: coded)
        try Scaler(from: coded.format, to: again.format, isMirrored: true).convert(coded, to: again)
        try Scaler(from: again.format, to: back.format, isMirrored: true).convert(again, to: back)
        let expected = FrameBuffer.drawn(66, 34) { input[65 - $0, $1] }
        #expect(back.psnr(against: expected) > 34)
    }

    @Test("a driver's padded rows are followed, at the end of a page too")
    func strides() throws {
        for pixels in [PixelFormat.rgb24, .yuyv, .nv12, .yu12] {
            let picture = FrameBuffer.gradient(60, 34)
            let packed = FrameBuffer(format: format(pixels, 60, 34))
            try Scaler(from: picture.format, to: packed.format).convert(picture, to: packed)
            let expected = FrameBuffer(format: picture.format)
            let scaler = try Scaler(from: packed.format, to: picture.format)
            scaler.convert(packed, to: expected)

            let stride = pixels == .rgb24 ? 192 : 128
            let pages = UnsafeMutableRawPointer.allocate(byteCount: 65536, alignment: 4096)
            defer { pages.deallocate() }
            memset(pages, 0x5a, 65536)
            let rows = pixels == .nv12 || pixels == .yu12 ? 34 + 17 : 34
            for offset in [0, 4096 * 4 - stride * rows] {
                let base = pages + offset
                let planes = ImagePlanes(base: base, format: packed.format, bytesPerLine: stride)
                var target = base
                for plane in 0..<pixels.planeCount {
                    let planeStride = pixels == .yu12 && plane > 0 ? stride / 2 : stride
                    for y in 0..<pixels.rows(plane: plane, height: 34) {
                        memcpy(
                            target + y * planeStride,
                            packed.plane(plane) + y * packed.strides[plane],
                            pixels.rowBytes(plane: plane, width: 60))
                    }
                    target += planeStride * pixels.rows(plane: plane, height: 34)
                }
                #expect(planes.byteCount <= stride * rows)
                let output = FrameBuffer(format: picture.format)
                #expect(scaler.convert(planes, to: output))
                #expect(output.hasSamePicture(as: expected), "\(pixels) at \(offset)")
            }
        }
    }

    @Test("no byte past the end of a page is read")
    func guardPage() throws {
        let pages = try #require(
            mmap(nil, 4096 * 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))
        defer { munmap(pages, 4096 * 16) }
        mprotect(pages + 4096 * 15, 4096, PROT_NONE)
        for pixels in [PixelFormat.rgb24, .bgr24, .yuyv, .uyvy, .nv12, .yu12] {
            for width in [64, 63, 96, 57] {
                for slack in [0, 1, 16, 63] {
                    let input = format(pixels, width, 32)
                    let count = pixels.imageBytes(width: width, height: 32)
                    let base = pages + 4096 * 15 - count - slack
                    for (toWidth, toHeight) in [(width, 32), (32, 16), (100, 50)] {
                        let output = FrameBuffer(format: format(.rgb24, toWidth, toHeight))
                        let scaler = try Scaler(from: input, to: output.format)
                        #expect(scaler.convert(ImagePlanes(base: base, format: input), to: output))
                    }
                }
            }
        }
    }

    @Test("a conversion that cannot be says so")
    func refused() throws {
        let error = #expect(throws: LibAVError.self) {
            try Scaler(from: format(.mjpeg, 64, 48), to: format(.rgb24, 64, 48))
        }
        #expect(error?.description.contains("MJPEG") == true)
    }
}
