// What holder and writer of the virtual camera say to each other, a descriptor with it. Control thread.

internal import CLinux
internal import Glibc

/// One message on a connection of sequenced packets: a line of text, perhaps a descriptor.
struct DescriptorMessage {
    /// Longer messages are cut, and then none that is known.
    private static let bytesMax = 512

    var text: String
    /// The receiver's to close.
    var descriptor: Int32?

    /// Sends without waiting. The descriptor stays the sender's.
    ///
    /// - Returns: whether it went off.
    static func send(_ text: String, descriptor: Int32? = nil, to socket: Int32) -> Bool {
        var text = text
        return text.withUTF8 {
            clinux_send_message(
                socket, $0.baseAddress, Int32($0.count), descriptor ?? -1, nil, 0) == 0
        }
    }

    /// What became of an attempt to receive.
    enum Received {
        case message(DescriptorMessage)
        /// There is none yet.
        case nothing
        /// The other end has closed.
        case end
    }

    /// Receives without waiting.
    static func receive(from socket: Int32) -> Received {
        var bytes = [UInt8](repeating: 0, count: bytesMax)
        var descriptor: Int32 = -1
        let count = clinux_receive_message(socket, &bytes, Int32(bytes.count), &descriptor)
        if count == -EAGAIN { return .nothing }
        guard count > 0 else {
            // An empty packet reads like the end, and may bring a descriptor all the same.
            if descriptor >= 0 { close(descriptor) }
            return .end
        }
        return .message(
            DescriptorMessage(
                text: String(decoding: bytes[..<Int(count)], as: UTF8.self),
                descriptor: descriptor < 0 ? nil : descriptor))
    }
}

/// Where the holder of the virtual camera listens.
public enum HolderSocketPath {
    private static let ofService = "/run/lucida-device/writer.sock"

    /// Where a writer looks: `$LUCIDA_DEVICE_SOCKET`, else the service.
    public static func of(_ environment: [String: String]) -> String {
        guard let path = environment["LUCIDA_DEVICE_SOCKET"], path.hasPrefix("/") else {
            return ofService
        }
        return path
    }

    /// Where a holder listens: in the folder that systemd has made for it, else where writers look.
    static func listening(_ environment: [String: String]) -> String {
        // systemd.exec(5): several folders are separated by colons.
        guard environment["LUCIDA_DEVICE_SOCKET"] == nil,
            let folder = environment["RUNTIME_DIRECTORY"]?.split(separator: ":").first
        else { return of(environment) }
        return folder + "/writer.sock"
    }
}
