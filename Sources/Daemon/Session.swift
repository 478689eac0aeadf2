// One run from start to finish: opens what the configuration names, watches over it, reports.
// Control thread.

internal import CLinux
internal import FoundationEssentials
internal import Glibc
internal import LibAV
public import Logging
internal import Pipeline
internal import Realtime
internal import Video

/// What the command line adds to the configuration for one run.
public struct SessionOptions: Sendable {
    /// Ends the run after so many seconds; `nil`: when stopped, or at the end of the file.
    public var durationSeconds: Double?
    /// Every frame in order, as fast as it can: for files, not for live work.
    public var isOffline = false
    /// Whether an offline run may write over what is there already.
    public var overwrites = false
    /// File for a picture of one frame before and after, side by side; `nil`: none.
    public var picturePath: String?
    /// Shows a line that keeps changing while the run goes on.
    public var showsProgress = false
    /// Where to read the configuration again when it changes; `nil`: nobody can steer the run.
    public var source: ConfigurationSource?

    /// A live run until it is stopped.
    public init() {}
}

/// Runs the pipeline that a configuration describes.
public struct Session {
    private let loaded: LoadedConfiguration
    private var configuration: Configuration { loaded.configuration }
    private let options: SessionOptions
    private let log: Logger
    private let environment = ProcessInfo.processInfo.environment
    private var files: SessionFiles {
        SessionFiles(configuration: configuration, options: options, configPath: loaded.file)
    }

    /// A session that does not run yet.
    public init(loaded: LoadedConfiguration, options: SessionOptions, log: Logger) {
        self.loaded = loaded
        self.options = options
        self.log = log
    }

    /// Runs until the source ends, the duration is over, SIGINT or SIGTERM comes, or no sink is left.
    /// Call from the main thread, which must not have started another thread yet.
    ///
    /// - Returns: how it went; its report is written to `report.path` already.
    /// - Throws: `SessionStopped`, or whatever a part that cannot be opened says.
    public func run() throws -> SessionResult {
        keepMemorySteady()
        let signals = SignalWaiter()
        try files.check()
        let sinks = try configuration.output.sinks.map(makeSink)
        let (pipeline, control): (Pipeline, SessionControl)
        do {
            (pipeline, control) = try start(sinks)
        } catch let error as LibAVError where error.isInterrupted {
            throw SessionStopped()
        }
        if let core = environment["OPENBLAS_CORETYPE"] {
            log.info("OPENBLAS_CORETYPE=\(core) is set; unset it to let Lucida choose the kernels")
        }
        let watch = Watch(
            pipeline: pipeline, options: options, log: log,
            notifier: ServiceNotifier(environment: environment), control: control,
            server: options.source == nil ? nil : makeServer(),
            configurationWatch: options.source.flatMap { ConfigurationWatch(paths: $0.paths) },
            viewers: ViewerWatch(sinks: sinks))
        let usage = watch.run(signals: signals)
        let summary = pipeline.finish()
        let report = makeReport(
            summary, sourceName: pipeline.counters.sourceName, transform: control.transform,
            usage: usage)
        let unwritten = [write(report), writePicture(of: control.transform)].compactMap(\.self)
        return SessionResult(
            report: report, wasInterrupted: usage.wasInterrupted,
            failure: failure(of: summary) ?? unwritten.first)
    }

    /// One heap, and every large block by itself, given back when it is freed. By default each thread
    /// may have a heap, and glibc raises the size from which a block is large with each one that is
    /// freed: cameras that come and go left holes of a few MiB then. Before any thread starts; a frame
    /// costs a few small allocations at most, so threads hardly wait for the one heap.
    private func keepMemorySteady() {
        mallopt(M_ARENA_MAX, 1)
        mallopt(M_MMAP_THRESHOLD, 128 << 10)
    }

    /// A function of its own: whoever kept the network here would keep its memory when a reload puts
    /// another in its place.
    private func start(_ sinks: [any FrameSink]) throws -> (Pipeline, SessionControl) {
        let source = makeSource()
        let transform = try makeTransform()
        let pipeline = Pipeline(
            source: source, transform: transform, sinks: sinks,
            options: pipelineOptions(for: source))
        let pauseNote = PauseNote(environment: environment)
        if pauseNote.isThere {
            pipeline.setPaused(true)
            log.warning("paused, as it was before: `lucida ctl resume` goes on")
        }
        try pipeline.start()
        let control = SessionControl(
            source: options.source, loaded: loaded, pipeline: pipeline, transform: transform,
            front: frontMaker(for: pipeline), pauseNote: pauseNote, log: log)
        return (pipeline, control)
    }

    /// A run without a control socket is better than none.
    private func makeServer() -> ControlServer? {
        let name = configuration.control.socket
        guard let path = ControlSocketPath.listening(name, environment: environment) else {
            return nil
        }
        do throws(ControlError) {
            return try ControlServer(path: path, log: log)
        } catch {
            log.warning("`lucida ctl` cannot steer this run: \(error)")
            return nil
        }
    }

    /// Parts for a changed configuration. The sinks stay as they are, and so does the size.
    private func frontMaker(for pipeline: Pipeline) -> FrontMaker {
        func session(_ configuration: Configuration) -> Session {
            var configuration = configuration
            configuration.output.width = pipeline.format?.width ?? 0
            configuration.output.height = pipeline.format?.height ?? 0
            return Session(
                loaded: LoadedConfiguration(configuration: configuration, file: nil, origins: [:]),
                options: options, log: log)
        }
        return FrontMaker(
            source: {
                let session = session($0)
                try session.files.check()
                return session.makeSource()
            },
            transform: { try session($0).makeTransform() })
    }

    // MARK: Parts

    private func makeSource() -> any FrameSource {
        let camera = configuration.camera
        let fit = LibAVFit(configuration.output.fit)
        switch camera.source {
        case .test:
            return SyntheticCamera(
                format: VideoFormat(
                    pixelFormat: .rgb24,
                    width: configuration.frameSize?.width ?? camera.width,
                    height: configuration.frameSize?.height ?? camera.height,
                    frameRate: camera.frameRate),
                isPaced: isPaced, isMirrored: camera.mirror)
        case .auto: return cameraSource("auto", fit: fit)
        case .device(let name): return cameraSource(name, fit: fit)
        case .file(let path):
            return FileSource(
                path: path, output: configuration.frameSize, fit: fit, isMirrored: camera.mirror,
                isPaced: isPaced, log: log)
        }
    }

    private func cameraSource(_ name: String, fit: LibAVFit) -> any FrameSource {
        CameraSource(
            deviceName: name, settings: configuration.camera, output: configuration.frameSize,
            fit: fit, log: log
        )
    }

    private var isPaced: Bool {
        if options.isOffline { return false }
        return configuration.camera.isPaced
    }

    private func makeTransform() throws -> NeuralTransform {
        let settings = configuration.transform
        return try loaded.placing {
            let path = try ModelLocator(environment: environment).path(model: settings.model)
            return try NeuralTransform(
                modelPath: path, settings: settings, performance: configuration.performance,
                isLive: isPaced, takesPicture: options.picturePath != nil, log: log)
        }
    }

    private func loopbackSink(_ name: String) -> LoopbackSink {
        LoopbackSink(
            deviceName: name, pixelFormat: configuration.output.pixelFormat,
            holderSocket: HolderSocketPath.of(environment), log: log)
    }

    private func makeSink(_ name: SinkName) throws -> any FrameSink {
        let output = configuration.output
        switch name {
        case .auto:
            return loopbackSink("auto")
        case .device(let path):
            return loopbackSink(path)
        case .null: return NullSink()
        case .file(let path):
            return FileSink(
                path: path, codec: output.codec, constantRateFactor: output.crf, isLive: isPaced,
                keepsEarlier: !options.isOffline, waitsForFrames: isService, log: log)
        case .frames(let directory):
            return FramesSink(
                directory: directory, isLive: isPaced, keepsEarlier: !options.isOffline,
                log: log)
        }
    }

    /// Whether a service manager has started this live run; ours starts it again after a crash.
    private var isService: Bool { isPaced && !(environment["NOTIFY_SOCKET"] ?? "").isEmpty }

    private func pipelineOptions(for source: any FrameSource) -> PipelineOptions {
        var result = PipelineOptions()
        result.policy = isPaced ? .latest : .everyFrame
        result.passesFailuresThrough = configuration.transform.onFailure == .passthrough
        result.reopensLostSource = !options.isOffline
        // Whoever starts a recording wants to know that there is no camera; an app, or a service that
        // began before it was plugged in, wants one when there is.
        result.waitsForSource = configuration.loopbackName != nil || isService
        result.opensOnDemand = configuration.isOnDemand
        result.lingerNanoseconds = configuration.camera.lingerNanoseconds
        result.frameClock = source as? any FrameClock
        return result
    }

    // MARK: The end

    private func makeReport(
        _ summary: PipelineSummary, sourceName: String, transform: any LiveTransform,
        usage: Watch.Usage
    ) -> LivenessReport {
        let steady = summary.steadyState
        return LivenessReport(
            summary: summary, sourceName: sourceName, seconds: usage.seconds,
            lookAheadFrames: transform.lookAheadFrames,
            delayFrames: transform.delayFrames, isPaced: isPaced,
            resources: LivenessReport.Resources(
                allocationsPerFrame: steady.flatMap { state in
                    state.allocations.map {
                        thousandths(Double($0) / Double(max(1, state.frames)))
                    }
                },
                steadyStateFrames: steady?.frames ?? 0,
                peakResidentMB: thousandths(Double(ProcessStatistics.peakResidentBytes) / 1e6),
                residentGrowthMB: usage.growth.bytes.map { thousandths(Double($0) / 1e6) },
                steadySeconds: thousandths(usage.growth.steadySeconds),
                residentChangeMB: thousandths(Double(usage.growth.changeBytes) / 1e6),
                processorLoad: thousandths(usage.processorSeconds / max(usage.seconds, 1e-9)),
                workShare: transform.workShare?.mean.map(thousandths)),
            setup: transform.setup)
    }

    /// - Returns: why it could not be written: no reason to withhold the figures from who called.
    private func write(_ report: LivenessReport) -> SessionError? {
        let path = configuration.report.path
        guard !path.isEmpty else { return nil }
        do {
            try report.json().write(to: URL(filePath: path))
            return nil
        } catch {
            let cause = (error as? CocoaError)?.underlying as? POSIXError
            let reason = cause.map { String(cString: strerror($0.code.rawValue)) } ?? "\(error)"
            return SessionError("cannot write the report \(path): \(reason)")
        }
    }

    /// - Returns: why it could not be written.
    private func writePicture(of transform: any LiveTransform) -> SessionError? {
        guard let path = options.picturePath else { return nil }
        do {
            try transform.writePicture(to: path)
            return nil
        } catch {
            return SessionError("\(error)")
        }
    }

    /// What broke off the run, or was lost in it.
    private func failure(of summary: PipelineSummary) -> SessionError? {
        if summary.isSourceFailed { return SessionError("the input broke off before its end") }
        let lost = summary.sinks.filter(\.isLost)
        guard !lost.isEmpty else { return nil }
        let names = lost.map(\.name).joined(separator: ", ")
        // A service that is stopped has nobody to tell but its log.
        if lost.count == summary.sinks.count || !isService {
            return SessionError("the output failed: \(names)")
        }
        log.error("an output failed during the run: \(names)")
        return nil
    }
}

/// How a run went.
public struct SessionResult: Sendable {
    /// The figures.
    public let report: LivenessReport
    /// Whether a signal ended it.
    public let wasInterrupted: Bool
    /// What broke it off, to be thrown when everything else has been said.
    public let failure: SessionError?
}

/// LibAV's word for it; the configuration has one of its own.
typealias LibAVFit = LibAV.Fit

extension LibAV.Fit {
    init(_ fit: Fit) {
        switch fit {
        case .crop: self = .crop
        case .letterbox: self = .letterbox
        }
    }
}

/// SIGINT or SIGTERM came while an address was still waited for.
public struct SessionStopped: Error, CustomStringConvertible {
    /// For the user.
    public let description = "stopped before it had begun"
}

/// A run that could not go on.
public struct SessionError: Error, CustomStringConvertible {
    /// What happened and what to do.
    public let description: String
    /// An error with its text.
    public init(_ description: String) { self.description = description }
}

/// Throws if no file can be made at `path`.
func requireWritableFolder(of path: String) throws {
    let folder = URL(filePath: path).deletingLastPathComponent().path
    guard FileManager.default.isWritableFile(atPath: folder) else {
        throw SessionError("cannot write \(path): the folder is not there, or not yours")
    }
}
