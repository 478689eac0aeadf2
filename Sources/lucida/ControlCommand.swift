// `lucida ctl`: steers a running Lucida.

internal import ArgumentParser
internal import Daemon
internal import FoundationEssentials

struct ControlCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ctl",
        abstract: "See what a running Lucida does, pause it, change its look.",
        subcommands: [
            Status.self, Reload.self, Pause.self, Resume.self, Set.self, Watch.self,
        ])

    struct Options: ParsableArguments {
        @Flag(name: .long, help: "Print the answer as JSON, as it came.")
        var json = false

        @Option(
            name: .long,
            help: ArgumentHelp(
                "Control socket; else control.socket of the configuration, "
                    + "$XDG_RUNTIME_DIR/lucida/control.sock, /run/lucida/control.sock.",
                valueName: "path"))
        var socket: String?

        func connect(timeoutSeconds: Int = 10) throws -> ControlClient {
            let environment = ProcessInfo.processInfo.environment
            // A configuration that cannot be used must not keep anybody from steering.
            let loaded = try? Configuration.load(explicitPath: nil, environment: environment)
            return try ControlClient(
                paths: socket.map { [$0] }
                    ?? ControlSocketPath.candidates(
                        loaded?.configuration, environment: environment),
                timeoutSeconds: timeoutSeconds)
        }

        /// Asks, and prints the answer.
        func ask(
            _ request: ControlRequest, timeoutSeconds: Int = 10, _ text: (ControlReply) -> String
        ) throws {
            let (reply, line) = try connect(timeoutSeconds: timeoutSeconds).ask(request)
            print(json ? line : text(reply))
        }
    }

    struct Status: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "What it does: state, rate, frame age, frames, model, look.")
        @OptionGroup var options: Options

        func run() throws { try options.ask(.status) { $0.status?.text ?? "" } }
    }

    struct Reload: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Read the configuration file again.",
            discussion: """
                If anything is wrong with it, nothing changes. What `ctl set` has changed is as the \
                file and the command line say again. A file that is saved is read without being asked.
                """)
        @OptionGroup var options: Options

        // Another network may have to be measured first.
        func run() throws { try options.ask(.reload, timeoutSeconds: 120, \.changeText) }
    }

    struct Pause: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show a card instead of pictures, until resume.")
        @OptionGroup var options: Options

        func run() throws { try options.ask(.pause) { _ in "paused" } }
    }

    struct Resume: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "End the pause.")
        @OptionGroup var options: Options

        func run() throws { try options.ask(.resume) { _ in "resumed" } }
    }

    struct Set: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Change a setting until the next start or reload.",
            discussion: """
                Takes camera.on_demand, camera.linger, log.level and all of [transform] but model and \
                size. For example: `lucida ctl set transform.style ink:0.7,oil:0.3`
                """)
        @OptionGroup var options: Options

        @Argument(help: "For example transform.strength.")
        var key: String

        // Unconditional, as wherever a number is expected: -1 is a value out of range, no option.
        @Argument(parsing: .allUnrecognized, help: "As in the configuration file.")
        var value: [String] = []

        mutating func validate() throws {
            // Written as for --set.
            if value.isEmpty, let equals = key.firstIndex(of: "=") {
                value = [String(key[key.index(after: equals)...])]
                key = String(key[..<equals])
            }
            guard value.count == 1 else {
                throw ValidationError("one key takes one value: lucida ctl set KEY VALUE")
            }
        }

        func run() throws {
            try options.ask(.set(key: key, value: value.joined()), \.changeText)
        }
    }

    struct Watch: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show the figures of the last seconds, live, until Ctrl-C.",
            discussion: "At a terminal in place, else a line each time.")
        @OptionGroup var options: Options

        @Option(
            name: .long, parsing: .unconditional,
            help: ArgumentHelp("Seconds from one to the next, 0.2 to 60.", valueName: "seconds"))
        var interval = 1.0

        func run() throws {
            let client = try options.connect()
            var (reply, line) = try client.ask(.watch(interval: interval))
            let isInPlace = !options.json && isOutputTerminal()
            var rows = 0
            while true {
                if options.json {
                    write(line + "\n")
                } else if let status = reply.status {
                    // Up to where the last one began, and away with it.
                    let up = rows > 0 ? "\u{1B}[\(rows)A\r\u{1B}[J" : ""
                    let text = isInPlace ? status.text : status.lineText
                    write((isInPlace ? up : "") + text + "\n")
                    rows = text.split(separator: "\n").count
                }
                (reply, line) = try client.next()
            }
        }
    }
}
