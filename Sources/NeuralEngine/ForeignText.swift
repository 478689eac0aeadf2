// Text out of a file that a stranger made, for messages.

extension String {
    /// For messages: it must neither steer a terminal nor fill it. ASCII, all else as `\u{1B}`, and
    /// shortened to 40 characters.
    public var escapedForMessages: String {
        let shown = unicodeScalars.prefix(40).map { $0.escaped(asASCII: true) }
        return shown.joined() + (shown.count < unicodeScalars.count ? "..." : "")
    }

    /// The same in quotation marks.
    public var quotedForMessages: String { "\"" + escapedForMessages + "\"" }
}
