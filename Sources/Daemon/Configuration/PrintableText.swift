// Text from files and options, made fit for messages. Any thread.

/// `text` for messages: on one line, without control characters, at most 200 characters.
func printable(_ text: String, scalarCountMax: Int = 200) -> String {
    var result = ""
    for scalar in text.unicodeScalars.prefix(scalarCountMax) {
        let isControl = scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value)
        result.unicodeScalars.append(isControl ? "\u{FFFD}" : scalar)
    }
    return text.unicodeScalars.count > scalarCountMax ? result + "…" : result
}

/// `text` for messages in quotation marks, shortened to 60 characters.
func quoted(_ text: String) -> String { "\"" + printable(text, scalarCountMax: 60) + "\"" }
