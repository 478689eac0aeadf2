// `lucida doctor`: what is wrong with the set-up, and what mends it.

internal import ArgumentParser
internal import Daemon
internal import FoundationEssentials

struct DoctorCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Examine the set-up, and name what is wrong and the command that mends it.",
        discussion: """
            Looks at the kernel module, Secure Boot, devices, permissions, the processor, OpenBLAS, \
            the configuration, the model and the service, and changes nothing. Commands stand after \
            an arrow; mend the first one first. Exits with 1 if there is a problem, with 0 if there \
            are warnings at most. With sudo it sees which programs of other users hold a device.
            """)

    @Option(
        name: .long,
        help: ArgumentHelp("Configuration to examine; else the one in use.", valueName: "file"),
        completion: .file(extensions: ["toml"]))
    var config: String?

    @Flag(name: .long, help: "Print JSON.")
    var json = false

    func run() throws {
        let diagnosis = Doctor.examine(
            configPath: config, environment: ProcessInfo.processInfo.environment)
        print(json ? try diagnosis.json() : diagnosis.text, terminator: "")
        if !diagnosis.isHealthy { throw ExitCode.failure }
    }
}
