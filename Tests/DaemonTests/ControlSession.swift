// A session to steer without camera, network and threads, and a client of its socket.

import Foundation
import Glibc
import Logging
import Models
import Pipeline
import Testing
import Video

@testable import Daemon

/// Keeps what it was told to look like; refuses styles named `never`.
final class RecordingTransform: LiveTransform, @unchecked Sendable {
    let lookAheadFrames = 0
    let delayFrames = 0
    func prepare(format: VideoFormat) throws {}
    func process(
        _ input: FrameBuffer, into output: FrameBuffer, elapsedNanoseconds: Int64
    ) -> TransformResult { .failed }
    func reset() {}
    let workShare: WorkShare? = nil
    func writePicture(to path: String) throws {}
    var setup: LivenessReport.Setup {
        LivenessReport.Setup(
            version: "", model: "", architecture: "", style: "", size: "", modelSize: "",
            threads: 1, processor: "",
            instructionSet: "", blasCore: "", precision: "", precisionReason: "")
    }

    private(set) var changes: [Configuration.Transform] = []

    func change(to settings: Configuration.Transform) throws {
        if settings.style.description == "never" { throw SessionError("no style \"never\"") }
        changes.append(settings)
    }
}

/// A configuration file in a folder of its own, and what steers a session by it.
final class SteeredSession {
    let folder: URL
    let file: URL
    let transform = RecordingTransform()
    let pipeline: Pipeline
    let control: SessionControl

    static let model = URL(filePath: #filePath).deletingLastPathComponent()
        .appending(path: "../ModelsTests/Resources/streaming-unet.safetensors")
        .standardizedFileURL.path

    init(_ text: String = "", overrides: [ConfigurationOverride] = []) throws {
        folder = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        file = folder.appending(path: "lucida.toml")
        try Data(text.utf8).write(to: file)
        let model = ConfigurationOverride(
            option: "--set", key: "transform.model", value: Self.model)
        let source = ConfigurationSource(
            explicitPath: file.path, environment: [:], overrides: overrides + [model])
        pipeline = Pipeline(
            source: SyntheticCamera(
                format: VideoFormat(
                    pixelFormat: .rgb24, width: 64, height: 48, frameRate: FrameRate(30)),
                isPaced: false, isMirrored: false),
            transform: transform, sinks: [], options: PipelineOptions())
        control = SessionControl(
            source: source, loaded: try source.load(), pipeline: pipeline, transform: transform,
            front: Self.noFront, pauseNote: PauseNote(environment: [:]),
            log: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    }

    /// For sessions whose source and network stay as they are.
    static var noFront: FrontMaker {
        FrontMaker(
            source: { _ in throw SessionError("no source") },
            transform: { _ in throw SessionError("no network") })
    }

    deinit { try? FileManager.default.removeItem(at: folder) }

    func write(_ text: String) throws { try Data(text.utf8).write(to: file) }

    /// All that a request could change.
    var state: String {
        "\(control.configuration) \(pipeline.isPaused) \(transform.changes.count)"
    }

    func answer(_ request: ControlRequest) -> ControlReply {
        control.answer(request) {
            ControlStatus(
                pipeline: pipeline, recentSeconds: 4, runSeconds: 1, source: "test", readers: nil,
                control: control)
        }
    }
}

/// A client that never waits.
final class RawClient {
    let descriptor: Int32
    private(set) var input: [UInt8] = []
    private(set) var isClosed = false

    init(path: String) throws {
        descriptor = makeUnixSocket(nonBlocking: true)
        try #require(withSocketAddress(path) { connect(descriptor, $0, $1) } == 0)
    }

    deinit { close(descriptor) }

    /// How many bytes went.
    @discardableResult
    func send(_ bytes: [UInt8]) -> Int {
        Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL))
    }

    func send(_ text: String) { send(Array(text.utf8)) }

    /// The next line that has come, if one has.
    func line() -> String? {
        var bytes = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            if let end = input.firstIndex(of: 0x0A) {
                defer { input.removeSubrange(...end) }
                return String(decoding: input[..<end], as: UTF8.self)
            }
            let count = recv(descriptor, &bytes, bytes.count, 0)
            if count == 0 { isClosed = true }
            guard count > 0 else { return nil }
            input += bytes[..<count]
        }
    }
}
