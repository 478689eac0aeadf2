// `lucida run`: the main job.

internal import ArgumentParser
internal import Daemon
internal import FoundationEssentials
internal import Logging

struct RunCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run",
        abstract: "Transform a camera live, into a virtual camera or a file.",
        discussion: """
            Runs until Ctrl-C or SIGTERM, then prints how live it was: frame age, rate, dropped \
            frames, memory. Without options the configuration decides; its default is the first camera \
            and the first v4l2loopback device.

            The status is 0, or 1 if the run could not begin or go on, or if an output was lost, or \
            still away at the end.
            """)

    @OptionGroup var options: ConfigurationOptions

    @OptionGroup var reuse: ReuseOption

    @Option(
        name: .long,
        help: ArgumentHelp(
            "auto, test, v4l2:PATH, a name in /dev/v4l/by-id, file:PATH or a URL (camera.source).",
            valueName: "source"),
        completion: .list(["auto", "test", "v4l2:", "file:"]))
    var source: String?

    @Option(
        name: .long, parsing: .singleValue,
        help: ArgumentHelp(
            "auto, null, v4l2:PATH, file:PATH, frames:DIR or a URL (output.sinks). "
                + "May be repeated.",
            valueName: "sink"),
        completion: .list(["auto", "null", "v4l2:", "file:", "frames:"]))
    var sink: [String] = []

    @Option(
        name: .long, parsing: .unconditional,
        help: ArgumentHelp("Frames a second (camera.rate).", valueName: "fps"))
    var rate: String?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "realtime or fast: how a file or the test camera is read (camera.pace).",
            valueName: "pace"),
        completion: .list(Pace.allCases.map(\.rawValue)))
    var pace: String?

    @Flag(name: .long, help: "Swap left and right (camera.mirror).")
    var mirror = false

    @Option(
        name: .long, parsing: .unconditional,
        help: ArgumentHelp("Stop after so many seconds.", valueName: "seconds"))
    var duration: Double?

    @Option(
        name: .long,
        help: ArgumentHelp("Write the liveness summary as JSON (report.path).", valueName: "file"),
        completion: .file())
    var report: String?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Write a PNG of one frame before and after, side by side. It shows the raw camera.",
            valueName: "file"), completion: .file())
    var picture: String?

    func validate() throws {
        if let duration, !(duration > 0 && duration < 1e9) {
            throw ValidationError("--duration is a number of seconds above 0")
        }
    }

    func run() throws {
        let source = try options.source(overrides() + reuse.overrides)
        let loaded = try source.load()
        let log = makeLogger(loaded.configuration)
        log.info("configuration: \(loaded.file ?? "the defaults")")
        var session = SessionOptions()
        session.durationSeconds = duration
        session.source = source
        session.picturePath = picture
        session.showsProgress = isTerminal()
        let result: SessionResult
        do {
            result = try Session(loaded: loaded, options: session, log: log).run()
        } catch let stop as SessionStopped {
            log.notice("\(stop)")
            return
        }
        print(result.report.text)
        if let failure = result.failure { throw failure }
    }

    private func overrides() -> [ConfigurationOverride] {
        var result: [ConfigurationOverride] = []
        result.add("--source", "camera.source", source)
        result.add("--rate", "camera.rate", rate)
        result.add("--pace", "camera.pace", pace)
        result.add("--mirror", "camera.mirror", mirror ? "true" : nil)
        result.add("--report", "report.path", report)
        if !sink.isEmpty {
            result.append(
                ConfigurationOverride(option: "--sink", key: "output.sinks", values: sink))
        }
        return result
    }
}
