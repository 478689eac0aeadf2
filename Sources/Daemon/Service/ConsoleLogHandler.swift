// Log lines for people at a terminal, and for the journal under systemd. Any thread.

internal import Glibc
public import Logging

/// A swift-log backend that writes one line a message to standard error.
///
/// At a terminal a line is `warning: text`; under systemd it begins with the priority of
/// sd-daemon(3), `<4>text`, so that `journalctl -p warning` finds it.
public struct ConsoleLogHandler: LogHandler {
    /// Metadata that every line of this logger carries.
    public var metadata: Logger.Metadata = [:]
    /// The least important level that is written.
    public var logLevel: Logger.Level
    private let isJournal: Bool
    private let isColoured: Bool

    /// A handler for the process's standard error.
    ///
    /// - Parameter environment: `JOURNAL_STREAM` says that systemd reads; `NO_COLOR` is honoured.
    public init(level: Logger.Level, environment: [String: String]) {
        logLevel = level
        isJournal = environment["JOURNAL_STREAM"] != nil
        isColoured = !isJournal && isatty(STDERR_FILENO) == 1 && environment["NO_COLOR"] == nil
    }

    /// One item of the metadata.
    public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    /// Writes one line. Allocates: not for the data plane's threads.
    public func log(event: LogEvent) {
        var line = isJournal ? "<\(event.level.journalPriority)>" : label(of: event.level)
        line += "\(event.message)"
        let all = metadata.merging(event.metadata ?? [:]) { _, new in new }
        for (key, value) in all.sorted(by: { $0.key < $1.key }) {
            line += " \(key)=\(value)"
        }
        line += "\n"
        // One write a line, so that lines of several threads do not mix.
        line.withUTF8 { bytes in _ = write(STDERR_FILENO, bytes.baseAddress, bytes.count) }
    }

    private func label(of level: Logger.Level) -> String {
        let colour =
            switch level {
            case .trace, .debug: "\u{1B}[2m"
            case .info, .notice: "\u{1B}[36m"
            case .warning: "\u{1B}[33m"
            case .error, .critical: "\u{1B}[31m"
            }
        return isColoured ? "\(colour)\(level):\u{1B}[0m " : "\(level): "
    }
}

extension Logger.Level {
    /// The syslog priority, 7 (debug) … 2 (critical).
    fileprivate var journalPriority: Int {
        switch self {
        case .trace, .debug: 7
        case .info: 6
        case .notice: 5
        case .warning: 4
        case .error: 3
        case .critical: 2
        }
    }
}
