// Random faults, viewers and changes for a long time: `make soak`; shorter in every test run.

import Foundation
import Glibc
import Realtime
import Synchronization
import Testing
import Video

@testable import Pipeline

@Suite(.serialized) struct SoakTests {
    /// What happens to a running pipeline.
    private enum Happening: CaseIterable {
        case absent, busy, stalled, lost, hopeless, leaves, probes, pause, otherTransform,
            otherSource,
            demand
    }

    /// A lost camera is tried once a second.
    private static let recoverySeconds = 2

    /// Frames to be captured: `LUCIDA_SOAK`, or few.
    private var frameCount: UInt64 {
        ProcessInfo.processInfo.environment["LUCIDA_SOAK"].flatMap(UInt64.init) ?? 3000
    }
    private var isLong: Bool { ProcessInfo.processInfo.environment["LUCIDA_SOAK"] != nil }

    @Test(.timeLimit(.minutes(30)))
    func `whatever happens, pictures come again in time, and nothing is left behind`() throws {
        var generator = SplitMix(state: 11)
        let stage = try Stage()
        #expect(stage.settle(in: .live))
        var counts: [Happening: Int] = [:]
        var start: Footprint?
        // Of the first tenth of the run, and of the last.
        var (early, late): (LatencyHistogram?, LatencyHistogram?)
        while stage.pipeline.counters.captured < frameCount {
            // In turn until each was there, then at random.
            let happening =
                Happening.allCases.first { counts[$0] == nil }
                ?? Happening.allCases.randomElement(using: &generator)!
            counts[happening, default: 0] += 1
            try make(happening, on: stage, &generator)
            #expect(recovers(stage), "after \(happening)")
            if start == nil, stage.pipeline.counters.captured > frameCount / 10,
                counts.count == Happening.allCases.count
            {
                start = Footprint()
            }
            let captured = stage.pipeline.counters.captured
            if early == nil, captured > frameCount / 10 { early = stage.sink.takeAges() }
            if late == nil, captured > frameCount * 9 / 10 { late = stage.sink.takeAges() }
        }
        late = stage.sink.takeAges()
        let end = Footprint()
        let summary = stage.finish()
        #expect(summary.framesIn > 0)
        if isLong, let start {
            print("\(counts)\n\(start)\n\(end)\n\(summary.supervision)")
            #expect(counts.values.allSatisfy { $0 >= 20 })
            // A picture is repeated for a second at most; the rest is the machine's.
            #expect(stage.sink.oldestAge.load(ordering: .relaxed) < 3_000_000_000)
            let p99 = [early, late].map { Double($0?.percentile(0.99) ?? .max) / 1e6 }
            print("frame age p99: \(p99[0]) ms in the first tenth, \(p99[1]) ms in the last")
            // As at first; the machine has other work, too.
            #expect(p99[1] <= 2 * p99[0] + 10)
            #expect(end.descriptors == start.descriptors && end.threads == start.threads)
            #expect(end.residentBytes - start.residentBytes <= 1 << 20)
        }
    }

    private func make(
        _ happening: Happening, on stage: Stage, _ generator: inout SplitMix
    ) throws {
        switch happening {
        case .absent, .busy:
            stage.camera.set(.lost)
            #expect(stage.settle(in: .waiting))
            stage.camera.set(happening == .busy ? .busy : .absent)
            for _ in 0..<generator.next() % 4 { stage.pass(seconds: 1) }
        case .stalled:
            stage.camera.set(.stalled)
            stage.pass(seconds: 1)
        case .lost:
            stage.camera.set(.lost)
            #expect(stage.settle(in: .waiting))
        case .hopeless:
            stage.camera.set(.hopeless)
            for _ in 0..<generator.next() % 6 { stage.pass(seconds: 1) }
        case .leaves:
            stage.pass(seconds: 0, isWatched: false)
            stage.pass(seconds: Double(generator.next() % 5), isWatched: false)
        case .probes:
            for _ in 0..<4 {
                stage.pass(seconds: 0.5, isWatched: false)
                stage.pass(seconds: 0.5, isWatched: true)
            }
        case .pause:
            stage.pipeline.setPaused(true)
            stage.pass(seconds: Double(generator.next() % 5))
            stage.pipeline.setPaused(false)
        case .otherTransform:
            try stage.pipeline.replaceFront(source: nil, transform: MarkingTransform())
        case .otherSource:
            let camera = DoubleCamera()
            try stage.pipeline.replaceFront(source: camera, transform: nil)
            stage.camera = camera
        case .demand:
            let isOn = generator.next() % 2 == 0
            stage.pipeline.setDemand(
                opensOnDemand: isOn, lingerNanoseconds: Int64(generator.next() % 4_000_000_000))
        }
    }

    /// Whether pictures come within the time that is allowed, by the supervision's clock.
    private func recovers(_ stage: Stage) -> Bool {
        stage.camera.set(.none)
        for _ in 0...Self.recoverySeconds {
            let count = stage.pipeline.framesWritten
            // The threads may take as long as they need; what waits needs time of the supervision.
            let isDone = stage.settle(isWatched: true) {
                stage.pipeline.sourceState == .waiting
                    || stage.pipeline.sourceState == .live && stage.isShowingPicture
                        && stage.pipeline.framesWritten > count + 20
            }
            guard isDone else { return false }
            if stage.pipeline.sourceState == .live { return true }
            stage.pass(seconds: 1)
        }
        return false
    }
}

/// What this process holds.
private struct Footprint: CustomStringConvertible {
    let residentBytes: Int
    let descriptors: Int
    let threads: Int

    init() {
        let pages = (try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8)) ?? ""
        residentBytes =
            (pages.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0)
            * Int(sysconf(Int32(_SC_PAGESIZE)))
        func count(_ folder: String) -> Int {
            (try? FileManager.default.contentsOfDirectory(atPath: folder))?.count ?? -1
        }
        descriptors = count("/proc/self/fd")
        threads = count("/proc/self/task")
    }

    var description: String {
        "\(residentBytes / 1024) KiB resident, \(descriptors) descriptors, \(threads) threads"
    }
}
