// The command line.

internal import ArgumentParser

@main
struct Lucida: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "lucida")
}
