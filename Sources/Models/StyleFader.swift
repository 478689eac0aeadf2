// Moves from one mix of styles to another, a little at a time.

internal import Glibc
internal import NeuralEngine
internal import Realtime
internal import Synchronization

/// Runs at most one fade, on a thread of its own. `fade` and `stop` belong to one thread.
final class StyleFader: @unchecked Sendable {
    private let isStopped = Atomic<Bool>(false)
    private let stopped = Event()
    private var thread: RealtimeThread?
    // Written by the fade's thread while it runs.
    private let present = Mutex<[Float]>([])

    /// Weights are folded this often a second: each time costs some 50 ms of a core.
    private static let stepsPerSecond = 8.0
    /// Seconds.
    private static let longest = 60.0

    /// Where the fade is; the last one's end if none runs.
    func begin(at styles: [Float]) { present.withLock { $0 = styles } }

    /// Calls `body` with mixes on the way to `target`, the last being `target`, on another thread, until
    /// it returns false.
    func fade(
        to target: [Float], seconds: Double, body: @escaping @Sendable ([Float]) -> Bool
    ) throws(EngineError) {
        let seconds = min(max(0, seconds), Self.longest)  // NaN is no time
        stop()
        isStopped.store(false, ordering: .relaxed)
        // What `stop` may have left set.
        stopped.wait(timeoutNanoseconds: 0)
        let start = present.withLock { $0.count == target.count ? $0 : target }
        let count = max(1, Int((seconds * Self.stepsPerSecond).rounded()))
        do throws(RealtimeThreadError) {
            // `stop` joins before this object goes.
            thread = try RealtimeThread(name: "lucida-style", isDataPlane: false) {
                [unowned(unsafe) fader = self] in
                // On Linux of this thread alone: frames go first. Where that is forbidden, both run.
                _ = nice(10)
                let begin = MonotonicClock.nowNanoseconds
                for step in 1...count where !fader.isStopped.load(ordering: .relaxed) {
                    let part = Float(step) / Float(count)
                    let mix =
                        step == count
                        ? target : zip(start, target).map { $0 + part * ($1 - $0) }
                    guard body(mix) else { return }
                    fader.present.withLock { $0 = mix }
                    guard step < count else { return }
                    let due = begin + Int64(Double(step) * seconds / Double(count) * 1e9)
                    fader.stopped.wait(
                        timeoutNanoseconds: max(0, due - MonotonicClock.nowNanoseconds))
                }
            }
        } catch {
            throw .thread(error.description)
        }
    }

    /// Ends a fade where it is; returns when its thread has.
    func stop() {
        isStopped.store(true, ordering: .relaxed)
        stopped.set()
        thread?.join()
        thread = nil
    }

    deinit { stop() }
}
