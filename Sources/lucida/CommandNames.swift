// Names of commands that are none: said before anything else is read, with what may be meant.

internal import ArgumentParser
internal import Daemon

/// Checks the words that name a command, `lucida help COMMAND …` included, for which ArgumentParser
/// would show the general help whatever the words are.
///
/// - Parameter arguments: of the program, without its own name.
/// - Throws: `ValidationError` for the first word that stands where a command is due and is none.
func checkCommandNames(_ arguments: [String]) throws {
    var words = arguments[...]
    if words.first == "help" { words.removeFirst() }
    var command: any ParsableCommand.Type = Lucida.self
    var path = "lucida"
    while let word = words.popFirst(), !word.hasPrefix("-") {
        let subcommands = command.configuration.subcommands
        if subcommands.isEmpty || word == "help" { return }
        guard let next = subcommands.first(where: { $0._commandName == word }) else {
            let names = subcommands.map { $0._commandName }
            let hint = suggestion(for: word, among: names).map { "did you mean \($0)? " } ?? ""
            throw ValidationError(
                "\(path) has no command \"\(word)\"; \(hint)\(hint.isEmpty ? "there" : "There") are "
                    + names.joined(separator: ", "))
        }
        command = next
        path += " " + word
    }
}
