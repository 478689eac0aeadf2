// `lucida check-config`: what is in force, or what is wrong.

internal import ArgumentParser
internal import Daemon
internal import FoundationEssentials

struct CheckConfigCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check-config",
        abstract: "Check the configuration and print what is in force, and why.",
        discussion: "Exits with 1 and names file, line and key if anything is wrong.")

    @OptionGroup var options: ConfigurationOptions

    @Argument(
        help: ArgumentHelp("File to check instead of the one in use.", valueName: "file"),
        completion: .file())
    var file: String?

    func run() throws {
        var options = options
        if let file { options.config = file }
        let loaded = try options.load()
        try loaded.checkModel(environment: ProcessInfo.processInfo.environment)
        print(loaded, terminator: "")
    }
}
