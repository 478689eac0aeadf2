// `lucida transform`: a file through the same stages, every frame in order.

internal import ArgumentParser
internal import Daemon
internal import FoundationEssentials
internal import Logging

struct TransformCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "transform",
        abstract: "Transform an image or a video file, every frame in order, none dropped.",
        discussion: """
            The output's extension says what it is: .png and .jpg for pictures, .mp4, .mkv and so \
            on for video; a directory ending in / takes numbered PNG pictures. \
            `--set output.codec=ffv1` with .mkv is lossless. H.264 has pictures of even size only: \
            of others the last column or row is left out, and the log says so. Only the picture is written: sound is \
            left out, and so is the orientation that a camera noted in a JPEG.
            """)

    @Argument(
        help: ArgumentHelp("Image or video file, or a URL.", valueName: "in"), completion: .file())
    var input: String

    @Argument(help: ArgumentHelp("File to write.", valueName: "out"), completion: .file())
    var output: String

    @OptionGroup var options: ConfigurationOptions

    @OptionGroup var reuse: ReuseOption

    @Option(
        name: .long,
        help: ArgumentHelp("Write the summary as JSON (report.path).", valueName: "file"),
        completion: .file())
    var report: String?

    @Flag(
        name: .long,
        help: "Write over an output that is there already. (A report is always replaced.)")
    var overwrite = false

    /// A path as a source or sink names it, of somebody who has written it so already, too.
    private static func file(_ path: String) -> String {
        path.hasPrefix("file:") ? path : "file:" + path
    }

    func run() throws {
        let sink = output.hasSuffix("/") ? "frames:" + output : Self.file(output)
        var overrides = [
            ConfigurationOverride(option: "in", key: "camera.source", value: Self.file(input)),
            ConfigurationOverride(option: "out", key: "output.sinks", values: [sink]),
            // A file waits for every step of a frame; a batch would only lose its last frames.
            ConfigurationOverride(option: "in", key: "transform.stream_batch", value: "false"),
        ]
        if let report {
            overrides.append(
                ConfigurationOverride(option: "--report", key: "report.path", value: report))
        }
        if SinkName.file(output).isPicture {
            // A single picture has nothing before it to reuse.
            overrides.append(
                ConfigurationOverride(
                    option: "out", key: "performance.temporal_reuse", value: "false"))
        }
        let loaded = try options.load(overrides + reuse.overrides)
        let log = makeLogger(loaded.configuration)
        var session = SessionOptions()
        session.isOffline = true
        session.overwrites = overwrite
        session.showsProgress = isTerminal()
        let result = try Session(
            loaded: loaded, options: session, log: log
        ).run()
        if let failure = result.failure { throw failure }
        let report = result.report
        let written = report.outputs.first?.frames ?? 0
        if result.wasInterrupted {
            throw SessionError(
                written == 0
                    ? "interrupted before the first frame"
                    : "interrupted: \(output) holds only the first \(written) frames")
        }
        let bad = report.input.bad
        if written == 0 {
            throw SessionError(
                "no frame of \(input) could be transformed"
                    + (bad > 0 ? ": the file is damaged. Copy it again, or repair it" : ""))
        }
        if bad > 0 {
            let all = report.input.frames + bad
            log.warning("\(input) is damaged: \(bad) of \(all) frames are missing in \(output)")
        }
        func tenths(_ value: Double) -> Double { (value * 10).rounded() / 10 }
        let rate = tenths(Double(written) / max(report.seconds, 1e-3))
        print(
            "\(written) \(written == 1 ? "frame" : "frames") in \(tenths(report.seconds)) s "
                + "(\(rate) fps), \(bad) damaged: \(output)")
    }
}
