// Weights for resizing one dimension: area average when shrinking, linear when enlarging.

/// Output i = Σ weights[i · taps + t] · input[starts[i] + t]. Immutable.
struct ResamplingTaps {
    /// First input of each output.
    let starts: [Int32]
    /// `taps` weights for each output; they sum to 1.
    let weights: [Float]
    /// Inputs that an output is made of.
    let taps: Int

    /// From `input` to `output` samples whose outer edges coincide.
    init(from input: Int, to output: Int) {
        precondition(input > 0 && output > 0, "a row is not empty")
        let ranges = (0..<output).map { Self.contributions(to: $0, of: output, from: input) }
        let taps = ranges.reduce(1) { max($0, $1.weights.count) }
        var starts: [Int32] = []
        var weights: [Float] = []
        for range in ranges {
            // Every output has the same number of taps; the window is moved inside at the end.
            let start = min(range.start, input - taps)
            let lead = range.start - start
            starts.append(Int32(start))
            for tap in 0..<taps {
                let index = tap - lead
                weights.append(range.weights.indices.contains(index) ? range.weights[index] : 0)
            }
        }
        self.starts = starts
        self.weights = weights
        self.taps = taps
    }

    private static func contributions(to index: Int, of output: Int, from input: Int) -> (
        start: Int, weights: [Float]
    ) {
        let scale = Double(input) / Double(output)
        guard scale > 1 else {
            // Linear between the centres of the two nearest inputs; the outermost are extended.
            let centre = min(max((Double(index) + 0.5) * scale - 0.5, 0), Double(input - 1))
            let start = min(Int(centre), max(input - 2, 0))
            let weight = Float(centre - Double(start))
            return input == 1 ? (0, [1]) : (start, [1 - weight, weight])
        }
        // The share of each input in the interval that the output covers.
        let low = Double(index) * scale
        let high = min(low + scale, Double(input))
        let start = Int(low)
        let end = max(start + 1, min(Int(high.rounded(.up)), input))
        let shares = (start..<end).map { min(high, Double($0 + 1)) - max(low, Double($0)) }
        let sum = shares.reduce(0, +)
        return (start, shares.map { Float($0 / sum) })
    }
}

/// `ResamplingTaps` in memory of its own, for kernels. Owned by a step, freed with it.
final class ResamplingTable {
    let starts: UnsafeMutablePointer<Int32>
    let weights: UnsafeMutablePointer<Float>
    let taps: Int
    let count: Int

    init(from input: Int, to output: Int) {
        let table = ResamplingTaps(from: input, to: output)
        taps = table.taps
        count = output
        starts = .allocate(capacity: table.starts.count)
        starts.initialize(from: table.starts, count: table.starts.count)
        weights = .allocate(capacity: table.weights.count)
        weights.initialize(from: table.weights, count: table.weights.count)
    }

    deinit {
        starts.deallocate()
        weights.deallocate()
    }
}
