// How the person moves: a pure function of time and seed.

internal import Glibc

/// Everything that changes from frame to frame but the noise. Lengths in scene units.
struct Pose {
    var torsoX: Float
    var torsoY: Float
    var torsoAngle: Float
    var headX: Float
    var headY: Float
    var headAngle: Float
    var headScale: Float
    /// Where the face turns and looks, −1…1, right and down positive.
    var yaw: Float
    var pitch: Float
    var gazeX: Float
    var gazeY: Float
    /// 0 shut, 1 open.
    var eyeOpenness: Float
    var mouthOpenness: Float
    var smile: Float
    var browRaise: Float
    /// 0 out of sight, 1 fully raised.
    var armRaise: Float
    var armAngle: Float
    /// Gain of the camera's automatic exposure, around 1.
    var exposure: Float

    init(seconds: Double, seed: UInt64) {
        // The seed shifts every cycle, within an hour so that precision lasts.
        let salt = Int(truncatingIfNeeded: scramble(seed) >> 16)
        func cycle(_ hertz: Double, _ index: Int) -> Float {
            let turns = seconds * hertz + Double(random01(salt, index))
            return sinf(Float(turns - turns.rounded(.down)) * 2 * .pi)
        }
        let swayX = 0.030 * cycle(0.11, 1) + 0.012 * cycle(0.27, 2)
        torsoX = swayX * 0.6
        torsoY = 0.004 * cycle(0.24, 3)
        torsoAngle = 0.018 * cycle(0.13, 4)
        headX = swayX
        headY = 0.006 * cycle(0.24, 3) + 0.008 * cycle(0.19, 5)
        headAngle = 0.055 * cycle(0.17, 6) + 0.030 * cycle(0.43, 7)
        headScale = 1 + 0.02 * cycle(0.09, 8)
        yaw = 0.65 * cycle(0.12, 9) + 0.35 * cycle(0.31, 10)
        pitch = 0.7 * cycle(0.16, 11)

        let talk = Self.talking(seconds, salt)
        let syllables = 0.5 + 0.5 * cycle(3.7, 12)
        mouthOpenness = talk * (0.15 + 0.85 * syllables * (0.6 + 0.4 * cycle(1.3, 13)))
        smile = 0.75 + 0.25 * cycle(0.21, 14) - 0.3 * talk
        pitch += 0.35 * talk * cycle(1.1, 15)
        browRaise = smoothStep(0.55, 0.95, cycle(0.23, 16))

        (gazeX, gazeY) = Self.gaze(seconds, salt)
        eyeOpenness = 1 - Self.blink(seconds, salt)

        // The first wave is up between 1.5 and 4.5 seconds; then one every ten.
        let phase = Float(seconds.truncatingRemainder(dividingBy: 10))
        armRaise = smoothStep(0.9, 1.6, phase) * (1 - smoothStep(4.4, 5.2, phase))
        let wave = sinf(phase * 2 * .pi * 1.5)
        armAngle = 0.08 + 0.22 * wave * smoothStep(1.3, 1.9, phase)
        exposure = 1 + 0.022 * cycle(0.07, 17) + 0.010 * cycle(0.37, 18)
    }

    /// 1 during a phrase, 0 in the pause after it.
    private static func talking(_ seconds: Double, _ salt: Int) -> Float {
        let (cell, time) = split(seconds, length: 4)
        let length = 1.8 + 1.4 * random01(salt + 31, cell)
        return smoothStep(0.3, 0.5, time) * (1 - smoothStep(length, length + 0.2, time))
    }

    /// 1 while the lids are shut: once in every three seconds or so, for a fifth of a second.
    private static func blink(_ seconds: Double, _ salt: Int) -> Float {
        let (cell, time) = split(seconds, length: 2.9)
        let middle = 0.3 + 2.2 * random01(salt + 37, cell)
        return 1 - smoothStep(0.03, 0.11, abs(time - middle))
    }

    /// Saccades: mostly into the camera, now and then beside it.
    private static func gaze(_ seconds: Double, _ salt: Int) -> (Float, Float) {
        let (cell, time) = split(seconds, length: 1.3)
        let share = smoothStep(0, 0.09, time)
        let (oldX, oldY) = gazeTarget(cell - 1, salt)
        let (newX, newY) = gazeTarget(cell, salt)
        return (oldX + (newX - oldX) * share, oldY + (newY - oldY) * share)
    }

    private static func gazeTarget(_ cell: Int, _ salt: Int) -> (Float, Float) {
        guard random01(salt + 41, cell) > 0.55 else { return (0, 0) }
        return (2 * random01(salt + 43, cell) - 1, 1.2 * random01(salt + 47, cell) - 0.6)
    }

    private static func split(_ seconds: Double, length: Double) -> (cell: Int, time: Float) {
        let cell = (seconds / length).rounded(.down)
        return (Int(cell), Float(seconds - cell * length))
    }
}
