// Reads small files that may be anything: pipes, devices and endless files are refused. Blocks on the
// file system; control plane.

internal import Glibc

/// Why a file could not be read.
struct FileProblem: Error {
    /// What follows the file's name in a sentence: `is a directory; …`.
    let message: String
    /// Whether there is no such file.
    let isAbsent: Bool

    init(errno code: Int32) {
        message = "cannot be read: \(String(cString: strerror(code)))"
        isAbsent = code == ENOENT || code == ENOTDIR
    }

    init(_ message: String) {
        self.message = message
        isAbsent = false
    }
}

/// All bytes of a regular file, or of what a symbolic link to one leads to.
///
/// - Parameters:
///   - bytesMax: a longer file is refused after so many bytes.
///   - kind: what it should be, for the error: `configuration file`.
func readRegularFile(
    _ path: String, bytesMax: Int, kind: String
) throws(FileProblem) -> [UInt8] {
    guard isText(path) else { throw FileProblem("not a path") }
    // Non-blocking: opening a pipe would wait for its writer.
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { throw FileProblem(errno: errno) }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw FileProblem(errno: errno) }
    switch status.st_mode & S_IFMT {
    case S_IFREG: break
    case S_IFDIR: throw FileProblem("is a directory; name the file in it")
    default: throw FileProblem("is not a regular file")
    }
    let bytes = try read(descriptor, upTo: bytesMax + 1)
    guard bytes.count <= bytesMax else {
        throw FileProblem("larger than \(bytesMax >> 20) MiB: this is no \(kind) of Lucida")
    }
    return bytes
}

private func read(_ descriptor: Int32, upTo limit: Int) throws(FileProblem) -> [UInt8] {
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 1 << 16)
    while bytes.count < limit {
        let count = Glibc.read(descriptor, &chunk, min(chunk.count, limit - bytes.count))
        if count == 0 { break }
        if count > 0 {
            bytes += chunk[..<count]
        } else if errno != EINTR {
            throw FileProblem(errno: errno)
        }
    }
    return bytes
}
