// Who looks at the virtual cameras of a run. Control thread.

internal import Glibc
internal import Pipeline
internal import V4L2

/// Adds up the apps that look at all virtual cameras.
final class ViewerWatch {
    private let devices: [LoopbackReaders]
    /// Apps that look; `nil` if that cannot be told, as of the last `look`.
    private(set) var count: Int?

    /// - Parameter sinks: prepared; those that are no virtual cameras are left out.
    init(sinks: [any FrameSink]) {
        devices = sinks.compactMap { ($0 as? LoopbackSink)?.path }.map(LoopbackReaders.init)
    }

    /// Whether there are virtual cameras that anybody can look at.
    var isNeeded: Bool { !devices.isEmpty }

    /// Whether somebody looks; also where that cannot be told, for then nobody must be left without.
    var isWatched: Bool { count != 0 }

    /// What `poll(2)` waits for, so that somebody who comes is seen at once.
    var descriptors: [pollfd] {
        devices.map(\.eventDescriptor).filter { $0 >= 0 }
            .map { pollfd(fd: $0, events: Int16(POLLPRI), revents: 0) }
    }

    /// Counts anew.
    func look() {
        let counts = devices.compactMap { $0.count() }
        count = counts.count == devices.count && isNeeded ? counts.reduce(0, +) : nil
    }

    /// Before the sinks are closed.
    func close() { for device in devices { device.close() } }
}
