// `lucida calibrate`: what reduced precision costs a model, written into its file.

internal import ArgumentParser
internal import Daemon
internal import FoundationEssentials
internal import Logging

struct CalibrateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "calibrate",
        abstract: "Measure what each precision costs a model, and note it in the model's file.",
        discussion: """
            performance.precision = "auto" takes only precisions whose noted figures stay at \
            40 dB of f32 or above and lose at most 0.3 dB PSNR to the teacher (without a \
            teacher: 50 dB of f32). A file without figures runs in f32. The drawn camera is \
            always measured; footage like that which the model is for makes the figures count. \
            Figures against a teacher are replaced by new ones against a teacher only.
            """)

    @Option(
        name: .long, help: ArgumentHelp("The model file.", valueName: "file"),
        completion: .file(extensions: ["safetensors"]))
    var model: String

    @Option(
        name: .long,
        help: ArgumentHelp("File to write; else the model file itself.", valueName: "file"),
        completion: .file())
    var output: String?

    @Option(
        name: .long, parsing: .singleValue,
        help: ArgumentHelp("Footage to measure on. May be repeated.", valueName: "file"),
        completion: .file())
    var clip: [String] = []

    @Option(
        name: .long, parsing: .singleValue,
        help: ArgumentHelp(
            "The teacher's version of each --clip, in the same order, lossless; {style} in its "
                + "name stands for each of the model's styles.",
            valueName: "file"), completion: .file())
    var teacher: [String] = []

    @Option(
        name: .long, help: ArgumentHelp("Size at which the network works.", valueName: "WxH"))
    var size = "640x384"

    @Option(
        name: .long, parsing: .unconditional,
        help: ArgumentHelp("Every which frame is measured.", valueName: "count"))
    var interval = 8

    func validate() throws {
        guard teacher.isEmpty || teacher.count == clip.count else {
            throw ValidationError("give as many --teacher as --clip, or none")
        }
        guard (1...100_000).contains(interval) else {
            throw ValidationError("--interval is 1 … 100000")
        }
        let (width, height) = try parseSize(size)
        for length in [width, height] {
            guard let pixels = Int(length), (16...4096).contains(pixels) else {
                throw ValidationError("--size is 16x16 … 4096x4096")
            }
        }
    }

    func run() throws {
        let (width, height) = try parseSize(size)
        let log = startLogging(level: .info, environment: ProcessInfo.processInfo.environment)
        let target = output ?? model
        try ModelCalibration.requireWritable(
            target, model: model, hasTeacher: !teacher.isEmpty)
        let calibration = try ModelCalibration(
            model: model,
            clips: clip.indices.map { index in
                ModelCalibration.Clip(
                    path: clip[index], teacher: teacher.isEmpty ? nil : teacher[index])
            },
            width: Int(width) ?? 640, height: Int(height) ?? 384, interval: interval, log: log)
        print(calibration.text, terminator: "")
        try calibration.write(to: target)
        print("written: \(target)")
    }
}
