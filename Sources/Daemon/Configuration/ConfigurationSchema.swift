// The table of all settings: name, type, range, meaning. Validation, option overrides, error texts
// and the annotated default file all derive from it. Control plane.

internal import Logging
internal import Models
internal import Video

/// All sections and keys, in the order in which users read them.
public enum ConfigurationSchema {
    /// Every key of every section. `camera.controls` is not among them: it takes any name.
    public static let keys: [ConfigurationKey] = [
        .text(
            "camera.source", \.camera.source, SourceName.allowed, SourceName.init,
            """
            Where frames come from: "auto" is the first camera that works, "test" a drawn person
            who stands in for one. A camera is named by path ("v4l2:/dev/video0") or, so that
            it is found again whatever else is plugged in, by a name listed in /dev/v4l/by-id.
            "file:PATH" or a URL (rtsp://…) plays a video.
            """),
        .integer(
            "camera.width", \.camera.width, 16...4096,
            """
            Wanted picture size in pixels; the camera's nearest is taken. 1280x720 and 640x480 are
            sizes that every app knows; Firefox lists no camera of 640x360.
            """),
        .integer("camera.height", \.camera.height, 16...4096, ""),
        .number(
            "camera.rate", \.camera.rate, 1...240,
            "Wanted frames a second; the camera's nearest is taken."),
        ConfigurationKey(
            "camera.pixel_format",
            "Wanted pixel layout; \"auto\" takes YUYV up to 640x480 and MJPEG above.",
            allowed: oneOf(["auto"] + PixelFormat.allCases.map(\.rawValue)), showsAllowed: true,
            read: { .text($0.camera.pixelFormat?.rawValue ?? "auto") },
            write: { value, configuration in
                guard case .text(let name) = value else { return false }
                configuration.camera.pixelFormat = PixelFormat(rawValue: name)
                return name == "auto" || configuration.camera.pixelFormat != nil
            }),
        .choice(
            "camera.power_line_frequency", \.camera.powerLineFrequency,
            """
            Against flicker under electric light: the mains frequency where you are. "auto" lets
            the camera find out, if it can.
            """),
        ConfigurationKey(
            "camera.exposure_dynamic_framerate",
            """
            Whether the camera may slow down in the dark for a brighter picture. false keeps the
            rate; while the key is not set, the camera stays as it is.
            """,
            allowed: "true or false", example: "false",
            read: { $0.camera.exposureDynamicFramerate.map { .boolean($0) } ?? .unset },
            write: { value, configuration in
                guard case .boolean(let isOn) = value else { return false }
                configuration.camera.exposureDynamicFramerate = isOn
                return true
            }),
        .boolean("camera.mirror", \.camera.mirror, "Whether to swap left and right."),
        .choice(
            "camera.pace", \.camera.pace,
            """
            Speed of a "file:" source: "realtime" plays it as a camera would, "fast" takes every
            frame as quickly as it can.
            """),
        .boolean(
            "camera.on_demand", \.camera.onDemand,
            """
            Whether a camera is opened, and its light goes on, only while an app looks at the virtual
            camera. It stays open throughout in any case where pictures go to a file as well.
            """),
        .number(
            "camera.linger", \.camera.linger, 0...60,
            """
            Seconds for which it stays open after the last app has gone: many an app comes and goes
            some times while it starts.
            """),
        .text(
            "transform.style", \.transform.style,
            "a style's name, or several with weights as in \"ink:0.7,oil:0.3\"",
            { try? StyleMix($0) },
            """
            What pictures are turned into: "ink" (a cartoon with ink lines), "oil" (visible strokes),
            "watercolour", "pencil" (hatching), "neon" (night, relit) or "clear" (the camera, only
            better: denoised, well lit). Styles blend: "ink:0.7,oil:0.3".
            """),
        .number(
            "transform.strength", \.transform.strength, 0...1,
            """
            How much of it: 1.0 is the full style. Beware: 0.0 is the camera as it is, so nothing
            hides you any more.
            """),
        .number(
            "transform.temporal", \.transform.temporal, 0...1,
            """
            How far a picture may rest on the one before: 1.0 is steadiest, 0.0 draws every frame
            afresh. More motion in a place rests less in any case.
            """),
        .integer(
            "transform.seed", \.transform.seed, 0...999_999,
            "Where brush, pencil and paper leave things to chance: each number is another sheet."),
        .integer(
            "transform.steps", \.transform.steps, 1...4,
            "Steps of the diffusion for each frame; each takes as long as the first."),
        .boolean(
            "transform.stream_batch", \.transform.streamBatch,
            """
            With more than one step: whether a frame takes one step in each frame's time, beside the
            frames before and after it, and so comes steps - 1 frames later.
            """),
        .number(
            "transform.fade", \.transform.fade, 0...10,
            "Seconds in which one style turns into another when it is changed live."),
        .text(
            "transform.model", \.transform.model, "\"base\", \"small\", \"ink\" or a path", isName,
            """
            The network: "base" draws all styles; "small" the same, less finely, for a quarter of the
            work; "ink" that one alone, each frame by itself, for half; or a model file (.safetensors)
            of your own.
            """),
        .integer(
            "transform.model_width", \.transform.modelWidth, 16...4096, orZero: true,
            """
            Size at which the network works. 0 is the output's up to 640x480, and above, for live
            pictures, the same shape with as many pixels as 640x360: so much two ordinary cores do 30
            times a second. Smaller is faster and softer; what the style leaves alone stays as sharp
            as the camera.
            """),
        .integer(
            "transform.model_height", \.transform.modelHeight, 16...4096, orZero: true, ""),
        .choice(
            "transform.on_failure", \.transform.onFailure,
            """
            What is shown when the network cannot deliver: a card ("placeholder"), or, if you do not
            mind being seen, the camera's picture ("passthrough").
            """),
        ConfigurationKey(
            "output.sinks",
            """
            Where pictures go, one place or several. "auto" is the first v4l2loopback device,
            "file:PATH" a video file, a URL (rtmp://…) a stream, "frames:DIR" a directory of pictures,
            "null" nowhere. After a full disk a video goes on in another file, NAME-2.mkv, and
            so does a live run that finds one there, a folder with its next number. Playlists
            (.m3u8, .mpd) are written over.
            """,
            allowed: "a list of up to \(sinkCountMax) different names, each " + SinkName.allowed,
            read: { .list($0.output.sinks.map(\.description)) }, write: writeSinks),
        .integer(
            "output.width", \.output.width, 16...4096, orZero: true, multipleOf: 2,
            """
            Size of the output, even. 0: a virtual camera has the size that is wanted of the camera,
            files have that of what comes in.
            """),
        .integer(
            "output.height", \.output.height, 16...4096, orZero: true, multipleOf: 2, ""),
        .choice(
            "output.fit", \.output.fit,
            """
            How a camera picture of another shape fills the output: "crop" cuts what overhangs,
            "letterbox" shows all of it between black bars.
            """),
        .choice(
            "output.pixel_format", \.output.pixelFormat,
            "Pixel layout of the virtual camera. Every conferencing app takes YUYV.",
            among: [.yuyv, .nv12, .yu12, .mjpeg]),
        .choice(
            "output.codec", \.output.codec,
            """
            Compression of files and streams: "h264" (small), "ffv1" (lossless, in .mkv), "auto"
            (what fits the name).
            """),
        .integer(
            "output.crf", \.output.crf, 0...51,
            "Quality of H.264: 0 is lossless, 20 looks the same, 28 is small."),
        .integer(
            "performance.threads", \.performance.threads, 0...64,
            """
            Threads of the network; 0 is one for each core that Lucida may run on (of the two threads
            of a hyper-threaded core, one).
            """),
        .boolean(
            "performance.temporal_reuse", \.performance.temporalReuse,
            """
            Whether the model "ink" computes only what has changed since the last frame. Where things
            hold still that takes less time and power, and more memory; the picture differs a little
            from what the whole network gives (40 dB or better). Streaming models compute every frame.
            """),
        .choice(
            "performance.precision", \.performance.precision,
            """
            Numbers in which the network is multiplied. "auto" takes the fastest that the CPU has and
            whose pictures, by the figures in the model file, stay within 40 dB PSNR of those of "f32"
            and lose at most 0.3 dB against the teacher; "f32" without figures (`lucida calibrate`
            measures them). Of "ink" without temporal_reuse "bf16" is steadier than "int8" in areas
            that stand still.
            """),
        .text(
            "control.socket", \.control.socket, SocketName.allowed, SocketName.init,
            """
            Unix socket by which `lucida ctl` steers a running Lucida: "auto" is lucida/control.sock in
            the run-time folder (/run for the service, $XDG_RUNTIME_DIR else), "none" is no socket.
            """),
        .choice(
            "log.level", \.log.level,
            "The least important messages to show."),
        .text(
            "report.path", \.report.path, "a path, or \"\"", isPathOrEmpty,
            """
            File for the summary of a run as JSON: frames, ages, times, memory. "" writes none; the
            log shows it in any case.
            """),
    ]

    /// Every section.
    static let sections = [
        "camera", controlsSection, "transform", "output", "performance", "control", "log",
        "report",
    ]

    /// The section that takes any key.
    static let controlsSection = "camera.controls"
    /// Most entries of that section.
    static let controlCountMax = 64
    static let sinkCountMax = 8

    static func key(named name: String) -> ConfigurationKey? { keys.first { $0.name == name } }

    private static let isName: @Sendable (String) -> String? = { $0.isEmpty ? nil : $0 }
    private static let isPathOrEmpty: @Sendable (String) -> String? = { $0 }

    private static let writeSinks: @Sendable (ConfigurationValue, inout Configuration) -> Bool = {
        value, configuration in
        let texts = value.texts
        let sinks = texts.prefix(sinkCountMax).compactMap { isText($0) ? SinkName($0) : nil }
        guard !sinks.isEmpty, sinks.count == texts.count,
            Set(sinks.map(\.description)).count == sinks.count
        else { return false }
        configuration.output.sinks = sinks
        return true
    }
}

/// One key: a row of the table.
public struct ConfigurationKey: Sendable {
    /// With its section: `camera.width`.
    public let name: String
    /// For users; empty if the key before says it for both.
    public let documentation: String
    /// For messages: `an integer from 16 to 4096`.
    public let allowed: String
    /// Whether the default file says `allowed`; not where the documentation already tells.
    let showsAllowed: Bool
    /// Shown in the default file for a key that is not set by default.
    let example: String?
    /// The key's value in a configuration.
    let read: @Sendable (Configuration) -> ConfigurationValue
    /// Sets it; `false` if the value is not allowed.
    let write: @Sendable (ConfigurationValue, inout Configuration) -> Bool

    /// `camera`
    var section: String { String(name.prefix { $0 != "." }) }
    /// `width`
    var leaf: String { String(name.dropFirst(section.count + 1)) }
    /// Its value in `Configuration()`.
    public var defaultValue: ConfigurationValue { read(Configuration()) }

    init(
        _ name: String, _ documentation: String, allowed: String, showsAllowed: Bool = false,
        example: String? = nil,
        read: @escaping @Sendable (Configuration) -> ConfigurationValue,
        write: @escaping @Sendable (ConfigurationValue, inout Configuration) -> Bool
    ) {
        self.name = name
        self.documentation = documentation
        self.allowed = allowed
        self.showsAllowed = showsAllowed
        self.example = example
        self.read = read
        self.write = write
    }
}

// The kinds of rows.
extension ConfigurationKey {
    typealias Field<Value> = WritableKeyPath<Configuration, Value> & Sendable

    fileprivate static func integer(
        _ name: String, _ field: any Field<Int>, _ range: ClosedRange<Int>, orZero: Bool = false,
        multipleOf step: Int = 1,
        _ documentation: String
    ) -> Self {
        let kind = step == 2 ? "an even integer" : "an integer"
        return Self(
            name, documentation,
            allowed: "\(kind) from \(range.lowerBound) to \(range.upperBound)"
                + (orZero ? ", or 0" : ""),
            showsAllowed: true,
            read: { .integer($0[keyPath: field]) },
            write: { value, configuration in
                guard case .integer(let integer) = value,
                    range.contains(integer) && integer % step == 0 || orZero && integer == 0
                else { return false }
                configuration[keyPath: field] = integer
                return true
            })
    }

    fileprivate static func number(
        _ name: String, _ field: any Field<Double>, _ range: ClosedRange<Double>,
        _ documentation: String
    ) -> Self {
        Self(
            name, documentation,
            allowed: "a number from \(Int(range.lowerBound)) to \(Int(range.upperBound))",
            showsAllowed: true,
            read: { .number($0[keyPath: field]) },
            write: { value, configuration in
                let number: Double
                switch value {
                case .number(let value): number = value
                case .integer(let value): number = Double(value)
                default: return false
                }
                guard range.contains(number) else { return false }
                configuration[keyPath: field] = number
                return true
            })
    }

    fileprivate static func boolean(
        _ name: String, _ field: any Field<Bool>, _ documentation: String
    ) -> Self {
        Self(
            name, documentation, allowed: "true or false",
            read: { .boolean($0[keyPath: field]) },
            write: { value, configuration in
                guard case .boolean(let isOn) = value else { return false }
                configuration[keyPath: field] = isOn
                return true
            })
    }

    fileprivate static func choice<Choice: RawRepresentable & CaseIterable & Sendable>(
        _ name: String, _ field: any Field<Choice>, _ documentation: String,
        among choices: [Choice] = Array(Choice.allCases)
    ) -> Self where Choice.RawValue == String {
        Self(
            name, documentation, allowed: oneOf(choices.map(\.rawValue)), showsAllowed: true,
            read: { .text($0[keyPath: field].rawValue) },
            write: { value, configuration in
                guard case .text(let name) = value,
                    let choice = choices.first(where: { $0.rawValue == name })
                else { return false }
                configuration[keyPath: field] = choice
                return true
            })
    }

    fileprivate static func text<Value: CustomStringConvertible & Sendable>(
        _ name: String, _ field: any Field<Value>, _ allowed: String,
        _ parse: @escaping @Sendable (String) -> Value?, _ documentation: String
    ) -> Self {
        Self(
            name, documentation, allowed: allowed,
            read: { .text($0[keyPath: field].description) },
            write: { value, configuration in
                guard case .text(let text) = value, isText(text), let parsed = parse(text) else {
                    return false
                }
                configuration[keyPath: field] = parsed
                return true
            })
    }
}

/// Paths and names hold no NUL and no other control character.
func isText(_ text: String) -> Bool {
    text.utf8.count <= 4096 && text.unicodeScalars.allSatisfy { $0.value >= 0x20 && $0 != "\u{7F}" }
}

private func oneOf(_ names: [String]) -> String {
    names.dropLast().map(tomlString).joined(separator: ", ") + " or "
        + (names.last.map(tomlString) ?? "")
}
