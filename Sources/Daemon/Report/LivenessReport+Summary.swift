// The report as a person reads it at the end of a run.

internal import Pipeline
internal import Realtime

extension LivenessReport {
    /// Gathers the figures of a finished pipeline.
    init(
        summary: PipelineSummary, sourceName: String, seconds: Double, lookAheadFrames: Int,
        isPaced: Bool, resources: Resources, setup: Setup
    ) {
        self.init(
            seconds: (seconds * 100).rounded() / 100, lookAheadFrames: lookAheadFrames,
            input: Input(
                source: sourceName, frames: summary.framesIn, bad: summary.badFrames,
                lostBySource: summary.framesLostBySource, skipped: summary.framesSkipped,
                failed: summary.framesFailed),
            outputs: summary.sinks.map { Output($0, framesIn: summary.framesIn) },
            stages: Stages(
                capture: Percentiles(summary.capture), queue: Percentiles(summary.queue),
                transform: Percentiles(summary.transform)),
            resources: resources, setup: setup,
            audioDelayMilliseconds: Int(
                (summary.sinks.first?.age.percentile(0.5) ?? 0) / 1_000_000),
            verdict: Verdict(isLive: false, reasons: []))
        verdict = judged(isPaced: isPaced)
    }

    /// Lines for the terminal.
    public var text: String {
        var lines = [
            "Liveness of \(Self.decimal(seconds, 1)) s: \(input.source)",
            row(
                "in", "\(input.frames) frames, \(input.bad) bad, \(input.lostBySource) lost before"),
        ]
        for output in outputs { lines += Self.lines(of: output) }
        lines += [
            row("capture", Self.times(stages.capture)), row("queue", Self.times(stages.queue)),
            row("transform", Self.times(stages.transform)),
            row("memory", memoryText),
            row("processor", "\(Self.decimal(resources.processorLoad, 2)) cores busy"),
            row(
                "setup",
                "\(setup.model), \(setup.size) (network \(setup.modelSize)), "
                    + "\(setup.threads) threads, \(setup.instructionSet), BLAS \(setup.blasCore), "
                    + "\(setup.precision), "
                    + setup.processor),
            row("audio delay", "set \(audioDelayMilliseconds) ms in your app to match sound"),
            verdictText,
        ]
        return lines.joined(separator: "\n")
    }

    private var memoryText: String {
        let allocations =
            resources.allocationsPerFrame.map {
                "\(Self.decimal($0, 2)) allocations per frame over \(resources.steadyStateFrames) frames"
            } ?? "allocations not counted"
        let growth = resources.residentGrowthMB.map { ", grew \(Self.decimal($0, 1)) MB" } ?? ""
        return "peak \(Self.decimal(resources.peakResidentMB, 0)) MB\(growth), \(allocations)"
    }

    private var verdictText: String {
        verdict.isLive
            ? row(
                "verdict",
                "live: causal, young frames, the source's rate kept, "
                    + (seconds > Self.memorySeconds
                        ? "steady memory" : "too short to judge memory"))
            : row("verdict", "not live: " + verdict.reasons.joined(separator: "; "))
    }

    private static func lines(of output: Output) -> [String] {
        var lines = [
            row(
                "out",
                "\(output.sink): \(output.frames) frames, \(output.dropped) dropped, "
                    + "\(output.repeated) repeated, \(output.cards) cards"
                    + (output.isLost ? ", then LOST" : "")),
            row(
                "rate",
                "\(decimal(output.fps, 2)) fps, harmonic \(decimal(output.harmonicFPS, 2)) fps"),
            row("frame age", times(output.age)),
        ]
        if let barcode = output.ageByBarcode {
            lines.append(
                row(
                    "by barcode",
                    times(barcode) + ", \(output.barcodeMismatches ?? 0) mismatches"))
        }
        lines.append(row("write", times(output.write)))
        return lines
    }

    private static func times(_ times: Percentiles) -> String {
        "p50 \(decimal(times.p50, 1))  p95 \(decimal(times.p95, 1))  "
            + "p99 \(decimal(times.p99, 1))  max \(decimal(times.max, 1)) ms"
    }

    /// A number with a fixed count of decimals.
    private static func decimal(_ value: Double, _ digits: Int) -> String {
        let scale = (0..<digits).reduce(1) { product, _ in product * 10 }
        let scaled = Int((value * Double(scale)).rounded())
        guard digits > 0 else { return "\(scaled)" }
        let fraction = String(abs(scaled) % scale)
        let zeros = String(repeating: "0", count: digits - fraction.count)
        return "\(scaled < 0 ? "-" : "")\(abs(scaled) / scale).\(zeros)\(fraction)"
    }

    private static func row(_ name: String, _ value: String) -> String {
        "  " + name + String(repeating: " ", count: max(1, 13 - name.count)) + value
    }

    private func row(_ name: String, _ value: String) -> String { Self.row(name, value) }
}

extension LivenessReport.Output {
    fileprivate init(_ sink: SinkSummary, framesIn: UInt64) {
        func rounded(_ value: Double) -> Double { (value * 1000).rounded() / 1000 }
        let hasBarcode = sink.ageByBarcode.count > 0
        self.init(
            sink: sink.name, frames: sink.framesOut,
            dropped: framesIn - min(framesIn, sink.framesOut), skipped: sink.framesSkipped,
            refused: sink.framesRefused, repeated: sink.framesRepeated,
            cards: sink.cards, fps: rounded(sink.intervals.framesPerSecond),
            harmonicFPS: rounded(sink.intervals.harmonicFramesPerSecond),
            age: LivenessReport.Percentiles(sink.age),
            ageByBarcode: hasBarcode ? LivenessReport.Percentiles(sink.ageByBarcode) : nil,
            barcodeMismatches: hasBarcode ? sink.barcodeMismatches : nil,
            write: LivenessReport.Percentiles(sink.write), isLost: sink.isLost)
    }
}
