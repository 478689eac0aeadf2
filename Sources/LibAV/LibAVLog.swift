// What libav logs: quiet by default, the last error line kept so that our own errors can quote it.

internal import CLibAV
internal import Glibc
internal import Synchronization

/// How much of libav's log is wanted.
public enum LibAVLogLevel: Int32, Sendable, Comparable {
    /// Nothing.
    case quiet = -8
    /// What broke an operation.
    case error = 16
    /// What may look or sound wrong.
    case warning = 24
    /// What libav found and chose.
    case info = 32
    /// For people who debug libav.
    case debug = 48

    /// Whether `lhs` says less.
    public static func < (lhs: Self, rhs: Self) -> Bool { lhs.rawValue < rhs.rawValue }
}

/// Receives libav's log. Process-wide, as libav's log is.
public enum LibAVLog {
    /// Takes over libav's log: from now on nothing of it reaches standard error by itself.
    ///
    /// Every type of this module calls this without a handler. Any thread.
    ///
    /// - Parameters:
    ///   - level: lines that say more than this are not formatted.
    ///   - handler: receives each line, without its newline, on whichever thread libav logs on;
    ///     must not call this module.
    public static func install(
        level: LibAVLogLevel, handler: @escaping @Sendable (LibAVLogLevel, String) -> Void
    ) {
        takeOver()
        self.handler.withLock { $0 = handler }
        maximum.store(level.rawValue, ordering: .relaxed)
    }

    /// Back to silence.
    public static func removeHandler() {
        maximum.store(LibAVLogLevel.quiet.rawValue, ordering: .relaxed)
        handler.withLock { $0 = nil }
    }

    /// Routes libav's log through here, once.
    static func takeOver() {
        // A relaxed flag suffices: setting the same callback twice does no harm.
        guard !isInstalled.exchange(true, ordering: .relaxed) else { return }
        av_log_set_callback { object, level, format, arguments in
            LibAVLog.receive(object, level & 0xff, format, arguments)
        }
    }

    /// The last error line of the calling thread, forgotten once read. Called before an operation
    /// to forget what came earlier, and after its failure to learn why.
    @discardableResult
    static func takeLastError() -> String {
        guard let line = pthread_getspecific(lastErrorKey) else { return "" }
        let text = line.assumingMemoryBound(to: CChar.self)
        defer { text[0] = 0 }
        return String(cString: text)
    }

    private static let isInstalled = Atomic<Bool>(false)
    private static let maximum = Atomic<Int32>(LibAVLogLevel.quiet.rawValue)
    private static let handler = Mutex<(@Sendable (LibAVLogLevel, String) -> Void)?>(nil)
    private static let lineBytes = 512

    /// Of each thread's own last error line: memory that it keeps, because a damaged picture is
    /// logged on the capture thread, which does not allocate in steady state.
    private static let lastErrorKey: pthread_key_t = {
        var key = pthread_key_t()
        pthread_key_create(&key) { free($0) }
        return key
    }()

    private static func keep(_ text: UnsafePointer<CChar>, count: Int) {
        if pthread_getspecific(lastErrorKey) == nil {
            pthread_setspecific(lastErrorKey, calloc(1, lineBytes))
        }
        guard let line = pthread_getspecific(lastErrorKey) else { return }
        memcpy(line, text, count)
        line.storeBytes(of: 0, toByteOffset: count, as: CChar.self)
    }

    private static func receive(
        _ object: UnsafeMutableRawPointer?, _ level: Int32, _ format: UnsafePointer<CChar>?,
        _ arguments: CVaListPointer?
    ) {
        let isWanted = level <= maximum.load(ordering: .relaxed)
        let isError = level <= LibAVLogLevel.error.rawValue
        guard isWanted || isError, let format, let arguments else { return }
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: lineBytes) { text in
            guard let base = text.baseAddress else { return }
            var printPrefix: Int32 = 0
            av_log_format_line2(
                object, level, format, arguments, base, Int32(text.count), &printPrefix)
            var count = strnlen(base, text.count - 1)
            while count > 0, base[count - 1] == 10 || base[count - 1] == 32 { count -= 1 }
            if isError { keep(base, count: count) }
            guard isWanted, let handler = handler.withLock({ $0 }) else { return }
            let bytes = UnsafeRawBufferPointer(start: base, count: count)
            handler(LibAVLogLevel(libav: level), String(decoding: bytes, as: UTF8.self))
        }
    }
}

extension LibAVLogLevel {
    /// The level that a line of libav's has; its finer steps are rounded.
    fileprivate init(libav level: Int32) {
        self =
            switch level {
            case ...LibAVLogLevel.error.rawValue: .error
            case ...LibAVLogLevel.warning.rawValue: .warning
            case ...LibAVLogLevel.info.rawValue: .info
            default: .debug
            }
    }
}
