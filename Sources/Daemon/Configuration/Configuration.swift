// Every setting of Lucida as one immutable value; the defaults stand here. Control plane.

public import Logging
public import Models
public import Video

/// All settings. `Configuration()` holds the defaults; others come from `Configuration.load`, which
/// lets no value through that `ConfigurationSchema` does not allow.
///
/// What each setting means is said once, in `ConfigurationSchema`.
public struct Configuration: Sendable, Equatable {
    /// `[camera]`: where frames come from.
    public internal(set) var camera = Camera()
    /// `[transform]`: what becomes of them.
    public internal(set) var transform = Transform()
    /// `[output]`: where they go.
    public internal(set) var output = Output()
    /// `[performance]`: what it may cost.
    public internal(set) var performance = Performance()
    /// `[control]`: who may steer a running Lucida, and how.
    public internal(set) var control = Control()
    /// `[log]`.
    public internal(set) var log = Log()
    /// `[report]`.
    public internal(set) var report = Report()

    /// The defaults.
    public init() {}

    /// Whether a camera may be closed while nobody looks: not while a file or a stream is to have its
    /// pictures, whoever looks at that.
    var isOnDemand: Bool {
        camera.onDemand
            && output.sinks.allSatisfy { sink in
                switch sink {
                case .auto, .device: true
                case .null, .file, .frames: false
                }
            }
    }

    /// Size of all pictures; nil: as the source delivers them. A virtual camera has the size that is
    /// wanted of the camera, whatever that delivers: an app that has the one open must not find
    /// another size when the other comes, or when another one does.
    var frameSize: FrameSize? {
        if output.width > 0 && output.height > 0 {
            return FrameSize(width: output.width, height: output.height)
        }
        guard loopbackName != nil else { return nil }
        return FrameSize(width: camera.width / 2 * 2, height: camera.height / 2 * 2)
    }

    /// The camera, or what stands in for one.
    public struct Camera: Sendable, Equatable {
        /// Where frames come from.
        public internal(set) var source = SourceName.auto
        /// Wanted pixels in a row, 16…4096.
        public internal(set) var width = 1280
        /// Wanted rows, 16…4096.
        public internal(set) var height = 720
        /// Wanted frames a second, 1…240.
        public internal(set) var rate = 30.0
        /// Wanted layout; `nil`: the best for size and rate.
        public internal(set) var pixelFormat: PixelFormat?
        /// Against flicker under electric light.
        public internal(set) var powerLineFrequency = PowerLineFrequency.auto
        /// Whether the camera may slow down in the dark; `nil`: as it is.
        public internal(set) var exposureDynamicFramerate: Bool?
        /// Whether left and right are swapped.
        public internal(set) var mirror = false
        /// Speed of a file source.
        public internal(set) var pace = Pace.realtime
        /// Whether a camera is open only while somebody looks at the virtual camera.
        public internal(set) var onDemand = true
        /// Seconds for which it stays open after that, 0…60.
        public internal(set) var linger = 3.0
        /// Further controls, in the order in which to set them.
        public internal(set) var controls: [CameraControl] = []

        /// Whether frames come at their own time: only files and the synthetic camera can be hurried.
        var isPaced: Bool {
            switch source {
            case .auto, .device: true
            case .file, .test: pace == .realtime
            }
        }

        /// `linger` in nanoseconds.
        var lingerNanoseconds: Int64 { Int64(linger * 1e9) }

        /// `rate` as a fraction; 29.97 and its like become thousand-and-firsts.
        public var frameRate: FrameRate { FrameRate(nearest: rate) }
    }

    /// The network.
    public struct Transform: Sendable, Equatable {
        /// The style, or several blended.
        public internal(set) var style = StyleMix(style: "ink")
        /// 0 (the camera as it is) … 1 (the full style).
        public internal(set) var strength = 1.0
        /// Steps of the flow for a frame, 1…4.
        public internal(set) var steps = 1
        /// Whether steps are taken one a frame, so that a picture comes `steps` − 1 frames later.
        public internal(set) var streamBatch = false
        /// How far a picture may rest on the one before: 0 (not at all) … 1.
        public internal(set) var temporal = 1.0
        /// Which of many paintings of one scene.
        public internal(set) var seed = 0
        /// Seconds in which one style turns into another, 0…10.
        public internal(set) var fade = 0.5
        /// Path of a model file, or the name of a shipped one.
        public internal(set) var model = "base"
        /// Pixels in a row inside the network, 16…4096; 0: as `networkSize` says.
        public internal(set) var modelWidth = 0
        /// Rows inside the network, 16…4096; 0: likewise.
        public internal(set) var modelHeight = 0
        /// What is shown when the network cannot deliver.
        public internal(set) var onFailure = OnFailure.placeholder
    }

    /// The virtual camera, and further outputs.
    public struct Output: Sendable, Equatable {
        /// Where frames go: at least one, none twice.
        public internal(set) var sinks = [SinkName.auto]
        /// Pixels in a row: even, 16…4096; 0: as `frameSize` says.
        public internal(set) var width = 0
        /// Rows: even, 16…4096; 0: likewise.
        public internal(set) var height = 0
        /// How a camera picture of another shape fills the output.
        public internal(set) var fit = Fit.crop
        /// Layout written to a virtual camera: `yuyv`, `nv12`, `yu12` or `mjpeg`.
        public internal(set) var pixelFormat = PixelFormat.yuyv
        /// How files and network streams are compressed.
        public internal(set) var codec = Codec.auto
        /// Constant rate factor of H.264: 0 (lossless) … 51 (worst).
        public internal(set) var crf = 20
    }

    /// Bounds on what Lucida uses.
    public struct Performance: Sendable, Equatable {
        /// Threads of the network, up to 64; 0: one a physical core.
        public internal(set) var threads = 0
        /// Whether what did not change since the last frame is not computed again.
        public internal(set) var temporalReuse = true
        /// In what numbers the network is multiplied.
        public internal(set) var precision = PrecisionName.auto
    }

    /// The control socket.
    public struct Control: Sendable, Equatable {
        /// Where `lucida ctl` finds a running Lucida.
        public internal(set) var socket = SocketName.auto
    }

    /// The log.
    public struct Log: Sendable, Equatable {
        /// The least important messages that are shown.
        public internal(set) var level = Logger.Level.info
    }

    /// The liveness summary.
    public struct Report: Sendable, Equatable {
        /// File for the summary as JSON; empty: none.
        public internal(set) var path = ""
    }
}

/// How the camera counters flicker of electric light.
public enum PowerLineFrequency: String, Sendable, CaseIterable {
    /// As the camera sees fit, where it can tell; untouched where it cannot.
    case auto
    /// No countermeasure.
    case disabled
    /// Europe, Africa, most of Asia.
    case hertz50 = "50hz"
    /// The Americas.
    case hertz60 = "60hz"
}

/// Speed of a file source.
public enum Pace: String, Sendable, CaseIterable {
    /// As a camera would.
    case realtime
    /// Every frame, as fast as it can.
    case fast
}

/// How a picture of one shape fills another.
public enum Fit: String, Sendable, CaseIterable {
    /// Fill the output and cut what overhangs.
    case crop
    /// Show all and leave black bars.
    case letterbox
}

/// What is shown when the network cannot deliver.
public enum OnFailure: String, Sendable, CaseIterable {
    /// A card: the camera's picture never leaks.
    case placeholder
    /// The camera's picture as it is.
    case passthrough
}

/// In what numbers the network is multiplied.
public enum PrecisionName: String, Sendable, CaseIterable {
    /// The fastest that the model's calibration allows.
    case auto
    /// 32-bit floating point.
    case f32
    /// 16-bit integers.
    case int16
    /// bfloat16.
    case bf16
    /// 8-bit integers.
    case int8
}

/// How files and network streams are compressed.
public enum Codec: String, Sendable, CaseIterable {
    /// H.264 where the container takes it.
    case auto
    /// Small, lossy.
    case h264
    /// Large, lossless.
    case ffv1
}

/// A camera control set by name.
public struct CameraControl: Sendable, Equatable {
    /// As the driver names it, for example `white_balance_automatic`.
    public let name: String
    /// What to set it to.
    public let value: Value

    /// An integer, a switch, or the name of a menu entry.
    public enum Value: Sendable, Equatable {
        /// Of integer controls, and of menus by number.
        case integer(Int)
        /// Of switches.
        case boolean(Bool)
        /// Of menus by the entry's name, and of text.
        case text(String)
    }
}

extension FrameRate {
    // Cameras of the NTSC family run at n·1000/1001; anything else is given in thousandths.
    fileprivate init(nearest rate: Double) {
        let whole = rate.rounded()
        if rate == whole {
            self.init(Int(whole))
        } else if abs(rate - rate.rounded(.up) * 1000 / 1001) < 0.005 {
            self.init(Int(rate.rounded(.up)) * 1000, 1001)
        } else {
            self.init(Int((rate * 1000).rounded()), 1000)
        }
    }
}
