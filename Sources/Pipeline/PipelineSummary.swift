// The figures of a finished run, gathered by the stage threads and read after they were joined.

public import Realtime

/// What the whole run amounted to.
public struct PipelineSummary: Sendable {
    /// Good frames delivered by the source, without those that were waiting for the transform when
    /// the run was asked to stop.
    public var framesIn: UInt64 = 0
    /// Those that were waiting then.
    var framesCutOff: UInt64 = 0
    /// Faulty frames, never shown.
    public var badFrames: UInt64 = 0
    /// Frames missing in the source's numbering: the driver or the source itself was overrun.
    public var framesLostBySource: UInt64 = 0
    /// Frames that came in while the transform was still busy with an older one.
    public var framesSkipped: UInt64 = 0
    /// Frames for which the transform had no usable result.
    public var framesFailed: UInt64 = 0
    /// Frames with which nothing was shown yet, because pictures come later than their frames: at
    /// the start and after each break.
    public var framesEarly: UInt64 = 0
    /// Frames that came during a pause: not transformed, not shown.
    public var framesPaused: UInt64 = 0
    /// Whether the source broke off before its end.
    public var isSourceFailed = false
    /// How often the camera was opened, lost, restarted.
    public var supervision = Supervision.Counts()
    /// From the frame's timestamp to its slot being ready for the transform.
    public var capture = LatencyHistogram()
    /// From there until the transform took it.
    public var queue = LatencyHistogram()
    /// The transform itself.
    public var transform = LatencyHistogram()
    /// Heap allocations of the data plane in steady state, and the frames they are spread over.
    public var steadyState: SteadyState?
    /// One for each sink, in the order given.
    public var sinks: [SinkSummary] = []

    /// Allocations after the first frames have warmed everything up.
    public struct SteadyState: Sendable {
        /// Transformed frames counted.
        public var frames: UInt64
        /// Allocations of all data-plane threads meanwhile; `nil` if the program cannot count them.
        public var allocations: Int64?
    }

    init() {}
}

/// What one sink received.
public struct SinkSummary: Sendable {
    /// The sink's name.
    public let name: String
    /// Transformed frames written.
    public var framesOut: UInt64 = 0
    /// Transformed frames that came while the sink was busy, and gave way to newer ones.
    public var framesSkipped: UInt64 = 0
    /// Times the last picture was written again, because no new one came.
    public var framesRepeated: UInt64 = 0
    /// Placeholder cards written.
    public var cards: UInt64 = 0
    /// Transformed frames that were not written because of a pause.
    public var framesPaused: UInt64 = 0
    /// Transformed frames that were not written because nobody looked any more.
    public var framesUnwatched: UInt64 = 0
    /// Frames that the sink refused, or that came while it was away or had yet to show that it is back.
    public var framesRefused: UInt64 = 0
    /// Capture timestamp → handed to the sink.
    public var age = LatencyHistogram()
    /// The same, from the frame counter read back out of the written picture (`test` source).
    public var ageByBarcode = LatencyHistogram()
    /// Pictures whose counter named another frame than their metadata: must be 0.
    public var barcodeMismatches: UInt64 = 0
    /// Converting, encoding and writing.
    public var write = LatencyHistogram()
    /// From one written frame to the next.
    public var intervals = IntervalStatistics()
    /// How often nothing could be written, and the sink tried again until it could.
    public var interruptions: UInt64 = 0
    /// Whether the sink failed for good before the end, or was still trying then.
    public var isLost = false

    init(name: String) { self.name = name }
}

/// Rate and evenness of the frames that a sink received.
public struct IntervalStatistics: Sendable {
    private var count = 0
    private var sum = 0.0
    private var sumOfSquares = 0.0

    /// Counts the time since the previous frame.
    mutating func record(nanoseconds: Int64) {
        let seconds = Double(nanoseconds) / 1e9
        count += 1
        sum += seconds
        sumOfSquares += seconds * seconds
    }

    /// Frames a second over the whole run; 0 before the second frame.
    public var framesPerSecond: Double { sum > 0 ? Double(count) / sum : 0 }
    /// ΣΔT/ΣΔT²: the rate that a viewer experiences; uneven frames lower it
    /// (w3c/media-playback-quality#25).
    public var harmonicFramesPerSecond: Double { sumOfSquares > 0 ? sum / sumOfSquares : 0 }
}
