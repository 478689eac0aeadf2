// A named thread that is joined: every stage of the pipeline and every worker of the engine is one.

internal import CLinux
internal import Glibc

/// A POSIX thread with a name, started at once and joined once.
///
/// `async` belongs to the control plane; the data plane runs on these. Owned by the thread that
/// made it, which must call `join()` before letting go of it.
public final class RealtimeThread {
    private var handle = pthread_t()
    private var isJoined = false

    /// Starts `body` on a new thread.
    ///
    /// - Parameters:
    ///   - name: shown by `top -H`; the kernel keeps the first 15 bytes.
    ///   - isDataPlane: whether its allocations are counted among those that frames cost.
    ///   - body: runs once on the new thread.
    /// - Throws: `RealtimeThreadError` if the system refuses another thread.
    public init(
        name: String, isDataPlane: Bool = true, body: @escaping @Sendable () -> Void
    ) throws(RealtimeThreadError) {
        let context = Unmanaged.passRetained(
            Start(name: name, isDataPlane: isDataPlane, body: body))
        let code = pthread_create(&handle, nil, Self.entry, context.toOpaque())
        if code != 0 {
            context.release()
            // deinit runs for what was never started, too.
            isJoined = true
            throw RealtimeThreadError(name: name, errno: code)
        }
    }

    /// Waits until the body has returned. Later calls return at once.
    public func join() {
        guard !isJoined else { return }
        isJoined = true
        pthread_join(handle, nil)
    }

    deinit { precondition(isJoined, "a RealtimeThread must be joined before it is released") }

    private final class Start {
        let name: String
        let isDataPlane: Bool
        let body: @Sendable () -> Void
        init(name: String, isDataPlane: Bool, body: @escaping @Sendable () -> Void) {
            self.name = name
            self.isDataPlane = isDataPlane
            self.body = body
        }
    }

    // A static function, not a closure in top-level code: such a closure would inherit @MainActor
    // and trap on the new thread.
    private static let entry:
        @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? = {
            guard let raw = $0 else { return nil }
            let start = Unmanaged<Start>.fromOpaque(raw).takeRetainedValue()
            clinux_set_thread_name(start.name)
            if start.isDataPlane { clinux_count_allocations_of_this_thread() }
            start.body()
            return nil
        }
}

/// The system refused to start a thread.
public struct RealtimeThreadError: Error, CustomStringConvertible {
    /// The thread's name.
    public let name: String
    /// What `pthread_create` returned.
    public let errno: Int32
    /// A sentence for the user.
    public var description: String {
        "cannot start the thread \(name): \(String(cString: strerror(errno)))"
    }
}
