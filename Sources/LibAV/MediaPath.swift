// What the user named: a file here or a URL.

internal import CLibAV
internal import Glibc

/// A path or URL as libav has to be given it.
struct MediaPath {
    /// As the user wrote it, for messages.
    let name: String
    /// For libav. A path gets the prefix `file:`, or `a:b.mp4` would be taken for a protocol.
    let url: String
    /// The path of a local file.
    let localPath: String?

    init(_ name: String) {
        self.name = name
        if name.hasPrefix("file:") {
            var path = name.dropFirst("file:".count)
            if path.hasPrefix("//") { path = path.dropFirst(2) }
            localPath = String(path)
            url = "file:" + path
        } else if name.contains("://") || name.hasPrefix("pipe:") {
            localPath = nil
            url = name
        } else {
            localPath = name
            url = "file:" + name
        }
    }

    /// Finds what libav would report badly or not at all.
    ///
    /// - Returns: whether the path was taken literally: a file of this very name is there.
    func checkReadable() throws(LibAVError) -> Bool {
        guard let localPath else { return false }
        var status = stat()
        guard stat(localPath, &status) == 0 else {
            // libav reads `frame%06d.png` as a series of pictures.
            if errno == ENOENT && localPath.contains("%") { return false }
            throw LibAVError(operation: "open", code: clibav_error(errno), file: name)
        }
        switch status.st_mode & S_IFMT {
        case S_IFDIR:
            throw LibAVError(operation: "open", code: clibav_error(EISDIR), file: name)
        case S_IFIFO:
            throw LibAVError(
                operation: "open", code: clibav_error_invalid_argument, file: name,
                detail: "a named pipe could block for ever: feed it through pipe:0")
        case S_IFREG where status.st_size == 0:
            throw LibAVError(
                operation: "open", code: clibav_error_invalid_data, file: name,
                detail: "the file is empty")
        default: return true
        }
    }

    /// Finds targets that cannot be written, or that would block for ever when they are opened.
    /// What is not there yet is fine, and so are devices such as `/dev/full`.
    func checkWritable() throws(LibAVError) {
        guard let localPath else { return }
        var status = stat()
        guard stat(localPath, &status) == 0 else { return }
        switch status.st_mode & S_IFMT {
        case S_IFDIR:
            throw LibAVError(operation: "write to", code: clibav_error(EISDIR), file: name)
        case S_IFIFO:
            throw LibAVError(
                operation: "write to", code: clibav_error_invalid_argument, file: name,
                detail: "a named pipe could block for ever: name a file, or a URL such as tcp://")
        case S_IFSOCK:
            throw LibAVError(
                operation: "write to", code: clibav_error_invalid_argument, file: name,
                detail: "it is a socket: give a URL such as tcp://")
        default: return
        }
    }

    /// The container that libav cannot guess from the URL.
    var container: String? {
        let scheme = url.prefix { $0 != ":" }.lowercased()
        switch scheme {
        case "rtmp", "rtmps", "rtmpt", "rtmpts": return "flv"
        case "udp", "srt", "tcp", "rist": return "mpegts"
        case "rtp": return "rtp_mpegts"
        case "rtsp": return "rtsp"
        default: return nil
        }
    }

    /// Whether frames go to somebody who watches now.
    var isNetwork: Bool { container != nil }
}
