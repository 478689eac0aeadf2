// Log lines for people at a terminal, and for the journal under systemd. Any thread.

internal import Glibc
internal import LibAV
public import Logging
internal import Synchronization

/// A swift-log backend that writes one line a message to standard error.
///
/// At a terminal a line is `warning: text`; under systemd it begins with the priority of
/// sd-daemon(3), `<4>text`, so that `journalctl -p warning` finds it.
struct ConsoleLogHandler: LogHandler {
    /// Metadata that every line of this logger carries.
    var metadata: Logger.Metadata = [:]
    /// The least important level that is written, the same for all loggers: it changes live.
    var logLevel: Logger.Level {
        get { Self.sharedLevel.withLock { $0 } }
        set { Self.sharedLevel.withLock { $0 = newValue } }
    }
    private static let sharedLevel = Mutex(Logger.Level.info)
    private let isJournal: Bool
    private let isColoured: Bool

    /// A handler for the process's standard error.
    ///
    /// - Parameter environment: `JOURNAL_STREAM` says that systemd reads; `NO_COLOR` is honoured.
    init(environment: [String: String]) {
        isJournal = Self.isJournal(environment["JOURNAL_STREAM"])
        isColoured = !isJournal && isatty(STDERR_FILENO) == 1 && environment["NO_COLOR"] == nil
    }

    /// One item of the metadata.
    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    /// Writes one line. Allocates: not for the data plane's threads.
    func log(event: LogEvent) {
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

    /// Whether standard error is the stream that systemd made: the variable holds its device and
    /// inode (systemd.exec(5)), and is inherited by programs that write elsewhere.
    private static func isJournal(_ variable: String?) -> Bool {
        var status = stat()
        guard let variable, fstat(STDERR_FILENO, &status) == 0 else { return false }
        return variable == "\(status.st_dev):\(status.st_ino)"
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

/// Sends the process's log lines, and libav's own, to standard error. Once, by the main thread.
///
/// - Returns: the logger for everything.
public func startLogging(
    level: Logger.Level, environment: [String: String]
) -> Logger {
    LoggingSystem.bootstrap { _ in ConsoleLogHandler(environment: environment) }
    var log = Logger(label: "lucida")
    setLogLevel(level, of: &log)
    return log
}

/// Shows messages from `level` on, those of all loggers.
func setLogLevel(_ level: Logger.Level, of log: inout Logger) {
    log.logLevel = level
    guard level <= .debug else { return }
    // What libav thinks an error is often only a damaged frame, which is counted and dropped.
    LibAVLog.install(level: .info) { [log] _, line in log.debug("libav: \(line)") }
}
