// What each precision costs a model in quality: measured once, kept in the model file.

internal import FoundationEssentials
public import NeuralEngine

/// How far the network's pictures in each precision are from those in f32 and from the teacher's.
/// `lucida calibrate` measures it; the metadata `calibration` of a model file holds it as JSON.
public struct Calibration: Codable, Sendable, Equatable {
    /// Of the worst clip, in dB of PSNR, every convolution that can be in the precision being so.
    public struct Figures: Codable, Sendable, Equatable {
        /// Against the pictures in f32; 100 if none differs.
        public var againstF32: Double
        /// Lost against the teacher's pictures, in comparison with f32; absent where no teacher
        /// was asked.
        public var teacherLoss: Double?

        /// Figures of one precision.
        public init(againstF32: Double, teacherLoss: Double?) {
            self.againstF32 = againstF32
            self.teacherLoss = teacherLoss
        }

        /// For people: `45.2 dB, 0.1 dB lost`.
        var text: String {
            func rounded(_ value: Double) -> Double { (value * 100).rounded() / 100 }
            return "\(rounded(againstF32)) dB of f32"
                + (teacherLoss.map { ", \(rounded($0)) dB lost" } ?? "")
        }

        /// At least 40 dB of f32, at most 0.3 dB lost to the teacher. Where the teacher was not
        /// asked, 50 dB: then a network that comes within 38 dB of its teacher, which is more than
        /// any does, loses less than 0.3.
        public var meetsRule: Bool {
            guard let teacherLoss else { return againstF32 >= 50 }
            return againstF32 >= 40 && teacherLoss <= 0.3
        }

        var isPlausible: Bool {
            (0...200).contains(againstF32)
                && teacherLoss.map { (-100...100).contains($0) } ?? true
        }
    }

    /// Of this structure.
    public static let currentVersion = 1

    /// Version of the structure.
    public var version = Self.currentVersion
    /// Checksum of the weights that were measured.
    public var weights: String
    /// Frames that were measured.
    public var frames: Int
    /// By precision.
    public var precisions: [String: Figures]
    /// What changes do, for temporal reuse; nil: to be measured at each start.
    public var sensitivities: ReuseSensitivities?

    /// What was measured.
    public init(
        weights: String, frames: Int, figures: [Precision: Figures],
        sensitivities: ReuseSensitivities? = nil
    ) {
        self.sensitivities = sensitivities
        self.weights = weights
        self.frames = frames
        precisions = Dictionary(
            uniqueKeysWithValues: figures.map { ($0.key.rawValue, $0.value) })
    }

    static let key = "calibration"

    /// Figures of one precision; nil if it was not measured.
    public func figures(_ precision: Precision) -> Figures? { precisions[precision.rawValue] }

    /// Reads the metadata; the text of the error says what is wrong.
    init(json: String) throws(Problem) {
        struct Versioned: Decodable { let version: Int }
        let data = Data(json.utf8)
        guard data.count <= 1 << 16,
            let found = try? JSONDecoder().decode(Versioned.self, from: data)
        else { throw .malformed("it is no JSON with a version") }
        guard found.version == Self.currentVersion else { throw .otherVersion(found.version) }
        guard let calibration = try? JSONDecoder().decode(Calibration.self, from: data) else {
            throw .malformed("it lacks weights, frames or precisions, or they are no numbers")
        }
        guard calibration.frames > 0 else {
            throw .malformed("it is taken from \(calibration.frames) frames")
        }
        for (name, figures) in calibration.precisions.sorted(by: { $0.key < $1.key }) {
            guard Precision(rawValue: name) != nil else {
                // Whoever made the file chose the name: it must not steer a terminal.
                let shown = name.unicodeScalars.prefix(40).map { $0.escaped(asASCII: true) }
                throw .malformed("\"\(shown.joined())\" is no precision")
            }
            guard figures.isPlausible else {
                throw .malformed("the figures of \(name) cannot be decibels")
            }
        }
        self = calibration
    }

    enum Problem: Error {
        case malformed(String)
        case otherVersion(Int)
    }

    /// As the metadata holds it. Nil if a figure is no number.
    var json: String? {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        return (try? encoder.encode(self)).map { String(decoding: $0, as: UTF8.self) }
    }
}

/// Which precisions a session may use, and why.
public struct PrecisionChoice: Sendable, Equatable {
    /// Each convolution is multiplied in the fastest of these; in f32 if it can be in none.
    public let allowed: Set<Precision>
    /// For the log.
    public let reason: String

    /// Chooses for a model on this machine.
    ///
    /// - Parameters:
    ///   - wanted: by the configuration; nil: the fastest that meets the rule.
    ///   - file: the model.
    ///   - supported: what the CPU multiplies fast.
    public init(wanted: Precision?, file: ModelFile, supported: [Precision]) {
        if let wanted {
            let isSupported = supported.contains(wanted)
            allowed = isSupported ? [wanted] : [.f32]
            reason =
                isSupported
                ? "as configured"
                : "\(wanted.rawValue) is configured, but this CPU has no instruction for it"
            return
        }
        guard let calibration = file.calibration else {
            allowed = [.f32]
            reason = file.calibrationProblem ?? "the model file holds no calibration"
            return
        }
        let good = supported.filter {
            $0 == .f32 || calibration.figures($0)?.meetsRule ?? false
        }
        allowed = Set(good)
        let figures = good.compactMap { precision in
            calibration.figures(precision).map { "\(precision.rawValue) \($0.text)" }
        }
        reason =
            figures.isEmpty
            ? "no other precision that this CPU has meets the quality rule"
            : "calibrated: \(figures.joined(separator: "; "))"
    }
}
