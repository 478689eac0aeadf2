// A model file: safetensors whose metadata says what the weights are for.

public import NeuralEngine

/// Why a model cannot be used.
public enum ModelError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The file is unreadable, malformed or hostile.
    case file(SafetensorsError)
    /// The file is sound, but not a model that this program can run.
    case model(file: String, reason: String)
    /// The model is sound, and has no such style; `known` are those that it has.
    case style(file: String, style: String, known: [String])
    /// The model is sound, and cannot draw what the setting `key` asks of it.
    case look(file: String, key: String, reason: String)
    /// A file to compare a network with cannot be used for that.
    case check(file: String, reason: String)
    /// The engine cannot run here, or not at that size.
    case engine(EngineError)

    /// A sentence for the user.
    public var description: String {
        switch self {
        case .file(let error): error.description
        case .model(let file, let reason): "\(file): not a usable model: \(reason)"
        case .style(let file, let style, let known):
            "\(file): it has no style \(style.quotedForMessages); transform.style can be: "
                + known.joined(separator: ", ")
        case .look(let file, _, let reason): "\(file): \(reason)"
        case .check(let file, let reason): "\(file): not a usable check: \(reason)"
        case .engine(let error): error.description
        }
    }
}

/// A safetensors file with Lucida's metadata, checked as far as all architectures share it.
public struct ModelFile: Sendable {
    /// The file, for messages.
    public let file: String
    /// Which network the weights are for, for example `distilled-unet`.
    public let architecture: String
    /// Version of that network.
    public let architectureVersion: String
    /// All metadata, as it stands in the file.
    public let metadata: [String: String]
    /// What reduced precision costs; nil if nobody measured it, or of other weights.
    public let calibration: Calibration?
    /// Why a calibration that the file holds does not count.
    public let calibrationProblem: String?

    private let tensors: Safetensors

    /// Reads and checks the file.
    public init(file: String) throws(ModelError) {
        let tensors: Safetensors
        do throws(SafetensorsError) {
            tensors = try Safetensors(file: file)
        } catch {
            throw .file(error)
        }
        self.tensors = tensors
        self.file = file
        metadata = tensors.metadata
        architecture = tensors.metadata["architecture"] ?? ""
        architectureVersion = tensors.metadata["architecture_version"] ?? ""
        (calibration, calibrationProblem) = Self.readCalibration(tensors)
        try check("format", is: "lucida-model")
        try check("format_version", is: "1")
    }

    /// One that makes no sense, or of another version, or of other weights, says nothing: the model
    /// itself is sound.
    private static func readCalibration(_ tensors: Safetensors) -> (Calibration?, String?) {
        guard let json = tensors.metadata[Calibration.key] else { return (nil, nil) }
        let calibration: Calibration
        do throws(Calibration.Problem) {
            calibration = try Calibration(json: json)
        } catch {
            switch error {
            case .malformed(let reason):
                return (
                    nil,
                    "the model file's calibration is unusable: \(reason); `lucida calibrate` "
                        + "measures a new one"
                )
            case .otherVersion(let version):
                return (nil, "the model file's calibration is of version \(version)")
            }
        }
        guard calibration.weights == tensors.checksum else {
            return (
                nil,
                "the model file's calibration is of other weights: the file is damaged, or was changed "
                    + "since; unless you changed it, install it again"
            )
        }
        return (calibration, nil)
    }

    /// The file's bytes with another calibration; the weights are unchanged.
    ///
    /// - Throws: if a figure is no number, or the metadata become too large for a file.
    public func encoded(calibration: Calibration) throws(ModelError) -> [UInt8] {
        guard let json = calibration.json else {
            throw failure("its calibration holds figures that are no numbers")
        }
        var metadata = metadata
        metadata[Calibration.key] = json
        do throws(SafetensorsError) {
            return try tensors.encoded(metadata: metadata)
        } catch {
            throw .file(error)
        }
    }

    /// Checksum of the weights, as a calibration names them.
    public var checksum: String { tensors.checksum }

    /// Whether the file holds a tensor of this name.
    func hasTensor(_ name: String) -> Bool { tensors.shape(of: name) != nil }

    /// For people; the file's name if it has no title.
    public var title: String { metadata["title"] ?? file }
    /// The file's name without folder and extension.
    public var name: String {
        let last = file.split(separator: "/").last.map(String.init) ?? file
        let suffix = ".safetensors"
        return last.hasSuffix(suffix) ? String(last.dropLast(suffix.count)) : last
    }
    /// What the network was trained to draw.
    public var styles: [String] { list("styles") }
    /// Licence of the weights; empty if not stated.
    public var licence: String { metadata["licence"] ?? "" }

    /// The first of `styles`.
    public var firstLook: Look { Look(style: StyleMix(style: styles.first ?? "")) }

    /// A message lists so many and counts the others.
    private static let listedStyles = 20

    /// Throws unless the weights draw `style`; the text lists the styles that they draw. Weights whose
    /// file names none draw whatever they draw under any name.
    public func requireStyle(_ style: String) throws(ModelError) {
        guard !styles.isEmpty, !styles.contains(style) else { return }
        var known = styles.prefix(Self.listedStyles).map(\.escapedForMessages)
        if known.count < styles.count { known.append("\(styles.count - known.count) more") }
        throw ModelError.style(file: file, style: style, known: known)
    }

    /// Throws unless the metadata `key` has this `value`.
    func check(_ key: String, is value: String) throws(ModelError) {
        guard let found = metadata[key] else {
            throw failure("its metadata lacks \"\(key)\"")
        }
        guard found == value else {
            throw failure(
                "its \(key) is \(found.quotedForMessages), this program knows \"\(value)\"")
        }
    }

    /// Comma-separated metadata.
    func list(_ key: String) -> [String] {
        (metadata[key] ?? "").split(separator: ",").map { $0.filter { $0 != " " } }
    }

    /// Comma-separated numbers, exactly `count` of them, each `least` to 4096.
    func numbers(
        _ key: String, count: Int, atLeast least: Int = 1
    ) throws(ModelError) -> [Int] {
        let numbers = list(key).compactMap { Int($0) }.filter { (least...4096).contains($0) }
        guard numbers.count == count, list(key).count == count else {
            throw failure(
                "its \(key) is \((metadata[key] ?? "").quotedForMessages): \(count) numbers "
                    + "from \(least) to 4096 are expected")
        }
        return numbers
    }

    /// The tensors `name`.weight and `name`.bias, which must have these shapes and be finite.
    func convolution(
        _ name: String, inputs: Int, outputs: Int, kernel: Int
    ) throws(ModelError) -> ConvolutionWeights {
        let weight = try values("\(name).weight", shape: [outputs, inputs, kernel, kernel])
        let bias = try values("\(name).bias", shape: [outputs])
        do throws(EngineError) {
            return try ConvolutionWeights(
                outputs: outputs, inputs: inputs, kernel: kernel, values: weight, bias: bias)
        } catch {
            throw .engine(error)
        }
    }

    /// A tensor of U8, which must have this shape.
    func bytes(_ name: String, shape: [Int]) throws(ModelError) -> [UInt8] {
        try requireTensor(name, shape: shape)
        do throws(SafetensorsError) {
            return try tensors.bytes(of: name)
        } catch {
            throw .file(error)
        }
    }

    private func requireTensor(_ name: String, shape: [Int]) throws(ModelError) {
        guard let found = tensors.shape(of: name) else {
            throw failure("it lacks the tensor \"\(name)\"")
        }
        guard found == shape else {
            throw failure("its tensor \"\(name)\" has the shape \(found), expected \(shape)")
        }
    }

    /// A tensor of numbers, which must have this shape and be finite.
    func values(_ name: String, shape: [Int]) throws(ModelError) -> [Float] {
        try requireTensor(name, shape: shape)
        let values: [Float]
        do throws(SafetensorsError) {
            values = try tensors.values(of: name)
        } catch {
            throw .file(error)
        }
        guard values.allSatisfy(\.isFinite) else {
            throw failure("its tensor \"\(name)\" holds NaN or infinity")
        }
        return values
    }

    func failure(_ reason: String) -> ModelError { .model(file: file, reason: reason) }
}
