// The file of measurements: what is kept, what is refused, and what two processes make of it.

import Foundation
import Glibc
import Logging
import NeuralEngine
import Testing

@testable import Daemon

/// Collects what is logged.
private final class Messages: @unchecked Sendable {
    private(set) var all: [String] = []

    var logger: Logger {
        var logger = Logger(label: "test") { _ in Handler(messages: self) }
        logger.logLevel = .info
        return logger
    }

    private struct Handler: LogHandler {
        let messages: Messages
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.info

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) { messages.all.append("\(event.message)") }
    }
}

@Suite struct TuningCacheTests {
    let folder: URL
    private let messages = Messages()

    init() throws {
        folder = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    }

    private var path: String { folder.path + "/tuning.json" }

    private func cache(_ processor: String = "a processor") -> TuningCache {
        TuningCache(environment: ["CACHE_DIRECTORY": folder.path], processor: processor)
    }

    /// Prepares a network of one layer, which is measured where `tuning` does not know it.
    private func measure(_ tuning: ConvolutionTuning, channels: Int = 16) throws {
        let builder = PlanBuilder(
            backend: try Backend.shared(), pool: try WorkerPool(threads: 1), tuning: tuning)
        let x = builder.input(TensorShape(channels: channels, height: 8, width: 8))
        let weights = try ConvolutionWeights(
            outputs: 16, inputs: channels, kernel: 3,
            values: [Float](repeating: 0, count: 16 * channels * 9))
        _ = try builder.build(outputs: [try builder.convolution("layer", x, weights)])
    }

    @Test func `what was measured is known on the next start`() throws {
        let first = cache().load(log: messages.logger)
        #expect(first.choices.isEmpty)
        try measure(first)
        try #require(first.hasMeasured)
        cache().save(first, log: messages.logger)
        let second = cache().load(log: messages.logger)
        #expect(second.choices == first.choices && !second.hasMeasured)
        #expect(messages.all == [])
    }

    @Test func `another processor keeps choices of its own`() throws {
        for processor in ["one", "two"] {
            let cache = cache(processor)
            let tuning = cache.load(log: messages.logger)
            try measure(tuning)
            #expect(tuning.hasMeasured)
            cache.save(tuning, log: messages.logger)
        }
        #expect(cache().load(log: messages.logger).choices.count == 2)
    }

    @Test func `two processes keep what the other has measured`() throws {
        let (a, b) = (cache(), cache())
        let (first, second) = (a.load(log: messages.logger), b.load(log: messages.logger))
        try measure(first)
        try measure(second, channels: 32)
        a.save(first, log: messages.logger)
        b.save(second, log: messages.logger)
        let all = cache().load(log: messages.logger).choices
        #expect(all == first.choices.merging(second.choices) { $1 })
        #expect(all.count == 2)
    }

    @Test func `many writers at once lose nothing`() async throws {
        let log = messages.logger
        try await withThrowingTaskGroup(of: Void.self) { group in
            for channels in 1...8 {
                let cache = cache()
                let tuning = cache.load(log: log)
                try measure(tuning, channels: 16 * channels)
                let box = Box(cache: cache, tuning: tuning)
                group.addTask { box.cache.save(box.tuning, log: log) }
            }
            try await group.waitForAll()
        }
        #expect(cache().load(log: log).choices.count == 8)
        let left = try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
        #expect(left == ["tuning.json", "tuning.json.lock"])
    }

    /// Each is used by one task.
    private struct Box: @unchecked Sendable {
        let cache: TuningCache
        let tuning: ConvolutionTuning
    }

    /// Loads, which must find nothing, then measures and saves.
    private func restart() throws {
        let cache = cache()
        let tuning = cache.load(log: messages.logger)
        #expect(tuning.choices.isEmpty)
        try measure(tuning)
        cache.save(tuning, log: messages.logger)
    }

    @Test func `another version of the file is replaced in silence`() throws {
        let text = #"{"version": 1, "choices": {"a": "direct f32, 24 tiles"}}"#
        try Data(text.utf8).write(to: URL(filePath: path))
        try restart()
        #expect(messages.all == [])
        #expect(cache().load(log: messages.logger).choices.count == 1)
    }

    @Test(arguments: ["", "[", "{}", #"{"version": 2, "choices": [1]}"#, "\u{0}"])
    func `a damaged file is named and replaced`(text: String) throws {
        try Data(text.utf8).write(to: URL(filePath: path))
        try restart()
        #expect(messages.all.count == 1)
        #expect(messages.all.allSatisfy { $0.contains(path) && $0.contains("remove it") })
        #expect(cache().load(log: messages.logger).choices.count == 1)
    }

    @Test func `a file of any size is refused without being read`() throws {
        _ = FileManager.default.createFile(atPath: path, contents: nil)
        // Sparse: reading it all would take minutes and all memory.
        try #require(truncate(path, 1 << 40) == 0)
        try restart()
        #expect(messages.all.first?.contains("larger than 1 MiB") == true)
        #expect(cache().load(log: messages.logger).choices.count == 1)
    }

    @Test func `more than fits is dropped for what was measured now`() throws {
        let choices = (0..<13_000).map {
            "\"a processor of long ago, and its layer number \($0)\": \"direct f32, 24 tiles\""
        }
        let text = "{\"version\": 2, \"choices\": {\(choices.joined(separator: ","))}}"
        // Fits as it is, and no more once it is laid out line by line.
        try #require(text.utf8.count <= TuningCache.byteLimit)
        try Data(text.utf8).write(to: URL(filePath: path))
        let cache = cache()
        let tuning = cache.load(log: messages.logger)
        #expect(tuning.choices.count == 13_000)
        try measure(tuning)
        cache.save(tuning, log: messages.logger)
        #expect(self.cache().load(log: messages.logger).choices.count == 1)
    }

    @Test func `a pipe, a device and a directory are refused at once`() throws {
        try #require(mkfifo(path, 0o644) == 0)
        try restart()
        #expect(messages.all.last?.contains("is not a regular file") == true)
        // It was replaced. A link is followed to what can be read, and replaced itself.
        unlink(path)
        try #require(symlink("/dev/zero", path) == 0)
        try restart()
        #expect(messages.all.last?.contains("is not a regular file") == true)
        unlink(path)
        try #require(mkdir(path, 0o755) == 0)
        try restart()
        #expect(messages.all.last?.contains("cannot be kept in \(path)") == true)
        #expect(messages.all.dropLast().last?.contains("is a directory") == true)
        #expect(!FileManager.default.fileExists(atPath: path + ".new"))
    }

    @Test func `where nothing can be written, it says where and what to do`() throws {
        let file = folder.path + "/file"
        _ = FileManager.default.createFile(atPath: file, contents: nil)
        let cache = TuningCache(environment: ["CACHE_DIRECTORY": file + "/below"], processor: "")
        let tuning = cache.load(log: messages.logger)
        try measure(tuning)
        cache.save(tuning, log: messages.logger)
        let message = try #require(messages.all.first)
        #expect(message.contains(file + "/below") && message.contains("XDG_CACHE_HOME"))
        #expect(!message.contains("CocoaError"))
    }

    @Test(arguments: [[:], ["HOME": "relative"], ["XDG_CACHE_HOME": ""]])
    func `without a home nothing is kept, and it says so`(environment: [String: String]) throws {
        let cache = TuningCache(environment: environment, processor: "")
        let tuning = cache.load(log: messages.logger)
        try measure(tuning)
        cache.save(tuning, log: messages.logger)
        #expect(messages.all.count == 1)
        #expect(messages.all.first?.contains("set HOME") == true)
    }

    @Test func `a lock that is never given back does not stop a start`() throws {
        let descriptor = open(path + ".lock", O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
        defer { close(descriptor) }
        try #require(flock(descriptor, LOCK_EX) == 0)
        try restart()
        #expect(messages.all.last?.contains("another lucida has held") == true)
    }
}
