// Temporal reuse against the whole network, frame by frame: what `lucida bench engine --clip` prints.

public import NeuralEngine
internal import Realtime

/// Time and fidelity of temporal reuse on a sequence of frames.
public struct ClipBenchmark: Sendable {
    /// One frame.
    public struct Frame: Sendable {
        /// The whole network, in a session that reuses nothing.
        public let wholeMilliseconds: Double
        /// With reuse.
        public let reuseMilliseconds: Double
        /// Share of the multiplications that reuse did.
        public let workShare: Double
        /// Mean squared difference of the two pictures, levels².
        public let squaredError: Double
        /// The same of the square of 32 × 32 pixels where it is largest.
        public let worstTileSquaredError: Double
    }

    /// A step of the network, averaged over the frames.
    public struct Step: Sendable {
        /// For example `enc0.0.a`.
        public let name: String
        /// In the session that reuses nothing; 0 for what only reuse does.
        public let wholeMilliseconds: Double
        /// With reuse.
        public let reuseMilliseconds: Double
        /// Share of the tiles that reuse computed; 1 for what is not divided.
        public let share: Double
    }

    /// All frames but the first, which is computed as a whole.
    public let frames: [Frame]
    /// In the order in which they run.
    public let steps: [Step]
    /// Noise of the camera as the last frame left it, in levels of the picture.
    public let noiseLevels: Double
    /// In what the convolutions are multiplied, for people.
    public let precision: String
    /// Bytes that the session without reuse takes for activations and weights.
    public let wholeArenaBytes: Int
    /// The same with reuse.
    public let reuseArenaBytes: Int

    private static let tileEdge = 32
    // Frames in a row through one session, so that each finds the caches as it left them.
    private static let chunk = 16

    /// Runs frames through a model twice.
    ///
    /// - Parameters:
    ///   - file: the model.
    ///   - width: of the frames.
    ///   - height: likewise.
    ///   - threads: of the engine, the calling one included.
    ///   - tuning: chooses how convolutions are computed.
    ///   - wanted: precision; nil: what the model's figures allow.
    ///   - next: fills a frame of RGB24, rows without padding; false at the end.
    public static func run(
        model file: String, width: Int, height: Int, threads: Int,
        tuning: ConvolutionTuning = ConvolutionTuning(), wanted: Precision? = nil,
        next: (UnsafeMutableBufferPointer<UInt8>) -> Bool
    ) throws(ModelError) -> ClipBenchmark {
        let model = try DistilledUNet(file: file)
        let supported: [Precision]
        do throws(EngineError) {
            supported = try Backend.shared().precisions
        } catch {
            throw .engine(error)
        }
        let allowed = PrecisionChoice(wanted: wanted, file: model.file, supported: supported)
            .allowed
        func session(
            reuses: Bool, precisions: Set<Precision>
        ) throws(ModelError) -> TimedSession {
            TimedSession(
                try model.prepare(
                    frameWidth: width, frameHeight: height, modelWidth: width,
                    modelHeight: height, threads: threads, tuning: tuning,
                    precisions: precisions, reuses: reuses))
        }
        let whole = try session(reuses: false, precisions: allowed)
        let reusing = try session(reuses: true, precisions: allowed)
        // What both are compared with is always computed in f32.
        let reference = try session(reuses: false, precisions: [])
        let bytes = 3 * width * height
        // A chunk of frames, then what the whole network and what reuse make of them.
        let pictures = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: 3 * chunk * bytes)
        pictures.initialize(repeating: 0)
        defer { pictures.deallocate() }
        func picture(_ kind: Int, _ index: Int) -> UnsafeMutableBufferPointer<UInt8> {
            let start = (kind * chunk + index) * bytes
            return UnsafeMutableBufferPointer(rebasing: pictures[start..<start + bytes])
        }
        var frames: [Frame] = []
        var count = chunk
        while count == chunk {
            count = 0
            while count < chunk && next(picture(0, count)) { count += 1 }
            // In turn who comes first, and each without a break: threads that rest wake up late.
            var wholeTimes: [Double] = []
            var reuseTimes: [(milliseconds: Double, workShare: Double)] = []
            func runWhole() {
                wholeTimes = (0..<count).map { whole.run(picture(0, $0), into: picture(1, $0)) }
            }
            func runReusing() {
                reuseTimes = (0..<count).map {
                    (
                        reusing.run(picture(0, $0), into: picture(2, $0)),
                        reusing.session.workShare
                    )
                }
            }
            if frames.count / chunk % 2 == 0 {
                runWhole()
                runReusing()
            } else {
                runReusing()
                runWhole()
            }
            for index in 0..<count { _ = reference.run(picture(0, index), into: picture(1, index)) }
            for index in 0..<count {
                let errors = squaredErrors(
                    picture(1, index), picture(2, index), width: width, height: height)
                frames.append(
                    Frame(
                        wholeMilliseconds: wholeTimes[index],
                        reuseMilliseconds: reuseTimes[index].milliseconds,
                        workShare: reuseTimes[index].workShare, squaredError: errors.all,
                        worstTileSquaredError: errors.worst))
            }
        }
        return ClipBenchmark(
            frames: Array(frames.dropFirst()), steps: steps(whole, reusing),
            noiseLevels: Double(reusing.session.reuse?.noiseLevels ?? 0),
            precision: whole.session.precision, wholeArenaBytes: whole.session.byteCount,
            reuseArenaBytes: reusing.session.byteCount)
    }

    private static func steps(_ whole: TimedSession, _ reusing: TimedSession) -> [Step] {
        reusing.session.stepNames.enumerated().map { index, name in
            let same = whole.session.stepNames.firstIndex(of: name)
            return Step(
                name: name, wholeMilliseconds: same.map { whole.milliseconds(ofStep: $0) } ?? 0,
                reuseMilliseconds: reusing.milliseconds(ofStep: index),
                share: reusing.shares[index] / Double(max(1, reusing.frames)))
        }
    }

    /// Tiles lie side by side; the last ones end with the picture and may overlap those before.
    private static func squaredErrors(
        _ a: UnsafeMutableBufferPointer<UInt8>, _ b: UnsafeMutableBufferPointer<UInt8>,
        width: Int, height: Int
    ) -> (all: Double, worst: Double) {
        func sum(_ rows: Range<Int>, _ columns: Range<Int>) -> Double {
            var sum = 0
            for y in rows {
                let row = 3 * y * width
                for index in row + 3 * columns.lowerBound..<row + 3 * columns.upperBound {
                    let difference = Int(a[index]) - Int(b[index])
                    sum += difference * difference
                }
            }
            return Double(sum) / Double(3 * rows.count * columns.count)
        }
        func tiles(_ size: Int) -> [Range<Int>] {
            stride(from: 0, to: size, by: tileEdge).map {
                max(0, min($0, size - tileEdge))..<min($0 + tileEdge, size)
            }
        }
        var worst = 0.0
        for rows in tiles(height) {
            for columns in tiles(width) { worst = max(worst, sum(rows, columns)) }
        }
        return (sum(0..<height, 0..<width), worst)
    }
}

/// A session and what its steps have taken so far.
private final class TimedSession {
    let session: ModelSession
    /// Of each step, the sum over all frames of the share of its tiles that was computed.
    private(set) var shares: [Double]
    private(set) var frames = 0
    private var nanoseconds: [Int64]
    private var latest: [Int64]

    init(_ session: ModelSession) {
        self.session = session
        shares = .init(repeating: 0, count: session.stepNames.count)
        nanoseconds = .init(repeating: 0, count: session.stepNames.count)
        latest = nanoseconds
    }

    /// - Returns: milliseconds.
    func run(
        _ frame: UnsafeMutableBufferPointer<UInt8>, into output: UnsafeMutableBufferPointer<UInt8>
    ) -> Double {
        guard let from = frame.baseAddress, let to = output.baseAddress else { return 0 }
        let stride = 3 * session.geometry.frameWidth
        let pointers = FramePointers(
            frame: from, frameStride: stride, output: to, outputStride: stride, strength: 1)
        let start = MonotonicClock.nowNanoseconds
        latest.withUnsafeMutableBufferPointer {
            _ = session.process(pointers, stepNanoseconds: $0.baseAddress)
        }
        let time = MonotonicClock.nowNanoseconds - start
        frames += 1
        for (index, share) in session.stepShares.enumerated() {
            nanoseconds[index] += latest[index]
            shares[index] += share
        }
        return Double(time) / 1e6
    }

    func milliseconds(ofStep index: Int) -> Double {
        Double(nanoseconds[index]) / 1e6 / Double(max(1, frames))
    }
}
