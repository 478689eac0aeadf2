// Names and values of camera controls.

import Testing

@testable import V4L2

@Suite struct CameraControlTests {
    private let powerLine = CameraControl(
        id: 1, label: "Power Line Frequency",
        kind: .menu([
            .init(index: 0, label: "Disabled"), .init(index: 1, label: "50 Hz"),
            .init(index: 2, label: "60 Hz"),
        ]), minimum: 0, maximum: 2)
    private let zoom = CameraControl(
        id: 2, label: "Zoom, Absolute", kind: .integer, minimum: 100, maximum: 500, step: 10)
    private let dynamic = CameraControl(
        id: 3, label: "Exposure, Dynamic Framerate", kind: .boolean, minimum: 0, maximum: 1)

    private func number(_ control: CameraControl, _ value: ControlValue) -> Int? {
        try? control.number(for: value, device: "/dev/video0")
    }

    @Test(arguments: [
        ("Power Line Frequency", "power_line_frequency"),
        ("Exposure, Dynamic Framerate", "exposure_dynamic_framerate"),
        ("White Balance Temperature, Auto", "white_balance_temperature_auto"),
        ("  Gain (dB) ", "gain_db"), ("LED1 Mode", "led1_mode"), ("Übersicht", "bersicht"),
        ("", ""),
    ])
    func namesThemAsV4L2CtlDoes(label: String, name: String) {
        #expect(CameraControl.name(of: label) == name)
    }

    @Test func takesAMenuItemByIndexOrLabel() {
        #expect(number(powerLine, .integer(2)) == 2)
        #expect(number(powerLine, .text("50 Hz")) == 1)
        #expect(number(powerLine, .text("50hz")) == nil)
        #expect(number(powerLine, .text("DISABLED")) == 0)
        #expect(number(powerLine, .text("1")) == 1)
        #expect(number(powerLine, .boolean(true)) == nil)
    }

    @Test func takesTruthValuesInWords() {
        #expect(number(dynamic, .boolean(true)) == 1)
        #expect(number(dynamic, .text("off")) == 0)
        #expect(number(dynamic, .integer(1)) == 1)
        #expect(number(dynamic, .integer(2)) == nil)
        #expect(number(dynamic, .text("maybe")) == nil)
    }

    @Test func takesNumbersOfTheRangeAndStep() {
        #expect(number(zoom, .integer(110)) == 110)
        #expect(number(zoom, .text("500")) == 500)
        #expect(number(zoom, .integer(105)) == nil)
        #expect(number(zoom, .integer(90)) == nil)
        #expect(number(zoom, .integer(510)) == nil)
        #expect(number(zoom, .integer(.min)) == nil)
    }

    @Test func saysWhatIsAllowed() {
        let error = #expect(throws: V4L2Error.self) {
            try powerLine.number(for: .text("55 Hz"), device: "/dev/video0")
        }
        #expect(
            error?.description
                == "/dev/video0: cannot set the control power_line_frequency to \"55 Hz\": "
                + "it takes 0 (Disabled), 1 (50 Hz), 2 (60 Hz)")
        #expect(zoom.allowed == "100 to 500 in steps of 10")
    }

    @Test func refusesToSetWhatCanOnlyBeRead() {
        var fixed = zoom
        fixed.isReadOnly = true
        #expect(number(fixed, .integer(110)) == nil)
    }
}
