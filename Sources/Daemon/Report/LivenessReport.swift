// The figures that say whether a run was live: printed at its end, and `--report FILE.json`.

public import FoundationEssentials
public import Pipeline
internal import Realtime

/// The liveness summary of one run. The JSON report is this structure; times are milliseconds.
public struct LivenessReport: Codable, Sendable {
    /// Percentiles of a duration, in milliseconds.
    public struct Percentiles: Codable, Sendable {
        /// Half of all were shorter.
        public var p50: Double
        /// 95 % were shorter.
        public var p95: Double
        /// 99 % were shorter.
        public var p99: Double
        /// The longest.
        public var max: Double

        init(_ histogram: LatencyHistogram) {
            func milliseconds(_ nanoseconds: Int64) -> Double {
                (Double(nanoseconds) / 1e3).rounded() / 1e3
            }
            p50 = milliseconds(histogram.percentile(0.50))
            p95 = milliseconds(histogram.percentile(0.95))
            p99 = milliseconds(histogram.percentile(0.99))
            max = milliseconds(histogram.maximumNanoseconds)
        }
    }

    /// What came from the source.
    public struct Input: Codable, Sendable {
        /// The source's name.
        public var source: String
        /// Good frames delivered; without those that the end of the run cut off.
        public var frames: UInt64
        /// Faulty frames, never shown.
        public var bad: UInt64
        /// Gaps in the source's own numbering.
        public var lostBySource: UInt64
        /// Frames that came in while the network was busy, and gave way to newer ones.
        public var skipped: UInt64
        /// Frames for which the transform had no usable result.
        public var failed: UInt64
        /// Frames with which nothing was shown yet: a stream batch was filling, at the start and
        /// after each break. Neither failed nor dropped.
        public var early: UInt64
        /// Frames that came during a pause. Neither failed nor dropped.
        public var paused: UInt64
    }

    /// What one sink received.
    public struct Output: Codable, Sendable {
        /// The sink's name.
        public var sink: String
        /// Transformed frames written.
        public var frames: UInt64
        /// Frames that came in and did not reach this sink, for whatever reason but being early.
        public var dropped: UInt64
        /// Of these, transformed frames that came while this sink was busy, and gave way to newer ones.
        public var skipped: UInt64
        /// Of these, frames that this sink refused.
        public var refused: UInt64
        /// Times the last picture was written again.
        public var repeated: UInt64
        /// Placeholder cards written.
        public var cards: UInt64
        /// Frames a second.
        public var fps: Double
        /// ΣΔT/ΣΔT², which uneven frames lower.
        public var harmonicFPS: Double
        /// Capture timestamp → handed to the sink.
        public var age: Percentiles
        /// The same, read back from the barcode in the picture; `test` source only.
        public var ageByBarcode: Percentiles?
        /// Pictures whose barcode named another frame than their metadata.
        public var barcodeMismatches: UInt64?
        /// Converting, encoding and writing.
        public var write: Percentiles
        /// How often nothing could be written for a while, a full disk for example.
        public var interruptions: UInt64
        /// Whether the sink failed for good before the end, or was still away then.
        public var isLost: Bool
    }

    /// Where the time went between capture and sink.
    public struct Stages: Codable, Sendable {
        /// Timestamp of the frame → copied or decoded out of the driver.
        public var capture: Percentiles
        /// Waiting for the transform.
        public var queue: Percentiles
        /// The network.
        public var transform: Percentiles
    }

    /// Memory and processor.
    public struct Resources: Codable, Sendable {
        /// Heap allocations per frame of all data-plane threads in steady state; absent if the run
        /// was too short or the program cannot count.
        public var allocationsPerFrame: Double?
        /// Frames that the figure above is taken over.
        public var steadyStateFrames: UInt64
        /// The most memory that was resident, MB.
        public var peakResidentMB: Double
        /// Resident memory at the end less that after warm-up and what live changes have added, MB;
        /// absent for runs under 5 s.
        public var residentGrowthMB: Double?
        /// For so long of the run memory had no reason to grow.
        public var steadySeconds: Double
        /// Resident memory that live changes have added, MB: another style needs a second network.
        public var residentChangeMB: Double
        /// Processor seconds per second of the run; two busy cores are 2.
        public var processorLoad: Double
        /// Share of the network's work that was done, on average: the rest was reused from earlier
        /// frames. Absent without temporal reuse.
        public var workShare: Double?
    }

    /// What did the work.
    public struct Setup: Codable, Sendable {
        /// Version of Lucida.
        public var version: String
        /// Name of the model file, without folder and extension.
        public var model: String
        /// Which network the model's weights are for, and its version.
        public var architecture: String
        /// `transform.style`, at the end of the run.
        public var style: String
        /// Frame size, for example `640×360`.
        public var size: String
        /// Size at which the network ran.
        public var modelSize: String
        /// Threads of the network.
        public var threads: Int
        /// Processor name.
        public var processor: String
        /// Kernel family: scalar, avx2 or avx512.
        public var instructionSet: String
        /// OpenBLAS's core type.
        public var blasCore: String
        /// In what the convolutions were multiplied, and how many in each.
        public var precision: String
        /// Why in these.
        public var precisionReason: String
    }

    /// Length of the run in seconds.
    public var seconds: Double
    /// Frames of the future that an output frame depends on.
    public var lookAheadFrames: Int
    /// By how many frames a picture is later than its own; the ages include that.
    public var delayFrames: Int
    /// From the source.
    public var input: Input
    /// How often the camera was opened, lost, restarted.
    public var camera: Supervision.Counts
    /// To each sink; the first is the one that the headline figures are about.
    public var outputs: [Output]
    /// Between the two.
    public var stages: Stages
    /// Memory and processor.
    public var resources: Resources
    /// What did the work.
    public var setup: Setup
    /// What to enter as audio delay in the conferencing or recording software, milliseconds: the
    /// median age.
    public var audioDelayMilliseconds: Int
    /// Whether this run was a live transformation, by the figures alone.
    public var verdict: Verdict
}

extension LivenessReport {
    /// Live or not, and why not.
    public struct Verdict: Codable, Sendable {
        /// No look-ahead, young frames, the camera's rate kept, memory steady.
        public var isLive: Bool
        /// One sentence for each thing that speaks against it.
        public var reasons: [String]
    }

    /// The first seconds of a run allocate, and those after a live change; the rest of half a minute
    /// is enough to see growth.
    static let steadySecondsMin = 25.0

    /// Weighs the figures against what ARCHITECTURE.md calls live: look-ahead 0, p99 age of at most
    /// `ageLimit` (end users accept about 90 ms between sound and picture, EBU R37), at least 95 %
    /// of the source's frames out, memory that does not grow.
    func judged(isPaced: Bool, ageLimitMilliseconds: Double = 100) -> Verdict {
        var reasons: [String] = []
        if !isPaced { reasons.append("the source was read as fast as possible, not filmed") }
        if input.frames == 0 { reasons.append("nothing was filmed") }
        if lookAheadFrames > 0 { reasons.append("it looked \(lookAheadFrames) frames ahead") }
        if let output = outputs.first {
            if output.age.p99 > ageLimitMilliseconds {
                reasons.append(
                    "1 % of the frames were older than \(decimalText(output.age.p99, 1)) ms, "
                        + "\(Int(ageLimitMilliseconds)) ms are allowed")
            }
            let due =
                input.frames + input.lostBySource - min(input.early + input.paused, input.frames)
            if Double(output.frames) < 0.95 * Double(due) {
                reasons.append("only \(output.frames) of \(due) frames came out")
            }
        }
        if let growth = resources.residentGrowthMB,
            resources.steadySeconds >= Self.steadySecondsMin && growth > 8
        {
            reasons.append("memory grew by \(decimalText(growth, 1)) MB")
        }
        return Verdict(isLive: reasons.isEmpty, reasons: reasons)
    }

    /// The report as JSON with sorted keys.
    ///
    /// - Throws: `EncodingError`, for figures that JSON cannot hold.
    public func json() throws -> Data {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return try encoder.encode(self) + Data("\n".utf8)
    }
}
