// Compares a network with what it should answer: `lucida bench engine --check`.

internal import NeuralEngine

/// A safetensors file with the tensors `input` and `output`, both (channels, height / 4, width / 4):
/// an image as the network takes it and the residual that it should give.
public struct NetworkCheck: Sendable {
    /// The file, for messages.
    public let file: String

    private let shape: [Int]
    private let input: [Float]
    private let expected: [Float]

    /// Reads and checks the file.
    public init(file: String) throws(ModelError) {
        let tensors: Safetensors
        let input: [Float]
        let expected: [Float]
        do throws(SafetensorsError) {
            tensors = try Safetensors(file: file)
            input = try tensors.values(of: "input")
            expected = try tensors.values(of: "output")
        } catch {
            throw .file(error)
        }
        func failure(_ reason: String) -> ModelError { .check(file: file, reason: reason) }
        let shape = tensors.shape(of: "input") ?? []
        guard shape.count == 3, tensors.shape(of: "output") == shape else {
            throw failure(
                "input and output have the shapes \(shape) and "
                    + "\(tensors.shape(of: "output") ?? []): one shape (channels, height / 4, "
                    + "width / 4) is expected of both")
        }
        guard input.allSatisfy(\.isFinite), expected.allSatisfy(\.isFinite) else {
            throw failure("it holds NaN or infinity")
        }
        guard expected.contains(where: { $0 != 0 }) else {
            throw failure("its output is zero, and an error relative to that means nothing")
        }
        self.file = file
        self.shape = shape
        self.input = input
        self.expected = expected
    }

    /// Runs the network of a session on the input: ‖answer − output‖ / ‖output‖, in L2.
    func relativeError(of session: any FrameSession) throws(ModelError) -> Double {
        guard let session = session as? ModelSession else {
            throw .check(
                file: file, reason: "a network that remembers frames cannot be checked by one")
        }
        let network = session.networkShape
        let wanted = [network.channels, network.height, network.width]
        guard shape == wanted else {
            throw .check(
                file: file,
                reason: "its tensors have the shape \(shape), but this network takes \(wanted) at "
                    + "\(4 * wanted[2])x\(4 * wanted[1]) pixels: name a model of so many channels, "
                    + "and --size \(4 * shape[2])x\(4 * shape[1])")
        }
        let answer = session.residual(of: input)
        var difference = 0.0
        var norm = 0.0
        for (value, reference) in zip(answer, expected) {
            difference += (Double(value) - Double(reference)) * (Double(value) - Double(reference))
            norm += Double(reference) * Double(reference)
        }
        guard difference.isFinite else {
            throw .check(file: file, reason: "the network answers with NaN or infinity")
        }
        return (difference / norm).squareRoot()
    }
}
