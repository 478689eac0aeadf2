// Messages: each names the device and says what to do.

import Glibc
import Testing
import Video

@testable import V4L2

@Suite struct V4L2ErrorTests {
    private func text(_ errno: Int32) -> String {
        V4L2Error(operation: "start the stream", errno: errno, device: "/dev/video7").description
    }

    @Test(arguments: [
        (EBUSY, "another program"), (EACCES, "group video"), (ENOENT, "lucida devices"),
        (ENODEV, "plug it in"), (ENOSPC, "bandwidth"), (EINVAL, "does not support"),
    ])
    func saysWhatToDo(errno: Int32, advice: String) {
        #expect(text(errno).hasPrefix("/dev/video7: cannot start the stream: "))
        #expect(text(errno).contains(advice))
    }

    @Test func namesAMissingDevice() {
        let error = #expect(throws: V4L2Error.self) { try VideoDevice(path: "/dev/video-none") }
        #expect(error?.errno == ENOENT)
        #expect(error?.device == "/dev/video-none")
    }

    @Test func refusesWhatIsNoVideoDevice() {
        let error = #expect(throws: V4L2Error.self) { try VideoDevice(path: "/dev/null") }
        #expect(error?.description.contains("not a video device") == true)
        #expect(throws: V4L2Error.self) {
            try LoopbackOutput(
                path: "/dev/zero",
                format: VideoFormat(
                    pixelFormat: .yuyv, width: 64, height: 48, frameRate: FrameRate(30)))
        }
    }

    @Test func findsNoCameraByAWrongName() {
        let error = #expect(throws: V4L2Error.self) {
            try DeviceDirectory.cameraPaths(for: "usb-No_Such_Camera")
        }
        #expect(error?.description.contains("/dev/v4l/by-id") == true)
    }
}
