// The command line: what it accepts and prints. All work is done in Daemon.

internal import ArgumentParser
internal import CAllocationCounter
internal import Daemon

@main
struct Lucida: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lucida",
        abstract: "A webcam, transformed by a neural network while it is being filmed.",
        discussion: """
            Frames go camera → network → virtual camera, each as soon as it is there. Choose \
            "Lucida" as the camera in your conferencing app.

              lucida run                          the main job, as configured
              lucida run --source test --sink file:out.mp4 --duration 10
              lucida ctl status                   what a running Lucida does; pause, set, watch …
              lucida devices                      which cameras there are, and their modes
              lucida doctor                       what is wrong with the set-up, and what mends it
              lucida transform talk.mp4 ink.mp4   a file, every frame
            """,
        version: "lucida \(lucidaVersion)",
        subcommands: [
            RunCommand.self, ControlCommand.self, DevicesCommand.self, DeviceCommand.self,
            DoctorCommand.self,
            TransformCommand.self,
            CheckConfigCommand.self,
            BenchCommand.self, CalibrateCommand.self, DemoCommand.self,
        ])

    static func main() {
        lucida_report_allocations()
        do {
            try checkCommandNames(Array(CommandLine.arguments.dropFirst()))
            var command = try parseAsRoot()
            try command.run()
        } catch {
            exit(withError: error)
        }
    }
}
