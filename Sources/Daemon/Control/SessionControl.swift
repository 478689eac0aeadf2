// Applies what the file, signals and the control socket ask of a running session. Control thread.

internal import FoundationEssentials
internal import Logging
internal import Pipeline

/// A transform whose look can change while it runs.
protocol LiveTransform: AnyObject {
    /// Lets later frames look otherwise, from one frame to the next.
    ///
    /// - Throws: if it cannot; then nothing has changed.
    func change(to settings: Configuration.Transform) throws
}

/// The configuration in force, and its changes.
final class SessionControl {
    /// In force: the start's, with what has changed live.
    private(set) var configuration: Configuration
    /// The file that was read last; `nil`: none.
    private(set) var file: String?
    private let source: ConfigurationSource
    private let pipeline: Pipeline
    private let transform: any LiveTransform
    private var log: Logger

    /// Who has asked for a reload.
    enum Trigger {
        /// A signal or the control socket.
        case user
        /// The file has changed.
        case file
    }

    init(
        source: ConfigurationSource, loaded: LoadedConfiguration, pipeline: Pipeline,
        transform: any LiveTransform, log: Logger
    ) {
        self.source = source
        configuration = loaded.configuration
        file = loaded.file
        self.pipeline = pipeline
        self.transform = transform
        self.log = log
    }

    /// Carries a request out, except that `status` and `watch` are answered by `status`.
    func answer(_ request: ControlRequest, status: () -> ControlStatus) -> ControlReply {
        switch request {
        case .status, .watch:
            var reply = ControlReply()
            reply.status = status()
            return reply
        case .reload: return reload(.user)
        case .pause: return setPaused(true)
        case .resume: return setPaused(false)
        case .set(let key, let value): return set(key, to: value)
        }
    }

    private func setPaused(_ isPaused: Bool) -> ControlReply {
        if isPaused != pipeline.isPaused {
            pipeline.setPaused(isPaused)
            log.info(isPaused ? "paused: a card is shown" : "resumed")
        }
        return ControlReply()
    }

    // MARK: Configuration

    /// Reads the configuration again. If anything is wrong with it, nothing changes.
    func reload(_ trigger: Trigger) -> ControlReply {
        let new: LoadedConfiguration
        do {
            new = try source.load()
            if trigger == .file, let file, new.file != file {
                // Halfway through saving it may be away; and whoever deletes it may not mean it.
                throw SessionError(
                    "\(file) is gone; what it said stays in force until `lucida ctl reload`")
            }
            try new.configuration.checkModel(environment: source.environment)
            let reply = try apply(new.configuration)
            file = new.file
            return reply
        } catch {
            let text = "configuration refused, nothing has changed:\n\(error)"
            log.error("\(text)")
            return .refused(text)
        }
    }

    /// One setting, until the next start or reload.
    private func set(_ key: String, to value: String) -> ControlReply {
        do {
            let new = try configuration.setting(
                ConfigurationOverride(option: "ctl set", key: key, value: value))
            guard ConfigurationSchema.liveKeys.contains(key) else {
                let names = ConfigurationSchema.keys.map(\.name)
                    .filter(ConfigurationSchema.liveKeys.contains)
                return .refused(
                    "\(quoted(key)) comes from the configuration file alone, and counts from the "
                        + "next start on; `lucida ctl set` takes \(names.joined(separator: ", "))")
            }
            return try apply(new)
        } catch {
            return .refused("\(error)")
        }
    }

    /// Applies what is live of `new`, which is sound in itself.
    ///
    /// - Throws: if the running network cannot draw that; then nothing has changed.
    private func apply(_ new: Configuration) throws -> ControlReply {
        let next = configuration.takingLive(from: new)
        let changed = ConfigurationSchema.differences(configuration, next)
        if next.transform != configuration.transform { try transform.change(to: next.transform) }
        pipeline.setPassesFailuresThrough(next.transform.onFailure == .passthrough)
        if next.log.level != configuration.log.level { setLogLevel(next.log.level, of: &log) }
        configuration = next
        var reply = ControlReply()
        reply.changed = [:]
        for name in changed {
            reply.changed?[name] = ConfigurationSchema.key(named: name)?.read(next).description
        }
        reply.atNextStart = ConfigurationSchema.differences(next, new)
        say(reply)
        return reply
    }

    private func say(_ reply: ControlReply) {
        let changes = (reply.changed ?? [:]).sorted { $0.key < $1.key }
        let text = changes.map { "\($0.key) = \(printable($0.value))" }.joined(separator: ", ")
        log.info("configuration: \(text.isEmpty ? "nothing has changed at once" : text)")
        if let later = reply.atNextStart, !later.isEmpty {
            log.warning("only from the next start on: \(later.joined(separator: ", "))")
        }
    }
}
