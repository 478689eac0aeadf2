// Applies what the file, signals and the control socket ask of a running session. Control thread.

internal import FoundationEssentials
internal import Logging
internal import Pipeline

/// A transform whose look can change while it runs.
protocol LiveTransform: FrameTransform {
    /// Lets later frames look otherwise, from one frame to the next.
    ///
    /// - Throws: if it cannot; then nothing has changed.
    func change(to settings: Configuration.Transform) throws
    /// What does the work, for the report and for status.
    var setup: LivenessReport.Setup { get }
    /// How much of the work was done; `nil` without temporal reuse.
    var workShare: WorkShare? { get }
    /// Writes the picture that was taken, if one was. After the run.
    func writePicture(to path: String) throws
}

/// Makes source and network for a changed configuration.
struct FrontMaker {
    /// Throws if that must not be read here.
    let source: (Configuration) throws -> any FrameSource
    /// Throws if the weights cannot be used.
    let transform: (Configuration) throws -> any LiveTransform
}

/// The configuration in force, and its changes.
final class SessionControl {
    /// In force: the start's, with what has changed live.
    private(set) var configuration: Configuration
    /// The file that was read last; `nil`: none.
    private(set) var file: String?
    private let source: ConfigurationSource?
    private let pipeline: Pipeline
    /// The one that runs.
    private(set) var transform: any LiveTransform
    private let front: FrontMaker
    private let pauseNote: PauseNote
    private var log: Logger
    /// Counts the changes that may need other memory than there was before.
    private(set) var memoryChanges = 0

    /// Who has asked for a reload.
    enum Trigger {
        /// A signal or the control socket.
        case user
        /// The file has changed.
        case file
    }

    /// - Parameter source: `nil`: nothing changes while the session runs.
    init(
        source: ConfigurationSource?, loaded: LoadedConfiguration, pipeline: Pipeline,
        transform: any LiveTransform, front: FrontMaker, pauseNote: PauseNote, log: Logger
    ) {
        self.source = source
        configuration = loaded.configuration
        file = loaded.file
        self.pipeline = pipeline
        self.transform = transform
        self.front = front
        self.pauseNote = pauseNote
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
            // First of all: what ends in between must not begin again with the room.
            do throws(SessionError) {
                try pauseNote.set(isPaused)
            } catch {
                log.warning("\(error)")
            }
            pipeline.setPaused(isPaused)
            log.info(isPaused ? "paused: a card is shown" : "resumed")
        }
        return ControlReply()
    }

    // MARK: Configuration

    /// Reads the configuration again. If anything is wrong with it, nothing changes.
    func reload(_ trigger: Trigger) -> ControlReply {
        guard let source else { return .refused("this run takes no changes") }
        let new: LoadedConfiguration
        do {
            new = try source.load()
            if trigger == .file, let file, new.file != file {
                // Halfway through saving it may be away; and whoever deletes it may not mean it.
                throw SessionError(
                    "\(file) is gone; what it said stays in force until `lucida ctl reload`")
            }
            try new.checkModel(environment: source.environment)
            var reply = try apply(new.configuration)
            file = new.file
            reply.overruled = new.overruled
            if let text = reply.overruledText { log.notice("configuration: \(text)") }
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
                let isFollowed =
                    ConfigurationSchema.networkKeys.contains(key)
                    || ConfigurationSchema.sourceKeys.contains(key)
                return .refused(
                    "\(quoted(key)) comes from the configuration file alone, "
                        + (isFollowed ? "which is followed when it is saved" : "at the next start")
                        + "; `lucida ctl set` takes \(names.joined(separator: ", "))")
            }
            var reply = try new.placing { try apply(new.configuration) }
            if reply.changed?.isEmpty == true {
                let value = ConfigurationSchema.key(named: key)?.read(configuration).description
                reply.unchanged = [key: value ?? ""]
            }
            return reply
        } catch {
            return .refused("\(error)")
        }
    }

    /// Applies what can be applied of `new`, which is sound in itself.
    ///
    /// - Throws: if the network cannot draw that, or another cannot be prepared; then nothing has
    ///   changed.
    private func apply(_ new: Configuration) throws -> ControlReply {
        let next = configuration.taking(changeableKeys(new), from: new)
        let changed = ConfigurationSchema.differences(configuration, next)
        let needsNetwork = changed.contains(where: ConfigurationSchema.networkKeys.contains)
        let needsSource = changed.contains(where: ConfigurationSchema.sourceKeys.contains)
        let network = needsNetwork ? try front.transform(next) : nil
        let camera = needsSource ? try front.source(next) : nil
        if network == nil, next.transform != configuration.transform {
            try transform.change(to: next.transform)
        }
        if network != nil || camera != nil {
            try pipeline.replaceFront(source: camera, transform: network)
        }
        if let network { transform = network }
        if network != nil || camera != nil || changed.contains(where: Self.weightKeys.contains) {
            memoryChanges += 1
        }
        pipeline.setPassesFailuresThrough(next.transform.onFailure == .passthrough)
        pipeline.setDemand(
            opensOnDemand: next.isOnDemand, lingerNanoseconds: next.camera.lingerNanoseconds)
        if next.log.level != configuration.log.level { setLogLevel(next.log.level, of: &log) }
        // The virtual camera has the size that is wanted of the camera, where none is set; but not live.
        let isOtherSize = configuration.frameSize != next.frameSize
        configuration = next
        var reply = ControlReply()
        reply.changed = [:]
        for name in changed {
            reply.changed?[name] =
                ConfigurationSchema.key(named: name)?.read(next).description
                ?? "\(next.camera.controls.count) controls"
        }
        reply.atNextStart = ConfigurationSchema.differences(next, new)
        if isOtherSize { reply.atNextStart? += ["output.width", "output.height"] }
        say(reply)
        return reply
    }

    /// What needs other weights, beside those that draw until they are ready.
    private static let weightKeys: Set<String> = [
        "transform.style", "transform.steps", "transform.stream_batch",
    ]

    /// The sinks stay as they are; and how frames are handed on was settled at the start, so a source
    /// can only take the place of one that is paced alike.
    private func changeableKeys(_ new: Configuration) -> Set<String> {
        let keys = ConfigurationSchema.liveKeys.union(ConfigurationSchema.networkKeys)
        let withSource = keys.union(ConfigurationSchema.sourceKeys)
        let isAlike =
            configuration.taking(withSource, from: new).camera.isPaced
            == configuration.camera.isPaced
        return isAlike ? withSource : keys
    }

    private func say(_ reply: ControlReply) {
        let changes = (reply.changed ?? [:]).sorted { $0.key < $1.key }
        let text = changes.map { "\($0.key) = \(printable($0.value))" }.joined(separator: ", ")
        if text.isEmpty {
            log.debug("configuration: read again, nothing has changed at once")
        } else {
            log.info("configuration: \(text)")
        }
        if let later = reply.atNextStart, !later.isEmpty {
            log.warning("only from the next start on: \(later.joined(separator: ", "))")
        }
    }
}
