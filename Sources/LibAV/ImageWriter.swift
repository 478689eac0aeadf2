// Writes frames as pictures: one, or a numbered series, on the sink's thread.

internal import CLibAV
internal import Glibc
public import Video

/// Frames as PNG or JPEG files. Used by one thread at a time.
public final class ImageWriter: @unchecked Sendable {
    /// What became of a frame.
    public enum Status: Sendable, Equatable {
        /// In the file.
        case written
        /// Not in the file, and none of it is left: see `lastError`. The next one may have the same number.
        case failed
    }

    /// Why `writeNext` failed last.
    public private(set) var lastError: LibAVError?
    /// Files of the series written so far.
    public private(set) var count = 0

    private let encoder: Encoder
    private let input: VideoFormat
    private let directory: String
    /// Number of the last picture of an earlier series.
    private var offset = 0
    // `directory/` and room for the rest of a path.
    private let path: UnsafeMutablePointer<CChar>
    private let prefixCount: Int
    private var time: Int64 = 0

    /// A numbered series of PNG pictures: `directory/000001.png` and so on.
    ///
    /// - Parameters:
    ///   - directory: made if it is not there; its parent has to be.
    ///   - input: of the frames that will come, uncompressed.
    ///   - continuesSeries: whether to count on after the pictures that are in the folder, instead of
    ///     writing over them.
    /// - Throws: `LibAVError` naming the folder.
    public convenience init(
        directory: String, input: VideoFormat, continuesSeries: Bool = false
    ) throws(LibAVError) {
        if mkdir(directory, 0o777) != 0 && errno != EEXIST {
            throw LibAVError(operation: "make", code: clibav_error(errno), file: directory)
        }
        var status = stat()
        if stat(directory, &status) != 0 || status.st_mode & S_IFMT != S_IFDIR {
            throw LibAVError(operation: "write to", code: clibav_error(ENOTDIR), file: directory)
        }
        if access(directory, W_OK | X_OK) != 0 {
            throw LibAVError(operation: "write to", code: clibav_error(errno), file: directory)
        }
        try self.init(codec: AV_CODEC_ID_PNG, input: input, directory: directory)
        if continuesSeries { offset = try Self.lastNumber(in: directory) }
    }

    /// Whether there are pictures of a series.
    public static func hasSeries(in directory: String) -> Bool {
        ((try? lastNumber(in: directory)) ?? 0) > 0
    }

    /// The highest number that a picture of a series has there; 0: there is none.
    private static func lastNumber(in directory: String) throws(LibAVError) -> Int {
        guard let entries = opendir(directory) else {
            throw LibAVError(operation: "read", code: clibav_error(errno), file: directory)
        }
        defer { closedir(entries) }
        var last = 0
        while let entry = readdir(entries) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            let digits = name.dropLast(4)
            // As we write them, and small enough to count on from.
            if name.hasSuffix(".png"), (6...17).contains(digits.count),
                digits.allSatisfy({ $0.isASCII && $0.isNumber })
            {
                last = max(last, Int(digits) ?? 0)
            }
        }
        return last
    }

    /// - Parameter directory: of the series; empty for single pictures.
    private init(codec: AVCodecID, input: VideoFormat, directory: String) throws(LibAVError) {
        let name = directory.isEmpty ? "a picture" : directory
        encoder = try Encoder(try findEncoder(codec, file: name), input: input, file: name) {
            if codec == AV_CODEC_ID_MJPEG { configureJPEG($0, quantizer: 2) }
            // Level 1 is three times as fast as the default and a tenth larger.
            if codec == AV_CODEC_ID_PNG { $0.pointee.compression_level = 1 }
        }
        self.input = input
        self.directory = directory
        prefixCount = directory.utf8.count + 1
        path = .allocate(capacity: prefixCount + 32)
        for (i, byte) in (directory + "/").utf8.enumerated() { path[i] = CChar(bitPattern: byte) }
    }

    deinit { path.deallocate() }

    /// Writes one picture; PNG unless the name ends in `.jpg` or `.jpeg`. Any thread but a stage's:
    /// allocates.
    ///
    /// - Throws: `LibAVError` naming the file.
    public static func write(_ frame: FrameBuffer, to path: String) throws(LibAVError) {
        try MediaPath(path).checkWritable()
        let name = path.lowercased()
        let isJPEG = name.hasSuffix(".jpg") || name.hasSuffix(".jpeg")
        let writer = try ImageWriter(
            codec: isJPEG ? AV_CODEC_ID_MJPEG : AV_CODEC_ID_PNG, input: frame.format, directory: "")
        let code = writer.write(frame, path)
        guard code < 0 else { return }
        throw LibAVError(operation: "write", code: code, file: path)
    }

    /// Writes the next picture of the series. Timestamps do not matter.
    ///
    /// - Parameter frame: of the input format.
    /// - Realtime: waits for the disk; allocates nothing of our own
    public func writeNext(_ frame: FrameBuffer) -> Status {
        precondition(!directory.isEmpty, "a writer of a series")
        appendNumber(offset + count + 1)
        let code = write(frame, path)
        guard code < 0 else {
            count += 1
            return .written
        }
        lastError = LibAVError(operation: "write", code: code, file: String(cString: path))
        return .failed
    }

    /// Completes `path` with `000001.png`.
    private func appendNumber(_ number: Int) {
        var digits = 6
        var limit = 1_000_000
        while number >= limit && digits < 18 {
            digits += 1
            limit *= 10
        }
        var rest = number
        for i in (0..<digits).reversed() {
            path[prefixCount + i] = CChar(48 + rest % 10)
            rest /= 10
        }
        // ".png"
        let end = path + prefixCount + digits
        (end[0], end[1], end[2], end[3], end[4]) = (46, 112, 110, 103, 0)
    }

    /// Encodes and writes a file; negative on failure.
    private func write(_ frame: FrameBuffer, _ path: UnsafePointer<CChar>) -> Int32 {
        precondition(
            frame.format.pixelFormat == input.pixelFormat && frame.format.width == input.width
                && frame.format.height == input.height, "a frame of the input format")
        var code = encoder.send(frame, time: time)
        if code >= 0 { code = encoder.receive() }
        guard code >= 0 else { return code }
        defer { av_packet_unref(encoder.packet) }
        time += 1
        return writeFile(
            path,
            UnsafeRawBufferPointer(
                start: encoder.packet.pointee.data, count: Int(encoder.packet.pointee.size)))
    }
}

/// Writes a whole file, and removes it again if that fails half-way; a libav code.
private func writeFile(_ path: UnsafePointer<CChar>, _ bytes: UnsafeRawBufferPointer) -> Int32 {
    // Not to wait: a named pipe that nobody reads is refused instead.
    let file = Glibc.open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK, 0o666)
    guard file >= 0 else { return clibav_error(errno) }
    var rest = bytes
    var error: Int32 = 0
    while !rest.isEmpty && error == 0 {
        let count = Glibc.write(file, rest.baseAddress, rest.count)
        if count >= 0 {
            rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(count))
        } else if errno != EINTR {
            error = errno
        }
    }
    var status = stat()
    let isRegular = fstat(file, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
    // Some file systems tell of a full disk only here.
    if Glibc.close(file) != 0 && error == 0 { error = errno }
    guard error != 0 else { return 0 }
    // Half a picture is of no use; a device is not ours to remove.
    if isRegular { unlink(path) }
    return clibav_error(error)
}
