/// The version that `lucida --version` prints and reports carry.
public let lucidaVersion = "0.1.0"
