// `lucida device`: the virtual camera itself, kept there from boot on.

internal import ArgumentParser
internal import Daemon
internal import FoundationEssentials
internal import Glibc

struct DeviceCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "device",
        abstract: "Make the virtual camera and keep it there, as lucida-device.service does.",
        discussion: """
            The service runs both at boot: prepare makes the device, hold keeps it. Apps then see a \
            camera before any Lucida runs, and keep their stream when one is stopped, restarted or \
            dies.
            """,
        subcommands: [Prepare.self, Hold.self])

    struct Options: ParsableArguments {
        @Option(
            name: .long,
            help: ArgumentHelp(
                "Configuration file; else ~/.config/lucida/lucida.toml, /etc/lucida/lucida.toml.",
                valueName: "file"), completion: .file(extensions: ["toml"]))
        var config: String?

        func load() throws -> Configuration {
            try Configuration.load(
                explicitPath: config, environment: ProcessInfo.processInfo.environment
            ).configuration
        }
    }

    struct Prepare: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make the virtual camera that the configuration names, unless it is there.",
            discussion: """
                Needs root, and a driver from v4l2loopback 0.13 on; older ones make their devices \
                when they are loaded. Says what to do where it cannot. Where output.sinks names no \
                virtual camera it does nothing.
                """)

        @OptionGroup var options: Options

        func run() throws {
            let preparation = DevicePreparation(
                configuration: try options.load(), configPath: options.config,
                environment: ProcessInfo.processInfo.environment)
            print(try preparation.run())
        }
    }

    struct Hold: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Keep the virtual camera there, and show a card while no Lucida runs.",
            discussion: """
                Runs until SIGTERM or Ctrl-C. `lucida run` finds it by itself, borrows the device, \
                and gives it back by ending, in whatever way. Format and size are those of the \
                configuration until a Lucida wants others.

                It listens at $LUCIDA_DEVICE_SOCKET, else writer.sock in $RUNTIME_DIRECTORY, else \
                /run/lucida-device/writer.sock. Under systemd the file descriptor store keeps the \
                device across its own restarts.

                Exit status 78: output.sinks names no virtual camera, so another start would help \
                no more.
                """)

        @OptionGroup var options: Options

        func run() throws {
            let configuration = try options.load()
            do {
                try hold(configuration)
            } catch  where configuration.loopbackName == nil {
                let text = Array("Error: \(error)\n".utf8)
                _ = write(STDERR_FILENO, text, text.count)
                throw ExitCode(EX_CONFIG)
            }
        }

        private func hold(_ configuration: Configuration) throws {
            let holder = try DeviceHolder(
                configuration: configuration,
                environment: ProcessInfo.processInfo.environment, log: makeLogger(configuration))
            try holder.run()
        }
    }
}
