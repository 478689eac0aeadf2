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
            state: Self.State(pipeline), problem: pipeline.troubleText,
            seconds: rounded(runSeconds, to: 10), source: source,
            sinks: pipeline.sinkCounts.map {
                Sink(
                    name: $0.name, frames: $0.written, isAway: $0.isAway,
                    interruptions: $0.interruptions)
            },
            readers: readers, camera: pipeline.sourceCounts,
            fps: rounded(recent?.framesPerSecond ?? 0, to: 100),
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
}

extension ControlStatus.State {
    /// What who looks at the virtual camera sees now.
    init(_ pipeline: Pipeline) {
        if pipeline.isPaused {
            self = .paused
            return
        }
        switch (pipeline.sourceState, pipeline.sourceFault) {
        case (.idle, _): self = .idle
        case (.live, _) where pipeline.isTransformFailing: self = .networkError
        case (.live, _): self = pipeline.framesWritten > 0 ? .live : .starting
        case (.stalled, _): self = .stalled
        case (.lingering, _): self = .lingering
        case (.starting, nil), (.waiting, nil): self = .starting
        case (.starting, .absent), (.waiting, .absent): self = .noCamera
        case (.starting, .busy), (.waiting, .busy): self = .cameraBusy
        case (.starting, .failed), (.waiting, .failed): self = .cameraError
        }
    }

    /// A few words.
    var text: String {
        switch self {
        case .idle: "idle: nobody is looking"
        case .starting: "starting, no picture yet"
        case .live: "live"
        case .paused: "paused, a card is shown"
        case .noCamera: "no camera, a card is shown"
        case .cameraBusy: "camera in use by another program, a card is shown"
        case .cameraError: "camera error, a card is shown"
        case .networkError: "the network gives no usable picture, a card is shown"
        case .stalled: "the camera has stopped, its stream is restarted"
        case .lingering: "nobody is looking, the camera is about to be closed"
        }
    }
}

extension Pipeline {
    /// What who looks at the virtual camera sees, in a few words.
    var viewText: String { ControlStatus.State(self).text }

    /// Why no picture comes although one is wanted; `nil`: one does, or none is wanted.
    var troubleText: String? {
        switch sourceState {
        case .live where isTransformFailing:
            "the network gives no usable picture; try another style or model"
        case .stalled: "no picture from the camera"
        case .waiting: counters.sourceProblem ?? "the camera is away"
        case .starting where sourceFault != nil: counters.sourceProblem ?? "the camera is away"
        case .idle, .starting, .live, .lingering: nil
        }
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
