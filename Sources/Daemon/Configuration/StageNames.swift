// Sources and sinks as users name them. Control plane.

/// Where frames come from, as `--source` and `camera.source` name it.
public enum SourceName: Sendable, Equatable, CustomStringConvertible {
    /// The first camera that works.
    case auto
    /// The built-in synthetic camera.
    case test
    /// A V4L2 camera: a path such as `/dev/video0`, or a name under `/dev/v4l/by-id`.
    case device(String)
    /// A file, or a URL that libavformat opens.
    case file(String)

    /// What `init` takes, for messages.
    public static let allowed =
        "\"auto\", \"test\", \"v4l2:PATH\", \"/dev/…\", a name in /dev/v4l/by-id, "
        + "\"file:PATH\" or a URL"

    /// Reads a name; `nil` if it is none.
    public init?(_ text: String) {
        if text == "auto" {
            self = .auto
        } else if text == "test" {
            self = .test
        } else if let path = text.after("file:") {
            self = .file(path)
        } else if let path = text.after("v4l2:") {
            self = .device(path)
        } else if text.after("/dev/") != nil || text.isDeviceIdentifier {
            self = .device(text)
        } else if text.isURL {
            self = .file(text)
        } else {
            return nil
        }
    }

    /// The name that `init` reads.
    public var description: String {
        switch self {
        case .auto: "auto"
        case .test: "test"
        case .device(let path): "v4l2:" + path
        case .file(let path): "file:" + path
        }
    }
}

/// Where frames go, as `--sink` and `output.sinks` name it.
public enum SinkName: Sendable, Equatable, CustomStringConvertible {
    /// The first v4l2loopback device that can be written to.
    case auto
    /// Nowhere: for measurements.
    case null
    /// A v4l2loopback device by path.
    case device(String)
    /// A file, or a URL that libavformat opens.
    case file(String)
    /// A directory that gets one picture file a frame.
    case frames(String)

    /// Whether this is the file of one picture, by its name.
    public var isPicture: Bool {
        guard case .file(let path) = self else { return false }
        return [".png", ".jpg", ".jpeg"].contains(where: path.lowercased().hasSuffix)
    }

    /// What `init` takes, for messages.
    public static let allowed =
        "\"auto\", \"null\", \"v4l2:PATH\", \"/dev/…\", \"file:PATH\", \"frames:DIR\" or a URL"

    /// Reads a name; `nil` if it is none.
    public init?(_ text: String) {
        if text == "auto" {
            self = .auto
        } else if text == "null" {
            self = .null
        } else if let path = text.after("file:") {
            self = .file(path)
        } else if let path = text.after("frames:") {
            self = .frames(path)
        } else if let path = text.after("v4l2:") {
            self = .device(path)
        } else if text.after("/dev/") != nil {
            self = .device(text)
        } else if text.isURL {
            self = .file(text)
        } else {
            return nil
        }
    }

    /// The name that `init` reads.
    public var description: String {
        switch self {
        case .auto: "auto"
        case .null: "null"
        case .device(let path): "v4l2:" + path
        case .file(let path): "file:" + path
        case .frames(let path): "frames:" + path
        }
    }
}

/// Where the control socket is, as `control.socket` names it.
public enum SocketName: Sendable, Equatable, CustomStringConvertible {
    /// In the run-time folder of the service or of the user.
    case auto
    /// None: nobody can steer a running Lucida.
    case off
    /// A Unix socket.
    case path(String)

    /// What `init` takes, for messages.
    public static let allowed = "\"auto\", \"none\" or a path that begins with /"

    /// Reads a name; `nil` if it is none.
    public init?(_ text: String) {
        switch text {
        case "auto": self = .auto
        case "none": self = .off
        case _ where text.after("/") != nil: self = .path(text)
        default: return nil
        }
    }

    /// The name that `init` reads.
    public var description: String {
        switch self {
        case .auto: "auto"
        case .off: "none"
        case .path(let path): path
        }
    }
}

/// What may have been meant by names of sources or sinks that are none, or by one that comes twice.
///
/// - Parameter read: the name that a text stands for, in one of several ways to write it; `nil` if it is none.
func nameHint(_ texts: [String], read: (String) -> String?) -> String? {
    if let wrong = texts.first(where: { read($0) == nil }) {
        let isPath = wrong.contains("/") || wrong.contains(".")
        guard isPath, !wrong.contains(":"), !wrong.hasPrefix("/dev/") else { return nil }
        let meant = wrong.hasPrefix("dev/") ? "/" + wrong : "file:" + wrong
        return "did you mean \(quoted(meant))?"
    }
    let repeated = texts.first { text in texts.count { read($0) == read(text) } > 1 }
    return repeated.map { "\(quoted($0)) comes twice;" }
}

extension String {
    // rtmp://host/live
    fileprivate var isURL: Bool {
        guard let end = firstRange(of: "://") else { return false }
        return end.lowerBound > startIndex && end.upperBound < endIndex
            && self[..<end.lowerBound].allSatisfy {
                $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "+")
            }
    }

    // What follows `prefix`; nil if nothing does.
    fileprivate func after(_ prefix: String) -> String? {
        hasPrefix(prefix) && utf8.count > prefix.utf8.count
            ? String(dropFirst(prefix.count)) : nil
    }

    // udev names such as usb-046d_HD_Webcam-video-index0; demanding that shape catches misspelt
    // words like "tset".
    fileprivate var isDeviceIdentifier: Bool {
        !contains("/") && !contains(":") && contains("-video-index")
    }
}
