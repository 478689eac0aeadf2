// Pixel format codes, layouts in driver buffers, colour ranges, and the verdict on a node.

import CLinux
import Testing
import Video

@testable import V4L2

@Suite struct FourCCTests {
    @Test func readsAndWritesTheCode() {
        #expect(FourCC("YUYV").rawValue == 0x5659_5559)
        #expect(FourCC(rawValue: 0x5659_5559).description == "YUYV")
        #expect(FourCC("Y8").description == "Y8  ")
        #expect(FourCC(rawValue: 0xB136_3120 | 1 << 31).description.hasSuffix("-BE"))
        #expect(FourCC(rawValue: 0).description == "????")
    }

    @Test(arguments: PixelFormat.allCases)
    func everyLayoutHasACode(_ format: PixelFormat) {
        #expect(FourCC(format).pixelFormat == format)
    }

    @Test func knowsBothCodesOfJPEG() {
        #expect(FourCC("JPEG").pixelFormat == .mjpeg)
        #expect(FourCC("GREY").pixelFormat == nil)
        #expect(!FourCC("GREY").isUsableColour)
        #expect(FourCC("YVYU").isUsableColour)
    }
}

@Suite struct CaptureFormatTests {
    private func format(
        _ fourCC: FourCC, _ width: UInt32, _ height: UInt32, stride: UInt32,
        colorspace: UInt32 = CLINUX_V4L2_COLORSPACE_SRGB, quantization: UInt32 = 0,
        encoding: UInt32 = 0
    ) -> CaptureFormat {
        var answer = v4l2_pix_format()
        answer.width = width
        answer.height = height
        answer.pixelformat = fourCC.rawValue
        answer.bytesperline = stride
        answer.sizeimage = stride * height * 2
        answer.colorspace = colorspace
        answer.quantization = quantization
        answer.ycbcr_enc = encoding
        return CaptureFormat(answer, frameRate: FrameRate(30))
    }

    @Test func reportsStridesAndOffsets() {
        let packed = format("YUYV", 320, 180, stride: 704)
        #expect(packed.strides == [704])
        #expect(packed.imageBytesMin == 704 * 179 + 640)
        #expect(!packed.isUnpadded)
        let semiplanar = format("NV12", 640, 360, stride: 640)
        #expect(semiplanar.strides == [640, 640])
        #expect(semiplanar.planeOffsets == [0, 640 * 360])
        #expect(semiplanar.imageBytesMin == 640 * 360 * 3 / 2)
        #expect(semiplanar.isUnpadded)
        let planar = format("YU12", 640, 360, stride: 704)
        #expect(planar.strides == [704, 352, 352])
        #expect(planar.planeOffsets == [0, 704 * 360, 704 * 360 + 352 * 180])
    }

    @Test func mistrustsAStrideThatIsTooSmall() {
        #expect(format("YUYV", 320, 180, stride: 0).strides == [640])
    }

    @Test func agreesWithAFrameBufferWhereUnpadded() {
        for pixels in PixelFormat.allCases where pixels != .mjpeg {
            let layout = CaptureFormat.layout(
                pixels, width: 34, height: 6, bytesPerLine: pixels.rowBytes(plane: 0, width: 34))
            #expect(layout.imageBytes == pixels.imageBytes(width: 34, height: 6))
        }
    }

    @Test func mapsTheDriversColourRange() {
        #expect(format("YUYV", 64, 48, stride: 128).colorRange == .limited)
        #expect(
            format("YUYV", 64, 48, stride: 128, quantization: CLINUX_V4L2_QUANTIZATION_FULL_RANGE)
                .colorRange == .full)
        #expect(
            format("YUYV", 64, 48, stride: 128, colorspace: CLINUX_V4L2_COLORSPACE_JPEG)
                .colorRange == .full)
        #expect(format("MJPG", 64, 48, stride: 0).colorRange == .full)
        #expect(format("RGB3", 64, 48, stride: 192).colorRange == .full)
        #expect(
            format("RGB3", 64, 48, stride: 192, quantization: CLINUX_V4L2_QUANTIZATION_LIM_RANGE)
                .colorRange == .limited)
        #expect(format("YVYU", 64, 48, stride: 128).colorRange == .limited)
        #expect(format("RGGB", 64, 48, stride: 64).colorRange == .full)
    }

    @Test func mapsTheDriversMatrix() {
        #expect(format("YUYV", 64, 48, stride: 128).matrix == .bt601)
        #expect(
            format("YUYV", 64, 48, stride: 128, colorspace: CLINUX_V4L2_COLORSPACE_REC709).matrix
                == .bt709)
        #expect(
            format(
                "YUYV", 64, 48, stride: 128, colorspace: CLINUX_V4L2_COLORSPACE_REC709,
                encoding: CLINUX_V4L2_YCBCR_ENC_601
            ).matrix == .bt601)
    }
}

@Suite struct DeviceVerdictTests {
    private func verdict(
        _ driver: String, _ flags: UInt32, _ formats: [CameraFormat]
    ) -> (kind: DeviceReport.Kind, isUsable: Bool, remark: String?) {
        DeviceDirectory.verdict(
            capabilities: DeviceCapabilities(
                driver: driver, card: "Card", busInfo: "bus", flags: flags), formats: formats)
    }

    private let capture = CLINUX_V4L2_CAP_VIDEO_CAPTURE | CLINUX_V4L2_CAP_STREAMING
    private let colour = CameraFormat(fourCC: "YUYV", sizes: [CameraSize(640, 480, [])])
    private let grey = CameraFormat(fourCC: "GREY", sizes: [CameraSize(640, 360, [])])

    @Test func acceptsAWebcam() {
        let result = verdict("uvcvideo", capture, [colour])
        #expect(result.kind == .camera && result.isUsable && result.remark == nil)
    }

    @Test func refusesInfraredMetadataAndNonStreamingNodes() {
        let infrared = verdict("uvcvideo", capture, [grey])
        #expect(infrared.kind == .camera && !infrared.isUsable)
        #expect(infrared.remark?.contains("GREY") == true)
        #expect(verdict("uvcvideo", CLINUX_V4L2_CAP_META_CAPTURE, []).kind == .other)
        #expect(!verdict("x", CLINUX_V4L2_CAP_VIDEO_CAPTURE, [colour]).isUsable)
        #expect(verdict("x", CLINUX_V4L2_CAP_VIDEO_OUTPUT, []).kind == .other)
    }

    @Test func knowsALoopbackByItsDriverInEveryState() {
        for flags in [0, capture, CLINUX_V4L2_CAP_VIDEO_OUTPUT, .max] {
            #expect(verdict("v4l2 loopback", flags, [colour]).kind == .loopback)
        }
    }
}
