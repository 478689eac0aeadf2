// `lucida demo`: shows what Lucida does with what the machine has; behind `make run`.

internal import ArgumentParser
internal import Daemon
internal import FoundationEssentials
internal import Glibc

struct DemoCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "demo",
        abstract: "Show it working: camera to virtual camera, or 10 s of a drawn scene to a video.",
        discussion: """
            With a camera and a v4l2loopback device it runs until Ctrl-C. Without, the built-in \
            synthetic camera is transformed for 10 s, and a video and a picture are left to look at.
            """)

    @Option(
        name: [.short, .long],
        help: ArgumentHelp("Directory for video, picture and report.", valueName: "dir"),
        completion: .directory)
    var output = "out"

    @OptionGroup var options: ConfigurationOptions

    @OptionGroup var reuse: ReuseOption

    func run() throws {
        let listing = DeviceListing.current()
        do {
            try FileManager.default.createDirectory(
                atPath: output, withIntermediateDirectories: true)
        } catch {
            throw SessionError("cannot make the folder \(output): name another with --output")
        }
        var session = SessionOptions()
        session.showsProgress = isTerminal()
        let video = "\(output)/lucida.mp4"
        let picture = "\(output)/before-after.png"
        let report = "\(output)/report.json"
        var overrides = [
            ConfigurationOverride(option: "demo", key: "report.path", value: report)
        ]
        if let camera = listing.usableCamera, let loopback = listing.usableLoopback {
            print("\(camera.path) (\(camera.card)) → \(loopback.path) (\(loopback.card))")
            print("Choose \"\(loopback.card)\" as the camera in your app. Ctrl-C stops.")
            overrides += [
                ConfigurationOverride(
                    option: "demo", key: "camera.source", value: "v4l2:" + camera.path),
                ConfigurationOverride(
                    option: "demo", key: "output.sinks", values: ["v4l2:" + loopback.path]),
            ]
        } else {
            print(listing.whyNoLiveDemo)
            print("Showing the synthetic camera for 10 s instead.")
            session.durationSeconds = 10
            session.picturePath = picture
            overrides += [
                ConfigurationOverride(option: "demo", key: "camera.source", value: "test"),
                ConfigurationOverride(
                    option: "demo", key: "output.sinks", values: ["file:" + video]),
            ]
        }
        let loaded = try options.load(overrides + reuse.overrides)
        // The last demo's; a live run would record beside it.
        if session.picturePath != nil { unlink(video) }
        let result = try Session(
            loaded: loaded, options: session,
            log: makeLogger(loaded.configuration)
        ).run()
        print(result.report.text)
        if session.picturePath != nil {
            print("\nLook at:\n  \(picture)   one frame before and after\n  \(video)")
        }
        print("  \(report)")
        if let failure = result.failure { throw failure }
    }
}
