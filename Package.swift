// swift-tools-version: 6.2
import PackageDescription

// Set by `make` under CI: a warning in our own code is then an error. Off elsewhere, so that a newer
// compiler with a new warning never keeps a user from building.
let warningsAreErrors = Context.environment["LUCIDA_WARNINGS_AS_ERRORS"] == "1"

let swiftSettings: [SwiftSetting] =
    [
        .swiftLanguageMode(.v6),
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("MemberImportVisibility"),
        .enableUpcomingFeature("InternalImportsByDefault"),
    ] + (warningsAreErrors ? [.treatAllWarnings(as: .error)] : [])

// `make test-ring` builds the ring with one memory ordering weakened and expects ThreadSanitizer to
// object: a check of the check.
let ringSettings: [SwiftSetting] =
    Context.environment["LUCIDA_WEAKEN_RING"] == "1" ? [.define("WEAKENED_RING")] : []

let cSettings: [CSetting] = warningsAreErrors ? [.treatAllWarnings(as: .error)] : []
let cxxSettings: [CXXSetting] = warningsAreErrors ? [.treatAllWarnings(as: .error)] : []

/// A library target of ours: a module knows only those above it in the table of ARCHITECTURE.md.
func module(
    _ name: String, _ dependencies: [Target.Dependency], settings: [SwiftSetting] = []
) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: swiftSettings + settings)
}

func tests(_ name: String, _ dependencies: [Target.Dependency], resources: [Resource] = [])
    -> Target
{
    .testTarget(
        name: name, dependencies: dependencies, resources: resources, swiftSettings: swiftSettings)
}

let package = Package(
    name: "lucida",
    products: [.executable(name: "lucida", targets: ["lucida"])],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
    ],
    targets: [
        // C: what Swift cannot import or should not write.
        .target(name: "CLinux", cSettings: cSettings),
        .systemLibrary(
            name: "CLibAV", pkgConfig: "libavformat libavcodec libswscale libavutil",
            providers: [.apt(["libavcodec-dev", "libavformat-dev", "libswscale-dev"])]),
        .systemLibrary(
            name: "CLibV4L", pkgConfig: "libv4lconvert", providers: [.apt(["libv4l-dev"])]),
        .target(name: "CBLAS", cSettings: cSettings),
        .target(name: "CKernels", cSettings: cSettings),
        .target(name: "CAllocationCounter", dependencies: ["CLinux"], cSettings: cSettings),
        .target(name: "CTOML", cxxSettings: cxxSettings),

        // Base.
        module("Realtime", ["CLinux"], settings: ringSettings),
        module("Video", []),

        // Devices.
        module("V4L2", ["CLinux", "CLibV4L", "Realtime", "Video"]),
        module("LibAV", ["CLibAV", "Realtime", "Video"]),

        // Network.
        module("NeuralEngine", ["CBLAS", "CKernels", "Realtime"]),
        module("Models", ["NeuralEngine", "Realtime"]),

        // Data plane.
        module("Pipeline", ["Realtime", "Video"]),

        // Control plane and application.
        module(
            "Daemon",
            [
                "CLinux", "CTOML", "Realtime", "Video", "V4L2", "LibAV", "NeuralEngine", "Models",
                "Pipeline",
                .product(name: "Logging", package: "swift-log"),
            ]),
        .executableTarget(
            name: "lucida",
            dependencies: [
                "CAllocationCounter", "Daemon",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
            ], swiftSettings: swiftSettings),

        // An executable of its own, so that ThreadSanitizer builds the ring and nothing else.
        .executableTarget(
            name: "ring-stress", dependencies: ["Realtime"], path: "Tests/RingStress",
            swiftSettings: swiftSettings),
        tests("RealtimeTests", ["Realtime"]),
        tests("VideoTests", ["Video"]),
        tests("V4L2Tests", ["CLinux", "V4L2", "Video"]),
        tests("LibAVTests", ["LibAV", "Video"]),
        tests(
            "NeuralEngineTests", ["NeuralEngine", "CKernels", "CBLAS"],
            resources: [.copy("Resources")]),
        tests("ModelsTests", ["Models", "NeuralEngine"], resources: [.copy("Resources")]),
        tests("PipelineTests", ["Pipeline", "Realtime", "Video"]),
        tests(
            "DaemonTests",
            [
                "Daemon", "Models", "NeuralEngine", "Pipeline", "V4L2", "Video",
                .product(name: "Logging", package: "swift-log"),
            ]),
        tests("ArchitectureTests", []),
    ],
    cxxLanguageStandard: .cxx17
)
