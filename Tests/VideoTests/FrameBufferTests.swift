import Testing
import Video

@Suite struct FrameBufferTests {
    @Test(arguments: PixelFormat.allCases)
    func `planes lie one after another inside the picture`(format: PixelFormat) {
        for (width, height) in [(640, 360), (33, 17), (1, 1)] {
            let buffer = FrameBuffer(
                format: VideoFormat(
                    pixelFormat: format, width: width, height: height, frameRate: FrameRate(30)))
            var end = 0
            for plane in 0..<format.planeCount {
                #expect(buffer.planeOffsets[plane] == end)
                end += buffer.strides[plane] * format.rows(plane: plane, height: height)
            }
            #expect(format == .mjpeg || buffer.bytes.count == end)
        }
    }

    @Test func `image sizes are those that V4L2 drivers compute`() {
        #expect(PixelFormat.yuyv.imageBytes(width: 320, height: 180) == 115_200)
        #expect(PixelFormat.yuyv.imageBytes(width: 1280, height: 720) == 1_843_200)
        #expect(PixelFormat.nv12.imageBytes(width: 1280, height: 720) == 1_382_400)
        #expect(PixelFormat.yu12.imageBytes(width: 1280, height: 720) == 1_382_400)
    }

    @Test func `a copy carries picture and metadata`() {
        let format = VideoFormat(
            pixelFormat: .rgb24, width: 3, height: 2, frameRate: FrameRate(30))
        let (from, to) = (FrameBuffer(format: format), FrameBuffer(format: format))
        for index in from.bytes.indices { from.bytes[index] = UInt8(index) }
        from.metadata = FrameMetadata(timestampNanoseconds: 7, sequence: 9)
        to.copy(from: from)
        #expect(Array(to.bytes) == Array(0..<18))
        #expect(to.metadata == from.metadata)
    }

    @Test func `rates print as people write them`() {
        #expect("\(FrameRate(30))" == "30")
        #expect("\(FrameRate(30000, 1001))" == "29.97")
        #expect(FrameRate(30).intervalNanoseconds == 33_333_333)
    }
}
