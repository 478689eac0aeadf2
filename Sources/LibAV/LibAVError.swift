// The error of everything in this module.

internal import CLibAV
internal import Glibc

/// A libav call failed.
public struct LibAVError: Error, Equatable, CustomStringConvertible {
    /// What was attempted, to follow "cannot": `open`, `decode`, `write`.
    public let operation: String
    /// libav's negative code: an `errno` with its sign turned, or a tag of libav's own.
    public let code: Int32
    /// The file, URL or codec concerned; empty where there is none.
    public let file: String
    /// What libav logged meanwhile, or another reason; empty where there is none.
    public let detail: String

    /// An error of one operation on one file.
    public init(operation: String, code: Int32, file: String = "", detail: String = "") {
        self.operation = operation
        self.code = code
        self.file = file
        self.detail = detail
    }

    /// The `errno` that the code stands for, if it stands for one.
    public var systemError: Int32? {
        let error = clibav_errno(code)
        return code < 0 && error < 4096 ? error : nil
    }

    /// Whether SIGINT or SIGTERM ended an opening.
    public var isInterrupted: Bool { code == clibav_error_exit }

    /// Whether an address has nobody there who answers now, but may later. A name that is not known
    /// is a mistake.
    public var isUnanswered: Bool {
        [ECONNREFUSED, ECONNRESET, ETIMEDOUT, EHOSTUNREACH, EHOSTDOWN, ENETUNREACH, ENETDOWN]
            .contains(systemError)
    }

    /// A sentence for the user: what failed, why and what to do.
    public var description: String {
        var text = "cannot \(operation)"
        if !file.isEmpty { text += " \(file)" }
        text += ": \(reason)"
        if !detail.isEmpty { text += " (\(detail))" }
        if let advice { text += "; \(advice)" }
        return text
    }

    private var reason: String {
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(AV_ERROR_MAX_STRING_SIZE)) {
            guard let base = $0.baseAddress else { return "" }
            av_strerror(code, base, $0.count)
            return String(cString: base)
        }
    }

    private var advice: String? {
        switch code {
        case clibav_error_invalid_data:
            "the data are damaged or of a kind that libav cannot read: try to play it with ffplay"
        case clibav_error_stream_not_found:
            "choose a file with a video stream or a picture"
        case clibav_error_decoder_not_found, clibav_error_encoder_not_found:
            "this libav was built without it: choose another codec or install the full libavcodec"
        case clibav_error_protocol_not_found:
            "this libav does not know the protocol of the URL: check its spelling"
        case clibav_error_muxer_not_found:
            "name the file .mp4, .mkv or .png, or give a URL such as rtmp:// or udp://"
        case clibav_error_exit: nil
        default: systemError.flatMap(Self.advice(systemError:))
        }
    }

    private static func advice(systemError: Int32) -> String? {
        switch systemError {
        case ENOENT: "check the path"
        case EACCES, EPERM, EROFS: "check the permissions"
        case EISDIR: "name a file, not a folder"
        case ENOSPC, EDQUOT: "free some space or choose another disk"
        case ETIMEDOUT, ECONNREFUSED, EHOSTUNREACH, ENETUNREACH:
            "check the address and that the other side runs"
        default: nil
        }
    }
}
