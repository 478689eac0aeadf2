// What the control thread wants of the source, and what the capture thread reports of it.

internal import Realtime
internal import Synchronization

/// Between the supervision, on the control thread, and the one thread that touches the source.
final class SourceGate: Sendable {
    /// A wish, with its number: the same wish can be made again.
    struct Wish: Equatable {
        let number: UInt64
        /// `nil` at the start: the source stays as it is.
        var action: Supervision.Action? {
            switch number & 3 {
            case 1: .open
            case 2: .restart
            case 3: .close
            default: nil
            }
        }
    }

    /// What became of a wish.
    enum Report {
        case opened
        case failed(SourceFault)
    }

    // Its number × 4 + what it is. Atomic: released by the control thread, acquired by the capture thread.
    private let word = Atomic<UInt64>(0)
    private let isChanged = Event()
    // Not steady state: written when the source is opened or lost, hence a lock.
    private let reports = Mutex<[(wish: UInt64, report: Report)]>([])
    // Atomic: when the capture thread last was not inside a call that may hang.
    private let aliveTime = Atomic<Int64>(0)

    // MARK: Control thread

    /// Asks the capture thread, which follows when it is between two frames.
    func want(_ action: Supervision.Action) {
        let kind: UInt64 =
            switch action {
            case .open: 1
            case .restart: 2
            case .close: 3
            }
        let number = (word.load(ordering: .relaxed) >> 2) + 1
        word.store(number << 2 | kind, ordering: .releasing)
        isChanged.set()
    }

    /// What has become of the last wish since the last call; what became of earlier ones no longer
    /// matters. Before the first wish: of the source as it was at the start.
    func takeReports() -> [Report] {
        let now = word.load(ordering: .relaxed)
        return reports.withLock { reports in
            defer { reports.removeAll() }
            return reports.filter { $0.wish == now }.map(\.report)
        }
    }

    /// Wakes the capture thread, because it is to stop.
    func wake() { isChanged.set() }

    // MARK: Capture thread

    /// The last wish.
    var wish: Wish { Wish(number: word.load(ordering: .acquiring)) }

    func report(_ report: Report, on wish: Wish) {
        reports.withLock { $0.append((wish.number, report)) }
    }

    /// Sleeps until there may be another wish.
    func waitForWish(timeoutNanoseconds: Int64) {
        isChanged.wait(timeoutNanoseconds: timeoutNanoseconds)
    }

    // MARK: Both

    /// When the capture thread last said that it does not hang, of `CLOCK_MONOTONIC`.
    var aliveNanoseconds: Int64 {
        get { aliveTime.load(ordering: .relaxed) }
        set { aliveTime.store(newValue, ordering: .relaxed) }
    }
}
