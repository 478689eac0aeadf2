// Which settings take effect in a running Lucida. Control plane.

extension ConfigurationSchema {
    /// What a reload or `lucida ctl set` changes from one frame to the next. None of them is a path,
    /// a URL or a device: those come from the file and the command line alone.
    static let liveKeys: Set<String> = [
        "transform.style", "transform.strength", "transform.temporal", "transform.seed",
        "transform.steps", "transform.stream_batch", "transform.fade", "transform.on_failure",
        "camera.on_demand", "camera.linger", "log.level",
    ]

    /// What a reload changes by opening the source anew behind the last picture.
    static let sourceKeys: Set<String> = [
        "camera.source", "camera.width", "camera.height", "camera.rate", "camera.pixel_format",
        "camera.power_line_frequency", "camera.exposure_dynamic_framerate", "camera.mirror",
        controlsSection,
    ]

    /// What a reload changes by preparing another network beside the one that runs.
    static let networkKeys: Set<String> = [
        "transform.model", "transform.model_width", "transform.model_height",
        "performance.threads", "performance.temporal_reuse", "performance.precision",
    ]

    /// Names of the settings in which two configurations differ, in the order of the schema.
    static func differences(_ a: Configuration, _ b: Configuration) -> [String] {
        let names = keys.filter { $0.read(a) != $0.read(b) }.map(\.name)
        return names + (a.camera.controls == b.camera.controls ? [] : [controlsSection])
    }
}

extension Configuration {
    /// This configuration, but with the values of `other` for `names`.
    func taking(_ names: Set<String>, from other: Configuration) -> Configuration {
        var result = self
        for key in ConfigurationSchema.keys where names.contains(key.name) {
            let value = key.read(other)
            if value == .unset { result.camera.exposureDynamicFramerate = nil }
            // What one configuration holds, another may hold.
            _ = key.write(value, &result)
        }
        if names.contains(ConfigurationSchema.controlsSection) {
            result.camera.controls = other.camera.controls
        }
        return result
    }
}
