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

    @Test func reportsStrideAndSize() {
        let packed = format("YUYV", 320, 180, stride: 704)
        #expect(packed.bytesPerLine == 704)
        #expect(packed.imageBytesMin == 704 * 179 + 640)
        let semiplanar = format("NV12", 640, 360, stride: 640)
        #expect(semiplanar.bytesPerLine == 640)
        #expect(semiplanar.imageBytesMin == 640 * 360 * 3 / 2)
        let planar = format("YU12", 640, 360, stride: 704)
        #expect(planar.bytesPerLine == 704)
        #expect(planar.imageBytesMin == 704 * 360 + 352 * 180 + 352 * 179 + 320)
    }

    @Test func mistrustsAStrideThatIsTooSmall() {
        #expect(format("YUYV", 320, 180, stride: 0).bytesPerLine == 640)
    }

    @Test func needsNoPaddingBehindAnUnpaddedPicture() {
        for pixels in PixelFormat.allCases where pixels != .mjpeg {
            let stride = UInt32(pixels.rowBytes(plane: 0, width: 34))
            #expect(
                format(FourCC(pixels), 34, 6, stride: stride).imageBytesMin
                    == pixels.imageBytes(width: 34, height: 6))
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
        let card = format("YUYV", 64, 48, stride: 128, colorspace: CLINUX_V4L2_COLORSPACE_REC709)
        #expect(card.videoFormat?.matrix == .bt709)
    }
}

@Suite struct DeviceVerdictTests {
    private func verdict(
        _ driver: String, _ flags: UInt32, _ formats: [CameraFormat], isInUse: Bool = false
    ) -> (kind: DeviceReport.Kind, isUsable: Bool, remark: String?) {
        DeviceDirectory.verdict(
            capabilities: DeviceCapabilities(
                driver: driver, card: "Card", busInfo: "bus", flags: flags), formats: formats,
            isInUse: isInUse)
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

    @Test func refusesACameraThatAnotherProgramUses() {
        let result = verdict("uvcvideo", capture, [colour], isInUse: true)
        #expect(result.kind == .camera && !result.isUsable)
        #expect(result.remark?.contains("another program") == true)
    }

    private func loopback(
        _ flags: UInt32, _ writer: LoopbackWriter, card: String = "Card"
    ) -> (kind: DeviceReport.Kind, isUsable: Bool, remark: String?) {
        DeviceDirectory.verdict(
            loopback: DeviceCapabilities(
                driver: "v4l2 loopback", card: card, busInfo: "bus", flags: flags), writer: writer)
    }

    @Test func takesALoopbackInEveryStateUnlessAnotherProgramWrites() {
        for flags in [0, capture, CLINUX_V4L2_CAP_VIDEO_OUTPUT, .max] {
            let free = loopback(flags, .nobody)
            #expect(free.kind == .loopback && free.isUsable)
            for writer in [LoopbackWriter.lucida, .otherProgram] {
                let taken = loopback(flags, writer)
                #expect(taken.kind == .loopback && !taken.isUsable)
                #expect(taken.remark?.contains("writes to it") == true)
            }
        }
    }

    private func report(_ path: String, card: String, isUsable: Bool = true) -> DeviceReport {
        DeviceReport(
            path: path, stablePaths: [], kind: .loopback, card: card, driver: "v4l2 loopback",
            busInfo: "", isUsable: isUsable, remark: nil, modes: [], controls: [])
    }

    @Test func prefersTheLoopbackThatIsCalledLucida() {
        let others = report("/dev/video8", card: "OBS Virtual Camera")
        let ours = report("/dev/video9", card: "Lucida")
        let taken = report("/dev/video7", card: "Lucida", isUsable: false)
        func choice(_ devices: [DeviceReport]) -> String? {
            DeviceDirectory.preferredLoopback(of: devices)?.path
        }
        #expect(choice([others, ours]) == "/dev/video9")
        #expect(choice([taken, others]) == "/dev/video8")
        #expect(choice([taken]) == nil)
    }
}

@Suite struct CaptureCountersTests {
    @Test func summarisesWhatWentWrongAndNothingElse() {
        var counters = CaptureCounters()
        counters.frames = 100
        #expect(counters.faults == nil)
        counters.flaggedFaulty = 3
        counters.short = 2
        counters.restarts = 1
        #expect(
            counters.faults
                == "frames: 3 flagged faulty, 2 short or no JPEG, stream restarted 1 times")
    }
}
