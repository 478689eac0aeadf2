// Puts room, person, noise and barcode together into a frame.

internal import Video

/// Everything painted in advance for one picture size, and how to compose a frame of it.
/// Made by the control thread, used by the capture thread.
final class Scene: @unchecked Sendable {
    private let width: Int
    private let height: Int
    /// Pixels a scene unit.
    private let scale: Float
    private let seed: UInt64
    // Immutable after the init.
    private let room: UnsafeMutablePointer<UInt8>
    private let torso: Sprite
    private let head: Sprite
    private let arm: Sprite
    private let noise: SensorNoise

    /// Paints all layers. Allocates, and takes a while for large pictures.
    init(width: Int, height: Int, seed: UInt64) {
        self.width = width
        self.height = height
        self.seed = seed
        // A landscape picture shows one unit of height; a narrow one at least 1.15 of width.
        scale = min(Float(height), Float(width) / 1.15)
        room = .allocate(capacity: 3 * width * height)
        torso = Sprite(Person.torsoBox, scale: scale, paint: Person.paintTorso)
        head = Sprite(Person.headBox, scale: scale, paint: Person.paintHead)
        arm = Sprite(Person.armBox, scale: scale, paint: Person.paintArm)
        noise = SensorNoise(width: width, seed: seed)
        paintRoom()
    }

    deinit { room.deallocate() }

    /// Draws the picture of one frame, without its barcode.
    ///
    /// - Realtime: allocates nothing
    func draw(frameNumber: UInt64, seconds: Double, into frame: FrameBuffer) {
        let pose = Pose(seconds: seconds, seed: seed)
        let pixels = frame.plane(0)
        pixels.update(from: room, count: 3 * width * height)
        draw(torso, x: pose.torsoX, y: 0.696 + pose.torsoY, angle: pose.torsoAngle, pixels)
        let headPlace = place(
            x: pose.headX, y: 0.445 + pose.headY, angle: pose.headAngle, scale: pose.headScale)
        head.draw(at: headPlace, into: pixels, width: width, height: height)
        let facePlace = Placement(
            x: headPlace.x, y: headPlace.y, angle: headPlace.angle, scale: headPlace.scale * scale)
        Face(frame: pixels, width: width, height: height, place: facePlace).draw(pose)
        if pose.armRaise > 0 {
            let elbowY = 0.985 + 0.55 * (1 - pose.armRaise)
            draw(arm, x: 0.415 + pose.torsoX, y: elbowY, angle: pose.armAngle, pixels)
        }
        noise.apply(
            to: pixels, height: height, exposure: pose.exposure, frameNumber: frameNumber)
    }

    private func place(x: Float, y: Float, angle: Float, scale relative: Float = 1) -> Placement {
        Placement(
            x: Float(width) / 2 + x * scale, y: Float(height) + (y - 1) * scale, angle: angle,
            scale: relative)
    }

    private func draw(
        _ sprite: Sprite, x: Float, y: Float, angle: Float, _ pixels: UnsafeMutablePointer<UInt8>
    ) {
        sprite.draw(
            at: place(x: x, y: y, angle: angle), into: pixels, width: width, height: height)
    }

    /// In bands: a canvas takes 16 bytes a pixel, a quarter gigabyte for the largest picture.
    private func paintRoom() {
        let bandHeight = 256
        for top in stride(from: 0, to: height, by: bandHeight) {
            let rows = min(bandHeight, height - top)
            let canvas = Canvas(
                width: width, height: rows, scale: scale, originX: Float(width) / 2,
                originY: Float(height) - scale - Float(top))
            Room.paint(on: canvas)
            let target = room + 3 * width * top
            for pixel in 0..<width * rows {
                for channel in 0..<3 {
                    let value = clamp01(canvas.pixels[4 * pixel + channel]) * 255 + 0.5
                    (target + 3 * pixel + channel).initialize(to: UInt8(value))
                }
            }
        }
    }
}
