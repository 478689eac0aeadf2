// The tiny model that Training/ dumped beside PyTorch's answer, and variations of it.

import Foundation
import Testing

@testable import Models
@testable import NeuralEngine

/// Path of a file in this target's resources.
func resource(_ name: String) throws -> String {
    try #require(
        Bundle.module.path(forResource: "Resources/\(name)", ofType: nil),
        "the resource \(name) is missing: see Training/README.md")
}

/// Deterministic bytes.
func noise(_ count: Int, seed: UInt32) -> [UInt8] {
    var state = seed
    return (0..<count).map { _ in
        state = state &* 1_664_525 &+ 1_013_904_223
        return UInt8(state >> 24)
    }
}

/// A model file that is written anew with changes.
struct ModelFixture {
    var metadata: [String: String]
    var tensors: [String: (shape: [Int], values: [Float])] = [:]
    /// Those of U8.
    var byteTensors: [String: (shape: [Int], bytes: [UInt8])] = [:]

    /// A tiny model of the resources.
    init(resource name: String = "distilled-unet.safetensors") throws {
        let file = try Safetensors(file: resource(name))
        metadata = file.metadata
        for name in file.names {
            let shape = file.shape(of: name) ?? []
            if name.hasPrefix("source.") {
                byteTensors[name] = (shape, try file.bytes(of: name))
            } else {
                tensors[name] = (shape, try file.values(of: name))
            }
        }
    }

    /// A streaming model whose every result is NaN or infinity.
    static func overflowing() throws -> ModelFixture {
        var fixture = try ModelFixture(resource: "streaming-unet.safetensors")
        let bias = try #require(fixture.tensors["stem.bias"])
        fixture.tensors["stem.bias"] = (bias.shape, bias.values.map { _ in 3e38 })
        return fixture
    }

    /// The same with `count` image channels: those past 48 have weights that must not matter.
    func widened(_ count: Int, metadata: String? = nil) throws -> ModelFixture {
        var fixture = self
        fixture.metadata["image_channels"] = metadata ?? "\(count)"
        let extra = count - 48
        let stem = try #require(fixture.tensors["stem.weight"])
        let outputs = stem.shape[0]
        var rows: [Float] = []
        for output in 0..<outputs {
            rows += stem.values[output * 48 * 9..<(output + 1) * 48 * 9]
            rows += [Float](repeating: 0.37, count: extra * 9)
        }
        fixture.tensors["stem.weight"] = ([outputs, count, 3, 3], rows)
        let head = try #require(fixture.tensors["head.weight"])
        fixture.tensors["head.weight"] = (
            [count] + head.shape[1...],
            head.values + [Float](repeating: -0.41, count: extra * head.values.count / 48)
        )
        let bias = try #require(fixture.tensors["head.bias"])
        fixture.tensors["head.bias"] = (
            [count], bias.values + [Float](repeating: 5, count: extra)
        )
        return fixture
    }

    /// Bytes of a safetensors file.
    func encoded() throws -> [UInt8] {
        var data: [UInt8] = []
        var header: [String: Any] = ["__metadata__": metadata]
        for (name, tensor) in tensors.sorted(by: { $0.key < $1.key }) {
            let start = data.count
            for value in tensor.values {
                withUnsafeBytes(of: value.bitPattern.littleEndian) { data.append(contentsOf: $0) }
            }
            header[name] = [
                "dtype": "F32", "shape": tensor.shape, "data_offsets": [start, data.count],
            ]
        }
        for (name, tensor) in byteTensors {
            header[name] = [
                "dtype": "U8", "shape": tensor.shape,
                "data_offsets": [data.count, data.count + tensor.bytes.count],
            ]
            data += tensor.bytes
        }
        let json = [UInt8](try JSONSerialization.data(withJSONObject: header))
        let length = UInt64(json.count)
        return (0..<8).map { UInt8(truncatingIfNeeded: length >> (8 * $0)) } + json + data
    }

    /// Writes the file, hands its path to `body` and removes it.
    func withFile<Result>(_ body: (String) throws -> Result) throws -> Result {
        try withTemporaryFile(encoded(), body)
    }
}

/// Writes `bytes` to a file of its own, hands its path to `body` and removes it.
func withTemporaryFile<Result>(
    _ bytes: [UInt8], _ body: (String) throws -> Result
) throws -> Result {
    let path = NSTemporaryDirectory() + "lucida-\(UUID().uuidString).safetensors"
    try Data(bytes).write(to: URL(fileURLWithPath: path))
    defer { try? FileManager.default.removeItem(atPath: path) }
    return try body(path)
}

/// An RGB24 picture whose rows may be padded; the padding must survive.
struct Picture: Equatable {
    let width: Int
    let height: Int
    let stride: Int
    var bytes: [UInt8]

    static let paddingByte: UInt8 = 0xa5

    init(width: Int, height: Int, padding: Int = 0, seed: UInt32? = nil) {
        self.width = width
        self.height = height
        stride = 3 * width + padding
        bytes = [UInt8](repeating: Self.paddingByte, count: stride * height)
        guard let seed else { return }
        let values = noise(3 * width * height, seed: seed)
        for y in 0..<height {
            for x in 0..<3 * width { bytes[y * stride + x] = values[y * 3 * width + x] }
        }
    }

    /// The pixels without padding.
    var pixels: [UInt8] {
        (0..<height).flatMap { bytes[$0 * stride..<$0 * stride + 3 * width] }
    }

    var isPaddingIntact: Bool {
        (0..<height).allSatisfy { y in
            bytes[y * stride + 3 * width..<(y + 1) * stride].allSatisfy { $0 == Self.paddingByte }
        }
    }
}

extension ModelSession {
    /// `process` on pictures.
    func transform(_ input: Picture, strength: Float = 1, padding: Int = 0) -> Picture? {
        var output = Picture(width: input.width, height: input.height, padding: padding)
        let stride = output.stride
        let isGood = input.bytes.withUnsafeBufferPointer { from in
            output.bytes.withUnsafeMutableBufferPointer { to in
                guard let from = from.baseAddress, let to = to.baseAddress else { return false }
                return process(
                    rgb: from, strideBytes: input.stride, into: to, strideBytes: stride,
                    strength: strength)
            }
        }
        return isGood ? output : nil
    }
}
