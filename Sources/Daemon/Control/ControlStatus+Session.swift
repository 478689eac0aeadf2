// How a running session is, as `lucida ctl status` is told. Control thread.

internal import Models
internal import Pipeline

extension ControlStatus {
    /// - Parameters:
    ///   - recentSeconds: rate and ages are of so many last seconds.
    ///   - runSeconds: since the start.
    init(
        pipeline: Pipeline, recentSeconds: Double, runSeconds: Double, source: String,
        readers: Int?, control: SessionControl
    ) {
        let recent = pipeline.recentFigures(seconds: recentSeconds)
        let counters = pipeline.counters
        let settings = control.configuration.transform
        self.init(
            state: Self.state(of: pipeline), problem: counters.sourceProblem,
            seconds: rounded(runSeconds, to: 10), source: source,
            sinks: pipeline.sinkCounts.map { Sink(name: $0.name, frames: $0.written) },
            readers: readers, fps: rounded(recent?.framesPerSecond ?? 0, to: 100),
            age: recent.flatMap(Ages.init),
            frames: Frames(
                captured: counters.captured, written: pipeline.framesWritten,
                lostBySource: counters.lostBySource, bad: counters.bad,
                skipped: pipeline.framesSkipped, failed: counters.failed, early: counters.early,
                paused: counters.paused),
            look: Look(
                style: settings.style.description, strength: settings.strength,
                temporal: settings.temporal, seed: settings.seed, steps: settings.steps,
                streamBatch: settings.streamBatch),
            setup: control.transform.setup,
            workShare: control.transform.workShare?.recent.map { rounded($0, to: 1000) },
            residentMB: rounded(Double(ProcessStatistics.residentBytes) / 1e6, to: 10),
            configuration: control.file)
    }

    private static func state(of pipeline: Pipeline) -> State {
        if pipeline.isPaused { return .paused }
        if pipeline.counters.isSourceLost { return .noCamera }
        return pipeline.framesWritten > 0 ? .live : .starting
    }
}

extension ControlStatus.Ages {
    /// `nil` if no frame was written lately.
    init?(_ recent: RecentFigures) {
        guard let p50 = recent.age(0.5), let p95 = recent.age(0.95), let p99 = recent.age(0.99)
        else { return nil }
        func milliseconds(_ nanoseconds: Int64) -> Double {
            rounded(Double(nanoseconds) / 1e6, to: 100)
        }
        self.init(
            p50: milliseconds(p50), p95: milliseconds(p95), p99: milliseconds(p99))
    }
}

private func rounded(_ value: Double, to steps: Double) -> Double {
    (value * steps).rounded() / steps
}
