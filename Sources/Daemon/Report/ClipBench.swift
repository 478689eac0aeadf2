// `lucida bench engine --clip`: temporal reuse on footage, for people and for programs. Control thread.

internal import FoundationEssentials
internal import Glibc
internal import LibAV
public import Logging
internal import Models
internal import Pipeline
internal import Video

/// Speed and fidelity of temporal reuse on one clip.
public struct ClipBench: Codable {
    /// What is done to the clip.
    public struct Options: Sendable {
        /// A video file.
        public var file: String
        /// Standard deviation of added noise at mid-grey, in levels; seeded.
        public var noise: Double
        /// The clip is repeated until so many seconds are full; 0: once.
        public var loopSeconds: Double

        /// A clip as it is, once, unless told otherwise.
        public init(file: String, noise: Double = 0, loopSeconds: Double = 0) {
            self.file = file
            self.noise = noise
            self.loopSeconds = loopSeconds
        }
    }

    private let clip: String
    private let noise: Double
    private let model: String
    private let size: String
    private let threads: Int
    private let processor: String
    private let frames: Int
    private let psnr: Double
    private let worstFramePSNR: Double
    private let worstTilePSNR: Double
    private let workShare: Double
    private let noiseLevels: Double
    private let precision: String
    private let whole: Times
    private let reuse: Times
    private let speedup: Double
    private let steps: [Step]

    /// Of a frame, and what it takes.
    private struct Times: Codable {
        let meanMilliseconds: Double
        let medianMilliseconds: Double
        let p99Milliseconds: Double
        let arenaMB: Double
        let allocationsPerFrame: Double?

        init(_ milliseconds: [Double], arenaBytes: Int, allocations: Int64?) {
            let sorted = milliseconds.sorted()
            let count = sorted.count
            meanMilliseconds = thousandths(sorted.reduce(0, +) / Double(count))
            medianMilliseconds = thousandths(sorted[count / 2])
            p99Milliseconds = thousandths(sorted[min(count - 1, count * 99 / 100)])
            arenaMB = thousandths(Double(arenaBytes) / 1e6)
            allocationsPerFrame = allocations.map { Double($0) / Double(count) }
        }
    }

    private struct Step: Codable {
        let name: String
        let wholeMilliseconds: Double
        let reuseMilliseconds: Double
        let share: Double
    }

    /// Runs the clip through the network, whole and with reuse, frame by frame in turn.
    ///
    /// - Parameter configuration: model, output or camera size, and threads are taken from it.
    /// - Throws: what demuxer and model loader say.
    public init(configuration: Configuration, options: Options, log: Logger) throws {
        let subject = try BenchSubject(configuration)
        guard try loadModel(file: subject.model) is DistilledUNet else {
            throw SessionError(
                "--clip compares temporal reuse with whole frames, and \(subject.model) remembers "
                    + "frames in another way: take --model ink")
        }
        var reader = try ClipReader(
            options: options, size: FrameSize(width: subject.width, height: subject.height),
            fit: LibAVFit(configuration.output.fit), log: log)
        let cache = TuningCache(environment: ProcessInfo.processInfo.environment)
        let tuning = cache.load(log: log)
        let result = try ClipBenchmark.run(
            model: subject.model, width: subject.width, height: subject.height,
            threads: subject.threads, tuning: tuning, wanted: subject.precision
        ) { reader.next(into: $0) }
        cache.save(tuning, log: log)
        guard !result.frames.isEmpty else {
            throw SessionError("\(options.file) has fewer than two frames: nothing to compare")
        }
        clip = options.file
        noise = options.noise
        model = subject.model
        size = subject.size
        threads = subject.threads
        processor = Processor.shared.name
        frames = result.frames.count
        func mean(_ value: (ClipBenchmark.Frame) -> Double) -> Double {
            result.frames.reduce(0) { $0 + value($1) } / Double(result.frames.count)
        }
        psnr = Self.decibels(mean(\.squaredError))
        worstFramePSNR = Self.decibels(result.frames.map(\.squaredError).max() ?? 0)
        worstTilePSNR = Self.decibels(result.frames.map(\.worstTileSquaredError).max() ?? 0)
        workShare = thousandths(mean(\.workShare))
        precision = result.precision
        noiseLevels = thousandths(result.noiseLevels)
        whole = Times(
            result.frames.map(\.wholeMilliseconds), arenaBytes: result.wholeArenaBytes,
            allocations: result.wholeAllocations)
        reuse = Times(
            result.frames.map(\.reuseMilliseconds), arenaBytes: result.reuseArenaBytes,
            allocations: result.reuseAllocations)
        speedup = thousandths(mean(\.wholeMilliseconds) / mean(\.reuseMilliseconds))
        steps = result.steps.map {
            Step(
                name: $0.name, wholeMilliseconds: thousandths($0.wholeMilliseconds),
                reuseMilliseconds: thousandths($0.reuseMilliseconds),
                share: thousandths($0.share))
        }
    }

    /// Identical pictures count as 99 dB, for JSON knows no infinity.
    private static func decibels(_ squaredError: Double) -> Double {
        min(99, (1000 * log10(255 * 255 / max(squaredError, 1e-9))).rounded() / 100)
    }

    private func memory(_ name: String, _ times: Times) -> String {
        "\(name) reuse an arena of \(decimalText(times.arenaMB, 1)) MB"
            + (times.allocationsPerFrame.map { ", \(decimalText($0, 2)) allocations per frame" }
                ?? "")
    }

    /// The figures as JSON.
    ///
    /// - Throws: `EncodingError`.
    public func json() throws -> String { try jsonText() }

    /// The figures for a terminal.
    public var text: String {
        let rows = steps.map {
            [
                $0.name, decimalText($0.wholeMilliseconds, 3),
                decimalText($0.reuseMilliseconds, 3), decimalText($0.share, 3),
            ]
        }
        func frame(_ name: String, _ time: KeyPath<Times, Double>, _ share: String) -> [String] {
            [
                name, decimalText(whole[keyPath: time], 3), decimalText(reuse[keyPath: time], 3),
                share,
            ]
        }
        return """
            \(clip), noise \(noise), \(model) at \(size), \(threadText(threads)), \(precision), \
            \(processor)
            \(frames) frames, \(decimalText(speedup, 2)) times as fast; \
            PSNR \(psnr) dB, worst frame \(worstFramePSNR) dB, worst 32-pixel tile \
            \(worstTilePSNR) dB; noise in the picture \(decimalText(noiseLevels, 2)) levels
            \(memory("without", whole)); \(memory("with", reuse))
            \(tableText([["step", "whole ms", "reuse ms", "share"]] + rows + [
                frame("a frame", \.meanMilliseconds, decimalText(workShare, 3)),
                frame("median", \.medianMilliseconds, ""), frame("p99", \.p99Milliseconds, ""),
            ]))
            """
    }
}

/// A clip's frames as a camera of some size and noise would deliver them.
private struct ClipReader {
    private let options: ClipBench.Options
    private let source: FileSource
    private let buffer: FrameBuffer
    private var random = NoiseGenerator()
    private var framesLeft: Int?
    private var failures = 0

    init(options: ClipBench.Options, size: FrameSize, fit: LibAVFit, log: Logger) throws {
        self.options = options
        source = FileSource(
            path: options.file, output: size, fit: fit, isMirrored: false, isPaced: false, log: log)
        let format = try source.prepare()
        buffer = FrameBuffer(format: format)
        if options.loopSeconds > 0 {
            framesLeft = Int((options.loopSeconds * format.frameRate.framesPerSecond).rounded(.up))
        }
    }

    mutating func next(into frame: UnsafeMutableBufferPointer<UInt8>) -> Bool {
        if let framesLeft {
            guard framesLeft > 0 else { return false }
            self.framesLeft = framesLeft - 1
        }
        guard read() else { return false }
        frame.baseAddress?.update(from: buffer.plane(0), count: frame.count)
        if options.noise > 0 { random.add(deviation: Float(options.noise), to: frame) }
        return true
    }

    /// The next frame, or the first again.
    private mutating func read() -> Bool {
        var isAgain = false
        while true {
            switch source.next(into: buffer) {
            case .frame: return true
            case .again, .badFrame: continue
            default:
                guard framesLeft != nil, !isAgain, (try? source.prepare()) != nil else {
                    return false
                }
                isAgain = true
            }
        }
    }
}

/// Shot and read noise of a sensor: variance = σ² · (0.3 + 0.7 · level / 128), Gaussian, seeded.
private struct NoiseGenerator {
    private var state: UInt64 = 0x9e37_79b9_7f4a_7c15
    // Of the normal distribution: quantiles.
    private let gaussian: [Float] = (0..<4096).map { index in
        NoiseGenerator.quantile((Double(index) + 0.5) / 4096)
    }

    mutating func add(deviation: Float, to frame: UnsafeMutableBufferPointer<UInt8>) {
        let deviations = (0..<256).map {
            deviation * (0.3 + 0.7 * Float($0) / 128).squareRoot()
        }
        for index in frame.indices {
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            let noise = gaussian[Int(state >> 52)] * deviations[Int(frame[index])]
            frame[index] = UInt8(min(max((Float(frame[index]) + noise).rounded(), 0), 255))
        }
    }

    /// By bisection of the error function.
    private static func quantile(_ probability: Double) -> Float {
        var (low, high) = (-6.0, 6.0)
        for _ in 0..<50 {
            let middle = (low + high) / 2
            if 0.5 * (1 + erf(middle / 2.0.squareRoot())) < probability {
                low = middle
            } else {
                high = middle
            }
        }
        return Float(low)
    }
}
