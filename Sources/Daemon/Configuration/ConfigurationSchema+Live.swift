// Which settings take effect in a running Lucida. Control plane.

extension ConfigurationSchema {
    /// What a reload or `lucida ctl set` changes at once; all else counts from the next start on.
    /// None of them is a path, a URL or a device: those come from the file and the command line alone.
    static let liveKeys: Set<String> = [
        "transform.style", "transform.strength", "transform.temporal", "transform.seed",
        "transform.steps", "transform.stream_batch", "transform.fade", "transform.on_failure",
        "log.level",
    ]

    /// Names of the settings in which two configurations differ, in the order of the schema.
    static func differences(_ a: Configuration, _ b: Configuration) -> [String] {
        let names = keys.filter { $0.read(a) != $0.read(b) }.map(\.name)
        return names + (a.camera.controls == b.camera.controls ? [] : [controlsSection])
    }
}

extension Configuration {
    /// This configuration, but with the values of `other` for all that is live.
    func takingLive(from other: Configuration) -> Configuration {
        var result = self
        for key in ConfigurationSchema.keys where ConfigurationSchema.liveKeys.contains(key.name) {
            // What one configuration holds, another may hold.
            _ = key.write(key.read(other), &result)
        }
        return result
    }
}
