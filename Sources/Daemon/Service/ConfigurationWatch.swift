// Notices that the configuration file has changed, whichever way an editor saves. Control thread.

internal import FoundationEssentials
internal import Glibc
internal import Realtime

/// Watches the folders of the file with inotify(7): a watch on the file itself would miss the new
/// one that most editors move over it.
final class ConfigurationWatch {
    /// For poll(2).
    let descriptor: Int32
    // Which names matter in which watched folder.
    private var names: [Int32: Set<String>] = [:]
    private var dueNanoseconds: Int64?
    private let paths: [String]

    /// Saving takes several steps: the file is read when nothing has happened to it for so long.
    private static let settleNanoseconds: Int64 = 200_000_000

    /// Watches for changes of `paths`, and of what those lead to that are links.
    ///
    /// Where a folder does not exist, the one above it is watched until it does.
    ///
    /// - Returns: `nil` if the system cannot.
    init?(paths: [String]) {
        descriptor = inotify_init1(Int32(IN_CLOEXEC | IN_NONBLOCK))
        self.paths = paths
        guard descriptor >= 0 else { return nil }
        addAll()
        if names.isEmpty { return nil }
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    /// What is watched already stays so: inotify has one watch for a folder.
    private func addAll() {
        for path in paths {
            add(path)
            let target = URL(filePath: path).resolvingSymlinksInPath().path
            if target != path { add(target) }
        }
    }

    private func add(_ path: String) {
        let file = URL(filePath: path)
        if watch(file) { return }
        var above = file.deletingLastPathComponent()
        while above.path != "/", !watch(above) { above = above.deletingLastPathComponent() }
        // It may have been made in between.
        _ = watch(file)
    }

    /// Watches the folder of `url` for what happens to that name.
    private func watch(_ url: URL) -> Bool {
        let events =
            IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CREATE | IN_MOVE_SELF
        let watch = inotify_add_watch(
            descriptor, url.deletingLastPathComponent().path, UInt32(events))
        if watch >= 0 { names[watch, default: []].insert(url.lastPathComponent) }
        return watch >= 0
    }

    /// Whether the file has changed since the last time, and settled.
    func isDue(at now: Int64) -> Bool {
        readEvents(now)
        guard let due = dueNanoseconds, now >= due else { return false }
        dueNanoseconds = nil
        return true
    }

    private func readEvents(_ now: Int64) {
        var buffer = [UInt8](repeating: 0, count: 8192)
        while true {
            let count = read(descriptor, &buffer, buffer.count)
            guard count > 0 else { return }
            buffer.withUnsafeBytes { bytes in
                if concerns(UnsafeRawBufferPointer(rebasing: bytes[..<count])) {
                    dueNanoseconds = now + Self.settleNanoseconds
                    // A folder may be new, or a link lead elsewhere.
                    addAll()
                }
            }
        }
    }

    /// Whether one of these events is about a file that is watched.
    private func concerns(_ bytes: UnsafeRawBufferPointer) -> Bool {
        let headSize = MemoryLayout<inotify_event>.size
        var offset = 0
        var isFound = false
        while offset + headSize <= bytes.count {
            let event = bytes.loadUnaligned(fromByteOffset: offset, as: inotify_event.self)
            let end = min(offset + headSize + Int(event.len), bytes.count)
            let name = bytes[(offset + headSize)..<end].prefix { $0 != 0 }
            // A folder that has gone, or is elsewhere now, is no longer the one that is meant.
            let hasGone = event.mask & UInt32(IN_IGNORED | IN_MOVE_SELF) != 0
            if hasGone, names.removeValue(forKey: event.wd) != nil {
                inotify_rm_watch(descriptor, event.wd)
                isFound = true
            }
            // After an overflow nobody knows.
            let isLost = event.mask & UInt32(IN_Q_OVERFLOW) != 0
            if isLost || names[event.wd]?.contains(String(decoding: name, as: UTF8.self)) == true {
                isFound = true
            }
            offset = end
        }
        return isFound
    }
}
