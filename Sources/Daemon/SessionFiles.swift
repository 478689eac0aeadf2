// What is looked at before a run begins: that nothing it writes destroys what it reads, or what somebody has. Control thread.

internal import FoundationEssentials
internal import Glibc
internal import LibAV
internal import Logging
internal import Pipeline
internal import Video

/// The files that a configuration and the command line name.
struct SessionFiles {
    let configuration: Configuration
    let options: SessionOptions
    /// The configuration itself.
    let configPath: String?

    /// Refuses before the run what would fail, or destroy something, after it.
    ///
    /// - Throws: `SessionError`, with what to do.
    func check() throws {
        try requireInputStays()
        try requireDifferentOutputs()
        if options.isOffline && !options.overwrites { try requireNothingThere() }
        try requireOnePicture()
        try requireOwnFiles()
    }

    private func requireInputStays() throws(SessionError) {
        guard case .file(let input) = configuration.camera.source, let inode = FileIdentity(input)
        else { return }
        for sink in configuration.output.sinks {
            switch sink {
            case .file(let output) where FileIdentity(output) == inode:
                throw SessionError(
                    "\(output) is the input itself: name another file for the output")
            case .frames(let folder) where options.isOffline && inode.isIn(folder):
                throw SessionError("the input is in \(folder): name another folder for the output")
            default: continue
            }
        }
    }

    private func requireDifferentOutputs() throws(SessionError) {
        var names: [(path: String, inode: FileIdentity)] = []
        for sink in configuration.output.sinks {
            let path: String
            switch sink {
            case .file(let name), .frames(let name): path = name
            default: continue
            }
            guard let inode = FileIdentity(path) else { continue }
            if let same = names.first(where: { $0.inode == inode }) {
                throw SessionError("\(same.path) and \(path) are the same: name each output once")
            }
            names.append((path, inode))
        }
    }

    /// What took hours to make is not lost to a slip of the keyboard. An empty file is one that was made for this.
    private func requireNothingThere() throws(SessionError) {
        let advice = "name another output, or write over it with --overwrite"
        for sink in configuration.output.sinks {
            switch sink {
            case .file(let path):
                var status = stat()
                if stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFREG, status.st_size > 0
                {
                    throw SessionError("\(path) is there already: \(advice)")
                }
            case .frames(let folder) where ImageWriter.hasSeries(in: folder):
                throw SessionError("there are pictures in \(folder) already: \(advice)")
            default: continue
            }
        }
    }

    private func requireOnePicture() throws(SessionError) {
        for case .file(let output) in configuration.output.sinks
        where SinkName.file(output).isPicture && hasManyFrames() {
            let stem = output.prefix(upTo: output.lastIndex(of: ".") ?? output.endIndex)
            throw SessionError(
                "\(output) is one picture, but there are more frames: name a video (\(stem).mp4), or a "
                    + "folder for a picture of each (lucida transform … \(stem)/, a sink frames:\(stem))"
            )
        }
    }

    /// Report and picture take the place of what is there: of no file that the run reads or writes otherwise.
    private func requireOwnFiles() throws {
        var others: [(path: String, role: String)] = []
        if case .file(let input) = configuration.camera.source {
            others.append((input, "the input"))
        }
        for case .file(let output) in configuration.output.sinks {
            others.append((output, "an output"))
        }
        if let configPath { others.append((configPath, "the configuration")) }
        let own = [
            (configuration.report.path, "the report"), (options.picturePath ?? "", "the picture"),
        ]
        for (path, role) in own where !path.isEmpty {
            try requireWritableFolder(of: path)
            if let inode = FileIdentity(path),
                let other = others.first(where: { FileIdentity($0.path) == inode })
            {
                throw SessionError("\(path) is \(other.role): name another file for \(role)")
            }
            others.append((path, role))
        }
    }

    /// Whether more than one frame will come; false where looking would take frames away, or nothing
    /// can be read, which a run says better.
    private func hasManyFrames() -> Bool {
        guard case .file(let path) = configuration.camera.source else { return true }
        var status = stat()
        let isThere = stat(path, &status) == 0
        guard !path.contains("://"), !isThere || status.st_mode & S_IFMT == S_IFREG else {
            return false
        }
        let source = FileSource(
            path: path, output: FrameSize(width: 16, height: 16), fit: .crop, isMirrored: false,
            isPaced: false, log: Logger(label: "look") { _ in SwiftLogNoOpLogHandler() })
        defer { source.finish() }
        guard let format = try? source.prepare() else { return false }
        let frame = FrameBuffer(format: format)
        var count = 0
        while count < 2 {
            switch source.next(into: frame) {
            case .frame: count += 1
            case .again, .badFrame: continue
            default: return false
            }
        }
        return true
    }
}

/// Which file a path leads to, whatever its name: device and inode, or those of its folder and a name in it while
/// it is not there.
private struct FileIdentity: Equatable {
    private let device: dev_t
    private let inode: ino_t
    private let name: String
    private let path: String

    /// `nil` if there is neither.
    init?(_ path: String) {
        self.path = path
        var status = stat()
        if stat(path, &status) == 0 {
            name = ""
        } else {
            let url = URL(filePath: path)
            guard stat(url.deletingLastPathComponent().path, &status) == 0 else { return nil }
            name = url.lastPathComponent
        }
        (device, inode) = (status.st_dev, status.st_ino)
    }

    static func == (a: Self, b: Self) -> Bool {
        (a.device, a.inode, a.name) == (b.device, b.inode, b.name)
    }

    /// Whether the file, or the series of files, is in a folder.
    func isIn(_ folder: String) -> Bool {
        var status = stat()
        let parent = URL(filePath: path).deletingLastPathComponent().path
        guard let own = FileIdentity(parent), stat(folder, &status) == 0 else { return false }
        return own.name.isEmpty && (own.device, own.inode) == (status.st_dev, status.st_ino)
    }
}
