// `lucida devices`: cameras and virtual cameras, and why one cannot be used.

internal import ArgumentParser
internal import Daemon

struct DevicesCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "devices",
        abstract: "List cameras and virtual cameras, their modes, and what is wrong with them.")

    @Flag(name: .long, help: "Print JSON.")
    var json = false

    func run() throws {
        let listing = DeviceListing.current()
        print(json ? try listing.json() : listing.text, terminator: "")
    }
}
