// `lucida bench`: how fast engine and pipeline are on this machine.

internal import ArgumentParser
internal import Daemon
internal import FoundationEssentials

struct BenchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench",
        abstract: "Measure engine and pipeline on this machine.",
        discussion: """
            Set LUCIDA_ISA=scalar, avx2 or avx512 to hold the engine to an instruction set. \
            Compare only figures of one run: machines differ, and differ from minute to minute.
            """,
        subcommands: [Engine.self, BenchRooflineCommand.self, Pipe.self])

    struct Engine: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "engine", abstract: "The network alone: time per frame, and per step.",
            discussion: """
                Minimum, median and 99th percentile of whole frames, and the heap allocations per \
                frame, which should be 0. Steps are timed in a second round. What temporal reuse \
                saves depends on what is filmed: --clip shows it.
                """)

        @OptionGroup var options: ConfigurationOptions

        @OptionGroup var reuse: NoReuseOption

        @Option(
            name: .long, parsing: .unconditional,
            help: ArgumentHelp("Frames to measure.", valueName: "count"))
        var iterations = 100

        @Option(
            name: .long,
            help: ArgumentHelp(
                "Run the network on the tensor input of a safetensors file, and print the relative "
                    + "error (L2) against its tensor output. Both have the shape "
                    + "(channels, height / 4, width / 4).",
                valueName: "file"), completion: .file())
        var check: String?

        @Option(
            name: .long,
            help: ArgumentHelp(
                "Run a video instead, with and without temporal reuse, and compare the pictures; with "
                    + "--model ink, the model that reuses.",
                valueName: "file"), completion: .file())
        var clip: String?

        @Option(
            name: .long, parsing: .unconditional,
            help: ArgumentHelp(
                "With --clip: add seeded sensor noise of this deviation at mid-grey, 0 … 64 levels.",
                valueName: "sigma"))
        var noise = 0.0

        @Option(
            name: .long, parsing: .unconditional,
            help: ArgumentHelp("With --clip: repeat the clip for so long.", valueName: "seconds"))
        var loop = 0.0

        @Flag(name: .long, help: "Print JSON.")
        var json = false

        func validate() throws {
            guard (0...64).contains(noise) else { throw ValidationError("--noise is 0 … 64") }
            guard (0...86_400).contains(loop) else { throw ValidationError("--loop is 0 … 86400") }
            guard clip != nil || (noise == 0 && loop == 0) else {
                throw ValidationError("--noise and --loop need a --clip")
            }
            guard (1...1_000_000).contains(iterations) else {
                throw ValidationError("--iterations is 1 … 1000000")
            }
        }

        func run() throws {
            let loaded = try options.load()
            let configuration = loaded.configuration
            let log = makeLogger(configuration)
            if let clip {
                let bench = try loaded.placing {
                    try ClipBench(
                        configuration: configuration,
                        options: ClipBench.Options(file: clip, noise: noise, loopSeconds: loop),
                        log: log)
                }
                print(json ? try bench.json() : bench.text, terminator: "")
                return
            }
            let bench = try loaded.placing {
                try EngineBench(
                    configuration: configuration, iterations: iterations, check: check, log: log)
            }
            print(json ? try bench.json() : bench.text, terminator: "")
        }
    }

    struct Pipe: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "pipeline",
            abstract: "The synthetic camera through the network into nothing, in real time.")

        @OptionGroup var options: ConfigurationOptions

        @OptionGroup var reuse: ReuseOption

        @Option(
            name: .long, parsing: .unconditional,
            help: ArgumentHelp("Length of the run.", valueName: "seconds"))
        var duration = 20.0

        @Flag(name: .long, help: "Print JSON.")
        var json = false

        func validate() throws {
            guard duration > 0, duration < 1e9 else {
                throw ValidationError("--duration is a number of seconds above 0")
            }
        }

        func run() throws {
            let source = [
                ConfigurationOverride(option: "bench", key: "camera.source", value: "test"),
                ConfigurationOverride(option: "bench", key: "output.sinks", values: ["null"]),
            ]
            let loaded = try options.load(source + reuse.overrides)
            var session = SessionOptions()
            session.durationSeconds = duration
            session.showsProgress = isTerminal() && !json
            let result = try Session(
                loaded: loaded, options: session,
                log: makeLogger(loaded.configuration)
            ).run()
            let report = result.report
            print(
                json ? String(decoding: try report.json(), as: UTF8.self) : report.text + "\n",
                terminator: "")
            if let failure = result.failure { throw failure }
        }
    }
}
