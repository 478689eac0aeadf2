// The report as a person reads it at the end of a run.

internal import Pipeline
internal import Realtime

extension LivenessReport {
    /// Gathers the figures of a finished pipeline.
    init(
        summary: PipelineSummary, sourceName: String, seconds: Double, lookAheadFrames: Int,
        delayFrames: Int, isPaced: Bool, resources: Resources, setup: Setup
    ) {
        self.init(
            seconds: (seconds * 100).rounded() / 100, lookAheadFrames: lookAheadFrames,
            delayFrames: delayFrames,
            input: Input(
                source: sourceName, frames: summary.framesIn, bad: summary.badFrames,
                lostBySource: summary.framesLostBySource, skipped: summary.framesSkipped,
                failed: summary.framesFailed, early: summary.framesEarly,
                paused: summary.framesPaused),
            camera: summary.supervision,
            outputs: summary.sinks.map {
                let kept =
                    summary.framesEarly + summary.framesPaused + $0.framesPaused
                    + $0.framesUnwatched
                return Output($0, framesDue: summary.framesIn - min(summary.framesIn, kept))
            },
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
            "Liveness of \(decimalText(seconds, 1)) s: \(input.source)",
            row("in", "\(input.frames) frames" + lossText(input.losses, showsZeros: 3)),
        ]
        if let text = camera.text { lines.append(row("camera", text)) }
        for output in outputs { lines += self.lines(of: output) }
        lines += [
            row("capture", Self.times(stages.capture)), row("queue", Self.times(stages.queue)),
            row("transform", Self.times(stages.transform)),
            row("memory", memoryText),
            row("processor", processorText),
            row(
                "setup",
                printable("\(setup.modelText), style \(setup.style), ")
                    + "\(setup.size) (network \(setup.modelSize)), "
                    + "\(setup.threads) threads, \(setup.instructionSet), BLAS \(setup.blasCore), "
                    + setup.processor),
            row("precision", "\(setup.precision); \(setup.precisionReason)"),
            row("audio delay", "set \(audioDelayMilliseconds) ms in your app to match sound"),
            verdictText,
        ]
        return lines.joined(separator: "\n")
    }

    private var processorText: String {
        "\(decimalText(resources.processorLoad, 2)) cores busy"
            + (resources.workShare.map { ", " + Self.workText($0) } ?? "")
    }

    /// What was not reused, as a whole percentage; 100 % only if that was everything.
    private static func workText(_ share: Double) -> String {
        guard share < 1 else { return "the network's work done in full, nothing reused" }
        let percent = min(99, (100 * share).rounded())
        return "\(decimalText(percent, 0)) % of the network's work, the rest reused"
    }

    private var memoryText: String {
        let allocations =
            resources.allocationsPerFrame.map {
                "\(decimalText($0, 2)) allocations per frame over \(resources.steadyStateFrames) frames"
            } ?? "allocations not counted"
        let growth = resources.residentGrowthMB.map { ", grew \(decimalText($0, 1)) MB" } ?? ""
        let change =
            resources.residentChangeMB == 0
            ? "" : ", changed by \(decimalText(resources.residentChangeMB, 1)) MB with the look"
        return
            "peak \(decimalText(resources.peakResidentMB, 0)) MB\(growth)\(change), \(allocations)"
    }

    private var verdictText: String {
        verdict.isLive
            ? row(
                "verdict",
                "live: causal, young frames, the source's rate kept, "
                    + (resources.steadySeconds >= Self.steadySecondsMin
                        ? "steady memory" : "too short to judge memory"))
            : row("verdict", "not live: " + verdict.reasons.joined(separator: "; "))
    }

    private func lines(of output: Output) -> [String] {
        var lines = [
            row(
                "out",
                "\(output.sink): \(output.frames) frames, \(output.dropped) dropped"
                    + Self.reasons(output) + ", \(output.repeated) repeated, \(output.cards) cards"
                    + (output.interruptions > 0 ? ", \(output.interruptions) × interrupted" : "")
                    + (output.isLost ? ", then LOST" : "")),
            row(
                "rate",
                "\(decimalText(output.fps, 2)) fps, harmonic \(decimalText(output.harmonicFPS, 2)) fps"
            ),
            row("frame age", Self.times(output.age) + delayText),
        ]
        if let barcode = output.ageByBarcode {
            lines.append(
                row(
                    "by barcode",
                    Self.times(barcode) + ", \(output.barcodeMismatches ?? 0) mismatches"))
        }
        lines.append(row("write", Self.times(output.write)))
        return lines
    }

    /// Which of the dropped frames this sink is to blame for.
    private static func reasons(_ output: Output) -> String {
        let text = lossText([("skipped", output.skipped), ("refused", output.refused)])
        return text.isEmpty ? "" : " (here\(text.dropFirst()))"
    }

    private var delayText: String {
        guard delayFrames > 0 else { return "" }
        return ", of which the stream batch \(delayFrames) frame\(delayFrames == 1 ? "" : "s")"
    }

    private static func times(_ times: Percentiles) -> String {
        "p50 \(decimalText(times.p50, 1))  p95 \(decimalText(times.p95, 1))  "
            + "p99 \(decimalText(times.p99, 1))  max \(decimalText(times.max, 1)) ms"
    }

    private static func row(_ name: String, _ value: String) -> String {
        "  " + name + String(repeating: " ", count: max(1, 13 - name.count)) + value
    }

    private func row(_ name: String, _ value: String) -> String { Self.row(name, value) }
}

extension LivenessReport.Input {
    /// Frames that did not become pictures, by the names that report, status and documentation share.
    fileprivate var losses: [(name: String, count: UInt64)] {
        [
            ("lost by source", lostBySource), ("bad", bad), ("skipped", skipped),
            ("failed", failed), ("early", early), ("paused", paused),
        ]
    }
}

/// `, 3 skipped, 1 failed`: what is 0 is left out, but of the first few.
func lossText(_ losses: [(name: String, count: UInt64)], showsZeros: Int = 0) -> String {
    losses.enumerated().filter { $0.offset < showsZeros || $0.element.count > 0 }
        .map { ", \($0.element.count) \($0.element.name)" }.joined()
}

extension LivenessReport.Setup {
    /// For people: the model's name, and what kind of network it is.
    var modelText: String { "\(model) (\(architecture))" }
}

extension LivenessReport.Output {
    fileprivate init(_ sink: SinkSummary, framesDue: UInt64) {
        func rounded(_ value: Double) -> Double { (value * 1000).rounded() / 1000 }
        let hasBarcode = sink.ageByBarcode.count > 0
        self.init(
            sink: sink.name, frames: sink.framesOut,
            dropped: framesDue - min(framesDue, sink.framesOut), skipped: sink.framesSkipped,
            refused: sink.framesRefused, repeated: sink.framesRepeated,
            cards: sink.cards, fps: rounded(sink.intervals.framesPerSecond),
            harmonicFPS: rounded(sink.intervals.harmonicFramesPerSecond),
            age: LivenessReport.Percentiles(sink.age),
            ageByBarcode: hasBarcode ? LivenessReport.Percentiles(sink.ageByBarcode) : nil,
            barcodeMismatches: hasBarcode ? sink.barcodeMismatches : nil,
            write: LivenessReport.Percentiles(sink.write), interruptions: sink.interruptions,
            isLost: sink.isLost)
    }
}
