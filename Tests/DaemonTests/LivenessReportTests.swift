// What a run may be called, from its figures alone.

import Foundation
import Pipeline
import Realtime
import Testing
import Video

@testable import Daemon

@Suite struct LivenessReportTests {
    /// A report of a run that nothing speaks against.
    func live() -> LivenessReport {
        let times = LivenessReport.Percentiles(LatencyHistogram())
        return LivenessReport(
            seconds: 60, lookAheadFrames: 0, delayFrames: 0,
            input: .init(
                source: "test", frames: 1800, bad: 0, lostBySource: 0, skipped: 0, failed: 0,
                early: 0, paused: 0),
            camera: .init(),
            outputs: [
                .init(
                    sink: "null", frames: 1800, dropped: 0, skipped: 0, refused: 0, repeated: 0,
                    cards: 0, fps: 30, harmonicFPS: 30, age: times, ageByBarcode: nil,
                    barcodeMismatches: nil, write: times, interruptions: 0, isLost: false)
            ],
            stages: .init(capture: times, queue: times, transform: times),
            resources: .init(
                allocationsPerFrame: 0, steadyStateFrames: 1770, peakResidentMB: 80,
                residentGrowthMB: 0.1, steadySeconds: 55, residentChangeMB: 0, processorLoad: 0.5,
                workShare: 0.25),
            setup: .init(
                version: lucidaVersion, model: "base", architecture: "net v1", style: "ink",
                size: "640×360", modelSize: "640×360",
                threads: 2, processor: "", instructionSet: "avx2", blasCore: "Haswell",
                precision: "f32 (18)", precisionReason: "as configured"),
            audioDelayMilliseconds: 15, verdict: .init(isLive: false, reasons: []))
    }

    @Test func `young frames at the source's rate in steady memory are live`() {
        let verdict = live().judged(isPaced: true)
        #expect(verdict.isLive)
        #expect(verdict.reasons.isEmpty)
    }

    @Test func `each thing that speaks against it is named`() {
        #expect(!live().judged(isPaced: false).isLive)
        var report = live()
        report.lookAheadFrames = 3
        #expect(report.judged(isPaced: true).reasons == ["it looked 3 frames ahead"])
        report = live()
        report.outputs[0].age.p99 = 109.052
        #expect(
            report.judged(isPaced: true).reasons == [
                "1 % of the frames were older than 109.1 ms, 100 ms are allowed"
            ])
        report = live()
        (report.input.frames, report.outputs[0].frames) = (0, 0)
        #expect(report.judged(isPaced: true).reasons == ["nothing was filmed"])
        report = live()
        report.outputs[0].frames = 1700
        #expect(report.judged(isPaced: true).reasons == ["only 1700 of 1800 frames came out"])
        report.input.early = 100
        #expect(report.judged(isPaced: true).isLive)
        report = live()
        report.input.lostBySource = 200
        #expect(!report.judged(isPaced: true).isLive)
        report = live()
        report.resources.residentGrowthMB = 30
        #expect(report.judged(isPaced: true).reasons == ["memory grew by 30.0 MB"])
        report.resources.steadySeconds = 24
        #expect(report.judged(isPaced: true).isLive)
        report.resources.residentGrowthMB = nil
        #expect(report.judged(isPaced: true).isLive)
    }

    @Test func `what a live change adds is reported, and does not speak against a run`() {
        var report = live()
        report.resources.residentChangeMB = 35.2
        #expect(report.judged(isPaced: true).isLive)
        #expect(report.text.contains("grew 0.1 MB, changed by 35.2 MB with the look"))
        #expect(!live().text.contains("with the look"))
    }

    @Test func `growth is what comes before, between and after changes`() {
        var memory = MemoryGrowth()
        memory.follow(50, at: 1)
        #expect(memory.bytes == nil)
        memory.follow(100, at: 5.2)
        memory.follow(103, at: 10)
        #expect(memory.bytes == 3)
        // The change and its fade, and one while that settles.
        memory.noteChange(at: 10, fade: 2)
        memory.follow(150, at: 11)
        memory.noteChange(at: 12, fade: 0)
        memory.follow(140, at: 16.9)
        #expect(memory.bytes == 3 && memory.changeBytes == 0)
        memory.follow(140, at: 17.1)
        memory.follow(141, at: 20)
        #expect(memory.bytes == 4 && memory.changeBytes == 37)
        // A leak does not hide behind many changes.
        memory.noteChange(at: 20, fade: 0)
        memory.follow(141, at: 25.1)
        memory.follow(161, at: 30)
        #expect(memory.bytes == 24 && memory.changeBytes == 37)
        #expect(abs(memory.steadySeconds - (4.8 + 2.9 + 4.9)) < 1e-9)
        // Before it has warmed up a change only takes longer.
        var early = MemoryGrowth()
        early.noteChange(at: 3, fade: 1)
        early.follow(10, at: 8.9)
        #expect(early.bytes == nil)
        early.follow(20, at: 9.1)
        early.follow(22, at: 10)
        #expect(early.bytes == 2 && early.changeBytes == 0)
    }

    @Test func `the JSON reads back as it was`() throws {
        let json = try live().json()
        let back = try JSONDecoder().decode(LivenessReport.self, from: json)
        #expect(back.outputs[0].frames == 1800)
        #expect(back.resources.allocationsPerFrame == 0)
        #expect(try back.json() == json)
    }

    @Test func `percentiles are in milliseconds`() {
        var histogram = LatencyHistogram()
        for _ in 0..<99 { histogram.record(nanoseconds: 10_000_000) }
        histogram.record(nanoseconds: 80_000_000)
        let times = LivenessReport.Percentiles(histogram)
        #expect(abs(times.p50 - 10) < 0.4)
        #expect(abs(times.p99 - 10) < 0.4)
        #expect(times.max == 80)
    }

    @Test(arguments: [
        (1.0, "in full, nothing reused"), (0.999, "99 % of the network's work, the rest reused"),
        (0.25, "25 % of the network's work, the rest reused"), (0, "0 % of the network's work"),
        (nil, "0.50 cores busy\n"),
    ])
    func `the text says what was reused, and no rest where there is none`(
        share: Double?, words: String
    ) {
        var report = live()
        report.resources.workShare = share
        #expect(report.text.contains(words), "\(report.text)")
    }

    @Test(arguments: [(0, false), (1, true), (3, true)])
    func `the text says by how many frames a picture comes later`(delay: Int, isSaid: Bool) {
        var report = live()
        report.delayFrames = delay
        let words = "stream batch \(delay) frame" + (delay == 1 ? "\n" : "s\n")
        #expect(report.text.contains(words) == isSaid, "\(report.text)")
        #expect(report.text.contains("stream batch") == isSaid)
    }

    @Test func `what became of frames has one name each`() {
        var report = live()
        report.input.skipped = 3
        report.input.failed = 1
        report.outputs[0].dropped = 6
        report.outputs[0].skipped = 2
        let text = report.text
        #expect(text.contains("1800 frames, 0 lost by source, 0 bad, 3 skipped, 1 failed\n"))
        #expect(text.contains("1800 frames, 6 dropped (here 2 skipped), 0 repeated"), "\(text)")
        report.outputs[0].skipped = 0
        #expect(report.text.contains("6 dropped, 0 repeated"))
    }

    @Test func `the text names what a person looks for`() {
        var report = live()
        report.outputs[0].isLost = true
        let text = report.text
        for word in ["frame age", "30.00 fps", "0.00 allocations", "audio delay", "LOST"] {
            #expect(text.contains(word), "\(word) is missing in\n\(text)")
        }
    }
}
