// What `lucida ctl` and a running Lucida say to each other: one JSON object a line. Any thread.

internal import FoundationEssentials
public import Pipeline

/// Limits and version of the control protocol.
enum ControlProtocol {
    /// Raised by whatever an older side would misunderstand.
    static let version = 1
    /// Longest request, the line break included.
    static let requestBytesMax = 4096
    /// Longest reply.
    static let replyBytesMax = 1 << 16
    /// Seconds from one status to the next in `watch`.
    static let intervals = 0.2...60.0
}

/// A request that cannot be carried out, or an answer that did not come.
public struct ControlError: Error, CustomStringConvertible {
    /// What is wrong and what to do.
    public let description: String
    /// An error with its text.
    init(_ description: String) { self.description = description }
}

/// What a client asks for.
public enum ControlRequest: Sendable, Equatable {
    /// How things are.
    case status
    /// Read the configuration again.
    case reload
    /// Show a card instead of pictures.
    case pause
    /// End the pause.
    case resume
    /// Change a setting that is live, until the next start or reload.
    case set(key: String, value: String)
    /// A status now and each time that so many seconds have gone.
    case watch(interval: Double)
}

extension ControlRequest {
    private struct Fields: Codable {
        var version: Int
        var command: String
        var key: String?
        var value: String?
        var interval: Double?
    }

    /// The request as a line, its break included.
    var line: [UInt8] {
        var fields = Fields(version: ControlProtocol.version, command: name)
        switch self {
        case .set(let key, let value): (fields.key, fields.value) = (key, value)
        case .watch(let interval): fields.interval = interval
        default: break
        }
        return (try? JSONEncoder().encode(fields)).map { [UInt8]($0) + [0x0A] } ?? []
    }

    private var name: String {
        switch self {
        case .status: "status"
        case .reload: "reload"
        case .pause: "pause"
        case .resume: "resume"
        case .set: "set"
        case .watch: "watch"
        }
    }

    /// Reads a line without its break.
    ///
    /// - Throws: whatever is not exactly a request of this version.
    init(line: [UInt8]) throws(ControlError) {
        guard String(validating: line, as: UTF8.self) != nil else {
            throw ControlError("the request is not UTF-8 text")
        }
        let fields: Fields
        let names: Set<String>
        do {
            let decoder = JSONDecoder()
            let data = Data(line)
            // First, because of another version nothing else is known.
            let version = try decoder.decode(VersionOnly.self, from: data).version
            guard version == ControlProtocol.version else {
                throw ControlError(
                    "this Lucida speaks version \(ControlProtocol.version) of the control "
                        + "protocol, not \(version): use the lucida ctl that came with it")
            }
            fields = try decoder.decode(Fields.self, from: data)
            names = try decoder.decode(Names.self, from: data).all
        } catch let error as ControlError {
            throw error
        } catch {
            throw ControlError(
                "the request is not a JSON object with a version, a command, and what belongs to it"
            )
        }
        try self.init(fields, names: names.subtracting(["version", "command"]))
    }

    private init(_ fields: Fields, names: Set<String>) throws(ControlError) {
        func expect(_ allowed: Set<String>) throws(ControlError) {
            guard let other = names.subtracting(allowed).sorted().first else { return }
            throw ControlError("\(fields.command) takes no \(quoted(other))")
        }
        switch fields.command {
        case "status": self = .status
        case "reload": self = .reload
        case "pause": self = .pause
        case "resume": self = .resume
        case "set":
            guard let key = fields.key, let value = fields.value else {
                throw ControlError("set needs a key and a value, both as text")
            }
            self = .set(key: key, value: value)
            try expect(["key", "value"])
            return
        case "watch":
            let interval = fields.interval ?? 1
            guard ControlProtocol.intervals.contains(interval) else {
                throw ControlError("the interval of watch is 0.2 to 60 seconds")
            }
            self = .watch(interval: interval)
            try expect(["interval"])
            return
        default:
            throw ControlError(
                "\(quoted(fields.command)) is no command; there are status, reload, pause, "
                    + "resume, set and watch")
        }
        try expect([])
    }
}

/// The one field that every version has.
struct VersionOnly: Decodable {
    let version: Int
}

/// The names of an object's fields.
private struct Names: Decodable {
    let all: Set<String>

    private struct AnyName: CodingKey {
        let stringValue: String
        var intValue: Int? { nil }
        init(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }

    init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: AnyName.self)
        all = Set(container.allKeys.map(\.stringValue))
    }
}

/// What a running Lucida answers.
public struct ControlReply: Codable, Sendable {
    /// Of the protocol.
    public var version = ControlProtocol.version
    /// Whether the request was carried out.
    public var ok = true
    /// Why not.
    public var error: String?
    /// After `reload` and `set`: the settings that have changed, with their values as TOML.
    public var changed: [String: String]?
    /// After `set`: a setting that had its value already.
    public var unchanged: [String: String]?
    /// After `reload`: the settings whose change counts from the next start on.
    public var atNextStart: [String]?
    /// After `reload`: settings of the file that do not count, and the option of the command line that has given
    /// them another value.
    public var overruled: [String: String]?
    /// After `status` and in `watch`.
    public var status: ControlStatus?

    init() {}

    static func refused(_ error: String) -> ControlReply {
        var reply = ControlReply()
        reply.ok = false
        reply.error = error
        return reply
    }

    /// As a line, its break included.
    var line: [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return (try? encoder.encode(self)).map { [UInt8]($0) + [0x0A] } ?? []
    }
}

/// How a running Lucida is. Times are milliseconds.
public struct ControlStatus: Codable, Sendable {
    /// What the viewer of the virtual camera sees.
    public enum State: String, Codable, Sendable {
        /// Nobody looks, and the camera is closed.
        case idle
        /// A card, because the camera has not delivered yet.
        case starting
        /// Transformed pictures.
        case live
        /// A card, because the user wants to show nothing.
        case paused
        /// A card, because the camera is away.
        case noCamera
        /// A card, because another program films with the camera.
        case cameraBusy
        /// A card, because the camera answers with errors.
        case cameraError
        /// A card, because the network gives no usable picture.
        case networkError
        /// The last picture and then a card, because the camera has stopped delivering.
        case stalled
        /// Nobody looks any more, and the camera will soon be closed.
        case lingering
    }

    /// Ages of the frames of the last seconds, capture timestamp → handed to the sink.
    public struct Ages: Codable, Sendable {
        /// Half were younger.
        public var p50: Double
        /// 95 % were younger.
        public var p95: Double
        /// 99 % were younger.
        public var p99: Double
    }

    /// Counts since the start.
    public struct Frames: Codable, Sendable {
        /// Good frames from the source.
        public var captured: UInt64
        /// Transformed frames handed to the sink that has most.
        public var written: UInt64
        /// Missing in the source's own numbering.
        public var lostBySource: UInt64
        /// Faulty, never shown.
        public var bad: UInt64
        /// Came while the network was busy, and gave way to newer ones.
        public var skipped: UInt64
        /// The network had no usable result.
        public var failed: UInt64
        /// Came while a stream batch was filling.
        public var early: UInt64
        /// Came during a pause.
        public var paused: UInt64
    }

    /// One place where pictures go.
    public struct Sink: Codable, Sendable {
        /// Its name.
        public var name: String
        /// Transformed frames written.
        public var frames: UInt64
        /// Whether nothing can be written for now, a full disk for example, and it is tried again.
        public var isAway: Bool
        /// How often that has begun.
        public var interruptions: UInt64
    }

    /// What pictures look like.
    public struct Look: Codable, Sendable {
        /// `transform.style`.
        public var style: String
        /// `transform.strength`.
        public var strength: Double
        /// `transform.temporal`.
        public var temporal: Double
        /// `transform.seed`.
        public var seed: Int
        /// `transform.steps`.
        public var steps: Int
        /// `transform.stream_batch`.
        public var streamBatch: Bool
    }

    /// What the viewer sees.
    public var state: State
    /// Why the camera cannot be opened, while it is away.
    public var problem: String?
    /// Since the start.
    public var seconds: Double
    /// Where frames come from.
    public var source: String
    /// Where they go.
    public var sinks: [Sink]
    /// Apps that look at virtual cameras; absent if that cannot be told.
    public var readers: Int?
    /// How often the camera was opened, lost, restarted.
    public var camera: Supervision.Counts
    /// Frames a second, of the last seconds.
    public var fps: Double
    /// Absent while no frame is written.
    public var age: Ages?
    /// Counts since the start.
    public var frames: Frames
    /// What pictures look like.
    public var look: Look
    /// What does the work.
    public var setup: LivenessReport.Setup
    /// Share of the network's work that was done lately; absent without temporal reuse.
    public var workShare: Double?
    /// Resident memory, MB.
    public var residentMB: Double
    /// The configuration file in force; absent if there is none.
    public var configuration: String?
}
