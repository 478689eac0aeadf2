import Foundation
import Realtime
import Testing
import Video

@testable import Pipeline

@Suite struct SyntheticCameraTests {
    private func format(_ width: Int = 128, _ height: Int = 80, rate: FrameRate = FrameRate(30))
        -> VideoFormat
    {
        VideoFormat(pixelFormat: .rgb24, width: width, height: height, frameRate: rate)
    }

    private func pictures(
        seed: UInt64 = 1, count: Int, _ width: Int = 128, _ height: Int = 80
    ) throws -> [[UInt8]] {
        let camera = SyntheticCamera(format: format(width, height), seed: seed, isPaced: false)
        let frame = FrameBuffer(format: try camera.prepare())
        defer { camera.finish() }
        return (0..<count).map { _ in
            #expect(camera.next(into: frame) == .frame)
            return Array(frame.bytes)
        }
    }

    // MARK: - Pictures

    @Test func `the same seed and frame give the same bytes`() throws {
        let first = try pictures(count: 6)
        #expect(try pictures(count: 6) == first)
        #expect(Set(first).count == 6)
        #expect(try pictures(seed: 2, count: 1)[0] != first[0])
    }

    @Test func `the person moves, not just the noise`() throws {
        // Two seconds later a hand is raised.
        let frames = try pictures(count: 61)
        // The largest difference of brightness over 8×8 squares, above the barcode.
        let change = (0..<8).flatMap { row in
            (0..<16).map { column in
                abs(mean(frames[0], row, column) - mean(frames[60], row, column))
            }
        }
        #expect(try #require(change.max()) > 25)
    }

    private func mean(_ picture: [UInt8], _ row: Int, _ column: Int) -> Int {
        var sum = 0
        for y in 8 * row..<8 * row + 8 {
            for x in 24 * column..<24 * column + 24 { sum += Int(picture[y * 384 + x]) }
        }
        return sum / 192
    }

    @Test(arguments: [(16, 16), (17, 300), (300, 17), (4096, 16), (16, 4096), (97, 131)])
    func `every size and shape can be drawn`(width: Int, height: Int) throws {
        let frames = try pictures(count: 2, width, height)
        #expect(frames[0] != frames[1])
        // Something is drawn everywhere: no row is black.
        for y in 0..<height {
            #expect(frames[0][y * 3 * width..<(y + 1) * 3 * width].contains { $0 > 20 })
        }
    }

    @Test func `each picture carries its own number`() throws {
        let camera = SyntheticCamera(format: format(), isPaced: false)
        let frame = FrameBuffer(format: try camera.prepare())
        for number in 0..<20 as Range<UInt64> {
            #expect(camera.next(into: frame) == .frame)
            #expect(frame.metadata.sequence == number)
            #expect(Barcode.read(frame) == UInt32(number))
        }
    }

    @Test func `formats that cannot be drawn are refused by name`() {
        var yuyv = format()
        yuyv.pixelFormat = .yuyv
        #expect(throws: SyntheticCameraError.pixelFormat(.yuyv)) {
            try SyntheticCamera(format: yuyv).prepare()
        }
        for (width, height) in [(15, 16), (16, 15), (4097, 16), (16, 4097)] {
            #expect(throws: SyntheticCameraError.size(width: width, height: height)) {
                try SyntheticCamera(format: format(width, height)).prepare()
            }
        }
        #expect("\(SyntheticCameraError.size(width: 8, height: 9))".contains("8×9"))
    }

    // MARK: - Stream

    @Test func `the stream ends at its limit, and begins again after prepare`() throws {
        let camera = SyntheticCamera(format: format(16, 16), isPaced: false, frameLimit: 3)
        let frame = FrameBuffer(format: try camera.prepare())
        for _ in 0..<2 {
            for _ in 0..<3 { #expect(camera.next(into: frame) == .frame) }
            #expect(camera.next(into: frame) == .endOfStream)
            #expect(camera.next(into: frame) == .endOfStream)
            camera.finish()
            camera.finish()
            _ = try camera.prepare()
        }
    }

    @Test func `a closed camera delivers nothing`() throws {
        let camera = SyntheticCamera(format: format(16, 16))
        let frame = FrameBuffer(format: format(16, 16))
        #expect(camera.next(into: frame) == .deviceLost)
        _ = try camera.prepare()
        camera.finish()
        #expect(camera.next(into: frame) == .deviceLost)
    }

    @Test func `paced frames carry their due times and come no sooner`() throws {
        let rate = FrameRate(500)
        let camera = SyntheticCamera(format: format(16, 16, rate: rate), frameLimit: 20)
        let frame = FrameBuffer(format: try camera.prepare())
        var first: FrameMetadata?
        while true {
            let status = camera.next(into: frame)
            if status == .endOfStream { break }
            guard status == .frame else { continue }
            let metadata = frame.metadata
            #expect(MonotonicClock.nowNanoseconds >= metadata.timestampNanoseconds)
            let start = first ?? metadata
            first = start
            #expect(
                metadata.timestampNanoseconds
                    == start.timestampNanoseconds
                    + Int64(metadata.sequence - start.sequence) * 2_000_000)
        }
        #expect(first?.sequence == 0)
    }

    @Test func `frames that nobody fetched are skipped`() throws {
        let camera = SyntheticCamera(format: format(16, 16, rate: FrameRate(1000)))
        let frame = FrameBuffer(format: try camera.prepare())
        #expect(camera.next(into: frame) == .frame)
        #expect(frame.metadata.sequence == 0)
        usleep(50_000)
        #expect(camera.next(into: frame) == .frame)
        // Asleep for 50 ms or more: at least 49 frames went by.
        #expect(frame.metadata.sequence >= 49)
    }

    @Test(.timeLimit(.minutes(1))) func `an interrupted wait ends at once`() throws {
        // One frame an hour: each call would nap for 100 ms, 2000 of them for minutes.
        let camera = SyntheticCamera(format: format(16, 16, rate: FrameRate(1, 3600)))
        let frame = FrameBuffer(format: try camera.prepare())
        #expect(camera.next(into: frame) == .frame)
        for _ in 0..<2000 {
            camera.interrupt()
            #expect(camera.next(into: frame) == .again)
        }
    }

    // MARK: - Schedule

    @Test func `a late consumer gets the newest frame once, never a burst`() {
        var schedule = FrameSchedule(frameRate: FrameRate(10), startNanoseconds: 1_000)
        #expect(schedule.step(at: 999) == .wait(nanoseconds: 1))
        #expect(schedule.step(at: 1_000) == .deliver(frame: 0))
        #expect(schedule.step(at: 1_000) == .wait(nanoseconds: 100_000_000))
        #expect(schedule.step(at: 100_001_000) == .deliver(frame: 1))
        // Two and a half intervals late.
        #expect(schedule.step(at: 450_001_000) == .deliver(frame: 4))
        #expect(schedule.step(at: 450_001_000) == .wait(nanoseconds: 50_000_000))
        #expect(schedule.step(at: 500_001_000) == .deliver(frame: 5))
    }

    @Test func `due times are exact after years, at any rate`() {
        for rate in [FrameRate(30_000, 1001), FrameRate(1, 3600), FrameRate(240), FrameRate(7, 3)] {
            let start: Int64 = 77_000_000_000
            let numerator = UInt64(rate.numerator)
            // So many whole periods of numerator/denominator, three years and more.
            let periods = UInt64(100_000_000) / UInt64(rate.denominator)
            var schedule = FrameSchedule(frameRate: rate, startNanoseconds: start)
            let frame = periods * numerator
            let due = schedule.dueNanoseconds(of: frame)
            #expect(
                due == start + Int64(periods) * Int64(rate.denominator) * 1_000_000_000)
            #expect(schedule.step(at: due) == .deliver(frame: frame))
            #expect(schedule.dueNanoseconds(of: frame + 1) > due)
        }
    }

    // MARK: - Frame clock

    @Test func `the clock gives back number and time of unpaced frames, the last 255 of them`()
        throws
    {
        let camera = SyntheticCamera(format: format(96, 60), isPaced: false)
        _ = try camera.prepare()
        let frame = FrameBuffer(format: format(96, 60))
        let oldest = FrameBuffer(format: format(96, 60))
        #expect(camera.next(into: oldest) == .frame)
        #expect(camera.read(oldest) == oldest.metadata)
        for _ in 0..<254 {
            #expect(camera.next(into: frame) == .frame)
            #expect(camera.read(frame) == frame.metadata)
        }
        #expect(camera.read(oldest) == oldest.metadata)
        #expect(camera.next(into: frame) == .frame)
        #expect(camera.read(oldest) == nil)
    }

    @Test func `the clock knows due times of paced frames, also from a scaled copy`() throws {
        let camera = SyntheticCamera(format: format(256, 144, rate: FrameRate(1000)))
        let frame = FrameBuffer(format: try camera.prepare())
        for _ in 0..<3 {
            while camera.next(into: frame) != .frame {}
            #expect(camera.read(frame) == frame.metadata)
            let half = FrameBuffer(format: format(128, 72))
            for y in 0..<72 {
                for x in 0..<128 {
                    for channel in 0..<3 {
                        half.bytes[(y * 128 + x) * 3 + channel] =
                            frame.bytes[(y * 2 * 256 + x * 2) * 3 + channel]
                    }
                }
            }
            #expect(camera.read(half) == frame.metadata)
        }
        // A number that has not come yet is not one of ours.
        Barcode.draw(9_000_000, into: frame)
        #expect(camera.read(frame) == nil)
    }

    @Test func `a wrapped barcode is extended to the nearest frame`() {
        let times = FrameTimes(frameRate: FrameRate(30), isPaced: false)
        #expect(times.metadata(ofBarcode: 0) == nil)
        let wrap: UInt64 = 1 << 24
        for number in wrap - 3...wrap + 5 { times.record(number, Int64(number) * 10) }
        for number in wrap - 3...wrap + 5 {
            #expect(
                times.metadata(ofBarcode: UInt32(number % wrap))
                    == FrameMetadata(
                        timestampNanoseconds: Int64(number) * 10, sequence: number))
        }
        #expect(times.metadata(ofBarcode: 6) == nil)
    }

    @Test func `a clock read beside the capture thread never gives a wrong time`() throws {
        let times = FrameTimes(frameRate: FrameRate(30), isPaced: false)
        let last: UInt64 = 200_000
        let writer = try RealtimeThread(name: "writer") {
            for number in 0...last { times.record(number, Int64(number) * 10) }
        }
        var value: UInt32 = 0
        while value < last {
            // Old, recent and future ones alike.
            for offset in stride(from: UInt32(0), to: 600, by: 7) {
                guard let found = times.metadata(ofBarcode: value + offset) else { continue }
                #expect(found.timestampNanoseconds == Int64(found.sequence) * 10)
                #expect(found.sequence == UInt64(value + offset))
            }
            value += 50
        }
        writer.join()
    }
}
