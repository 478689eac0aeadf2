// Tells systemd how the service is doing. Control thread.

internal import CLinux
internal import Glibc
internal import Realtime

/// The protocol of sd_notify(3): datagrams to the socket that `$NOTIFY_SOCKET` names. Without that
/// variable (not started by systemd) every call does nothing.
struct ServiceNotifier {
    private let address: sockaddr_un?
    private let addressLength: socklen_t
    /// Without a word from us for so long systemd restarts the service; `nil`: it does not.
    let watchdogNanoseconds: Int64?
    // systemd answers at once; one that is as slow as this has other troubles.
    private static let barrierMilliseconds: Int32 = 3000

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

    /// Gives a copy of `descriptor` to the service's file descriptor store, which hands it to the next
    /// process of this service as `name` (PassedDescriptors). Whether it is there by the time this
    /// returns is not known.
    ///
    /// systemd would throw a device out of the store that its own poll finds at an end; whether it is
    /// alive is for the next process to find out.
    func store(_ descriptor: Int32, name: String) {
        send("FDSTORE=1\nFDNAME=\(name)\nFDPOLL=0", descriptor: descriptor)
    }

    /// Lets the store close all descriptors called `name`, and waits until it has: systemd closes the
    /// descriptor of a BARRIER when it has done all that came before it.
    func removeStored(_ name: String) {
        send("FDSTOREREMOVE=1\nFDNAME=\(name)")
        var ends: [Int32] = [-1, -1]
        guard address != nil, pipe(&ends) == 0 else { return }
        defer { close(ends[0]) }
        send("BARRIER=1", descriptor: ends[1])
        close(ends[1])
        var end = pollfd(fd: ends[0], events: 0, revents: 0)
        poll(&end, 1, Self.barrierMilliseconds)
    }

    private func send(_ message: String, descriptor passed: Int32? = nil) {
        guard var address else { return }
        let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(O_CLOEXEC), 0)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        var text = message
        text.withUTF8 { bytes in
            // A full or closed socket is systemd's trouble, not the camera's.
            _ = clinux_send_message(
                descriptor, bytes.baseAddress, Int32(bytes.count), passed ?? -1, &address,
                addressLength)
        }
    }
}
