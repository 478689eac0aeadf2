// A pause that outlives the process. Control thread.

internal import Glibc

/// A file that says that Lucida is paused, so that a service that has crashed or was started anew does not
/// show the room again of its own accord: only `lucida ctl resume` does. It lies in the service's state
/// folder: `StateDirectory=`, systemd.exec(5).
struct PauseNote {
    /// `nil` for a run by hand, which nobody starts again.
    private let path: String?

    init(environment: [String: String]) {
        let folder = environment["STATE_DIRECTORY"]?.split(separator: ":").first
        path = folder.map { $0 + "/paused" }
    }

    /// Whether the run before was paused when it ended; also where that cannot be told.
    var isThere: Bool {
        guard let path else { return false }
        return access(path, F_OK) == 0 || errno != ENOENT
    }

    /// Notes that it is paused, or no longer.
    ///
    /// - Throws: `SessionError` that says what the next start would do now.
    func set(_ isPaused: Bool) throws(SessionError) {
        guard let path else { return }
        if isPaused {
            let file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
            guard file >= 0 else {
                throw SessionError("a new start would end the pause: \(path): \(text(of: errno))")
            }
            close(file)
        } else if unlink(path) != 0 && errno != ENOENT {
            throw SessionError("the next start would pause again: \(path): \(text(of: errno))")
        }
    }

    private func text(of error: Int32) -> String { String(cString: strerror(error)) }
}
