// Tells systemd how the service is doing. Control thread.

internal import Glibc
internal import Realtime

/// The protocol of sd_notify(3): datagrams to the socket that `$NOTIFY_SOCKET` names. Without that
/// variable (not started by systemd) every call does nothing.
struct ServiceNotifier {
    private let address: sockaddr_un?
    private let addressLength: socklen_t
    /// Without a word from us for so long systemd restarts the service; `nil`: it does not.
    let watchdogNanoseconds: Int64?

    init(environment: [String: String]) {
        watchdogNanoseconds = Self.watchdog(environment)
        let path = Array((environment["NOTIFY_SOCKET"] ?? "").utf8)
        var address = sockaddr_un()
        let room = MemoryLayout.size(ofValue: address.sun_path)
        guard let first = path.first, path.count < room, first == 0x2F || first == 0x40 else {
            self.address = nil
            addressLength = 0
            return
        }
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { bytes in
            bytes.copyBytes(from: path)
            // `@name` stands for a socket in the abstract namespace, whose name begins with NUL.
            if first == 0x40 { bytes[0] = 0 }
        }
        self.address = address
        addressLength = socklen_t(MemoryLayout<sa_family_t>.size + path.count)
    }

    /// The service works: the first card or transformed frame has been written.
    func ready(_ status: String) { send("READY=1\nSTATUS=\(status)") }

    /// Frames come, or it was verified that none are wanted: the watchdog may wait on.
    func alive() { send("WATCHDOG=1") }

    /// sd_watchdog_enabled(3): microseconds, and the process that they are meant for.
    private static func watchdog(_ environment: [String: String]) -> Int64? {
        guard let microseconds = environment["WATCHDOG_USEC"].flatMap(Int64.init),
            microseconds > 0, microseconds < Int64.max / 1000
        else { return nil }
        let process = environment["WATCHDOG_PID"].flatMap(Int32.init)
        return process == nil || process == getpid() ? microseconds * 1000 : nil
    }

    /// One line for `systemctl status`.
    func status(_ status: String) { send("STATUS=\(status)") }

    /// The configuration is being read again; `ready` says that it has been (sd_notify(3)).
    func reloading() {
        send("RELOADING=1\nMONOTONIC_USEC=\(MonotonicClock.nowNanoseconds / 1000)")
    }

    /// The service has begun to stop.
    func stopping() { send("STOPPING=1") }

    private func send(_ message: String) {
        guard var address else { return }
        let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(O_CLOEXEC), 0)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        var text = message
        text.withUTF8 { bytes in
            withUnsafePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    // A full or closed socket is systemd's trouble, not the camera's.
                    _ = sendto(
                        descriptor, bytes.baseAddress, bytes.count, Int32(MSG_NOSIGNAL),
                        $0, addressLength)
                }
            }
        }
    }
}
