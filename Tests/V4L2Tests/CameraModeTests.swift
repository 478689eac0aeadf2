// The choice of a mode, on the tables of real cameras.

import Testing
import Video

@testable import V4L2

@Suite struct CameraModeTests {
    private static func sizes(_ table: [(Int, Int, [FrameRate])]) -> [CameraSize] {
        table.map { CameraSize($0.0, $0.1, $0.2) }
    }

    /// Logitech QuickCam Pro 9000: raw 720p crawls, MJPEG does not.
    private let logitech9000 = [
        CameraFormat(
            fourCC: "YUYV",
            sizes: sizes([
                (640, 480, [FrameRate(30), FrameRate(15)]), (320, 240, [FrameRate(30)]),
                (1280, 720, [FrameRate(15, 2), FrameRate(5)]), (1600, 1200, [FrameRate(5)]),
            ])),
        CameraFormat(
            fourCC: "MJPG",
            sizes: sizes([
                (640, 480, [FrameRate(30)]), (1280, 720, [FrameRate(30), FrameRate(15)]),
            ])),
    ]

    private func best(
        _ formats: [CameraFormat], _ width: Int, _ height: Int, _ rate: FrameRate = FrameRate(30)
    ) -> String? {
        CameraMode.best(of: formats, width: width, height: height, rate: rate)?.description
    }

    @Test func takesMJPEGAbove640x480() {
        #expect(best(logitech9000, 1280, 720) == "MJPG 1280×720 @ 30 fps")
    }

    @Test func takesRawUpTo640x480() {
        #expect(best(logitech9000, 640, 480) == "YUYV 640×480 @ 30 fps")
        #expect(best(logitech9000, 320, 240) == "YUYV 320×240 @ 30 fps")
    }

    @Test func takesMJPEGEvenWhereRaw720pIsFastEnough() {
        let usb3 = [
            CameraFormat(fourCC: "YUYV", sizes: [CameraSize(1280, 720, [FrameRate(30)])]),
            CameraFormat(fourCC: "MJPG", sizes: [CameraSize(1280, 720, [FrameRate(30)])]),
        ]
        #expect(best(usb3, 1280, 720) == "MJPG 1280×720 @ 30 fps")
    }

    @Test func prefersASmallerPictureToACrawlingOne() {
        let rawOnly = [logitech9000[0]]
        #expect(best(rawOnly, 1280, 720) == "YUYV 640×480 @ 30 fps")
    }

    @Test func prefersMJPEGToRawThatIsTooSlow() {
        let formats = [
            CameraFormat(fourCC: "YUYV", sizes: [CameraSize(640, 480, [FrameRate(15)])]),
            CameraFormat(fourCC: "MJPG", sizes: [CameraSize(640, 480, [FrameRate(30)])]),
        ]
        #expect(best(formats, 640, 480) == "MJPG 640×480 @ 30 fps")
    }

    @Test func takesTheSlowestRateThatSuffices() {
        let fast = [
            CameraFormat(
                fourCC: "MJPG",
                sizes: [
                    CameraSize(1280, 720, [FrameRate(60), FrameRate(30000, 1001), FrameRate(15)])
                ])
        ]
        #expect(best(fast, 1280, 720) == "MJPG 1280×720 @ 29.97 fps")
        #expect(best(fast, 1280, 720, FrameRate(50)) == "MJPG 1280×720 @ 60 fps")
        #expect(best(fast, 1280, 720, FrameRate(90)) == "MJPG 1280×720 @ 60 fps")
    }

    @Test func takesTheNearestLargerSizeAndAspect() {
        let formats = [
            CameraFormat(
                fourCC: "YUYV",
                sizes: Self.sizes([
                    (1920, 1080, [FrameRate(30)]), (640, 480, [FrameRate(30)]),
                    (640, 360, [FrameRate(30)]), (320, 180, [FrameRate(30)]),
                ]))
        ]
        #expect(best(formats, 640, 360) == "YUYV 640×360 @ 30 fps")
        #expect(best(formats, 128, 80) == "YUYV 320×180 @ 30 fps")
        #expect(best(formats, 4000, 3000) == "YUYV 1920×1080 @ 30 fps")
    }

    @Test func fitsARangeOfSizes() {
        let range = [
            CameraFormat(
                fourCC: "YUYV",
                sizes: [
                    CameraSize(
                        width: SteppedRange(minimum: 48, maximum: 1920, step: 16),
                        height: SteppedRange(minimum: 32, maximum: 1080, step: 8),
                        rates: [RateRange(minimum: FrameRate(1), maximum: FrameRate(60))])
                ])
        ]
        #expect(best(range, 640, 360) == "YUYV 640×360 @ 30 fps")
        #expect(best(range, 650, 363) == "YUYV 656×360 @ 30 fps")
    }

    @Test func usesAnExoticFormatOnlyIfThereIsNoOther() {
        let exotic = CameraFormat(fourCC: "YVYU", sizes: [CameraSize(640, 480, [FrameRate(30)])])
        let common = CameraFormat(fourCC: "YUYV", sizes: [CameraSize(640, 480, [FrameRate(24)])])
        #expect(best([exotic], 640, 480) == "YVYU 640×480 @ 30 fps")
        #expect(best([exotic, common], 640, 480) == "YUYV 640×480 @ 24 fps")
    }

    @Test func refusesGreyAndUnknownFormats() {
        let infrared = [
            CameraFormat(fourCC: "GREY", sizes: [CameraSize(640, 360, [FrameRate(15)])]),
            CameraFormat(fourCC: "Z16 ", sizes: [CameraSize(640, 360, [FrameRate(15)])]),
        ]
        #expect(best(infrared, 640, 360) == nil)
        #expect(best([], 640, 360) == nil)
    }

    @Test func managesWithoutListedRates() {
        let formats = [CameraFormat(fourCC: "UYVY", sizes: [CameraSize(1920, 1080, [])])]
        #expect(best(formats, 1920, 1080) == "UYVY 1920×1080")
    }

    @Test func findsTheNearestStep() {
        let range = SteppedRange(minimum: 48, maximum: 100, step: 16)
        #expect(
            [0, 55, 57, 96, 99, 500].map { range.nearest(to: $0) } == [48, 48, 64, 96, 96, 96])
        #expect(SteppedRange(minimum: 10, maximum: 20, step: 0).nearest(to: 13) == 13)
    }
}
