// `lucida bench roofline`: what the machine can do, and how near each layer comes to it.

internal import ArgumentParser
internal import Daemon

struct BenchRooflineCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "roofline",
        abstract: "The machine's peaks, and the share of them that each layer reaches.",
        discussion: """
            Measures multiply-accumulates on registers for f32, bf16, int16 and int8 (as far as the \
            CPU has them) and the bandwidth of caches and memory, with one thread and with all, in \
            turn with the layers of the model, of which whole frames are computed: temporal reuse \
            plays no part. Takes a few seconds. Only a machine with nothing else \
            to do shows its peak; what else it did is printed.
            """)

    @OptionGroup var options: ConfigurationOptions

    @OptionGroup var reuse: NoReuseOption

    @Option(
        name: .long, parsing: .unconditional,
        help: ArgumentHelp("Frames to measure.", valueName: "count"))
    var iterations = 50

    @Flag(name: .long, help: "Print JSON.")
    var json = false

    @Option(
        name: .long, help: ArgumentHelp("Also draw the roofline into an SVG.", valueName: "file"),
        completion: .file())
    var plot: String?

    func validate() throws {
        guard (1...1_000_000).contains(iterations) else {
            throw ValidationError("--iterations is 1 … 1000000")
        }
    }

    func run() throws {
        if let plot { try Roofline.requireWritable(plot) }
        let loaded = try options.load()
        let log = makeLogger(loaded.configuration)
        let roofline = try loaded.placing {
            try Roofline(configuration: loaded.configuration, iterations: iterations, log: log)
        }
        if let plot { try roofline.writePlot(to: plot) }
        print(json ? try roofline.json() : roofline.text, terminator: "")
    }
}
