// A stream batch: frames that are under way together, each one step further than the one after it.

/// What a frame needs from its first step to its last.
final class StreamSlot {
    let frame: StreamFrame
    /// The past where it is now, 48 numbers a square.
    let aligned: UnsafeMutablePointer<UInt16>
    /// Where a frame of several steps began, 48 numbers a square.
    let start: UnsafeMutablePointer<UInt16>
    /// How much of the past is in its steps' ends, summed, of each square.
    let kept: UnsafeMutablePointer<Float>
    /// Trust in the past of each square, 0…1, before `temporal`.
    let trust: UnsafeMutablePointer<Float>
    /// How much of the past is used.
    var temporal: Float = 1

    init(backend: Backend, geometry: FrameGeometry, threads: Int, in allocator: StreamAllocator) {
        frame = StreamFrame(backend: backend, geometry: geometry, threads: threads, in: allocator)
        let squares = geometry.paddedWidth / 4 * (geometry.paddedHeight / 4)
        aligned = allocator.make(48 * squares, of: UInt16.self)
        start = allocator.make(48 * squares, of: UInt16.self)
        kept = allocator.make(squares, of: Float.self)
        trust = allocator.make(squares, of: Float.self)
    }
}

/// Frames under way at the same time (Kodaira et al. 2023, StreamDiffusion): in each frame's time
/// every one of them takes one step, and the oldest is finished.
///
/// Made by any thread; then it belongs to the one that runs the stream's steps, which is why it may
/// cross threads although it is not protected.
public final class StreamBatch: @unchecked Sendable {
    /// Frames under way, as many as there are steps: 2 or more.
    public let count: Int
    /// The network's input of each step. The first is the stream's, the others keep what is under
    /// way from frame to frame.
    public let inputs: [TensorView]
    /// Bytes allocated, but for rows that are scaled.
    public var byteCount: Int { memory.byteCount + allocator.byteCount }

    /// Bytes that a batch would allocate, nearly.
    public static func byteCount(
        steps: Int, input: TensorShape, geometry: FrameGeometry
    ) -> Int {
        let squares = geometry.paddedWidth / 4 * (geometry.paddedHeight / 4)
        let slot =
            squares * (2 * 48 * MemoryLayout<UInt16>.size + 2 * MemoryLayout<Float>.size)
            + 3 * geometry.frameWidth * geometry.frameHeight
        return (steps - 1) * 4 * input.count + steps * slot
    }

    private let memory: TensorMemory
    private let allocator = StreamAllocator()
    private let geometry: FrameGeometry
    // A frame stays in its slot; copies, because a frame of its caller is soon gone.
    private let slots: [(slot: StreamSlot, copy: UnsafeMutablePointer<UInt8>)]
    private var newest = 0
    // Slots that hold a frame.
    private var filled = 0

    /// - Parameters:
    ///   - steps: 2 or more.
    ///   - input: of the stream's steps.
    ///   - threads: of the pool that runs them.
    public init(
        steps: Int, input: TensorView, backend: Backend, geometry: FrameGeometry, threads: Int
    ) throws(EngineError) {
        precondition(steps >= 2, "one step has nothing to wait for")
        let allocator = allocator
        count = steps
        self.geometry = geometry
        memory = try TensorMemory(Array(repeating: input.shape, count: steps - 1))
        inputs = [input] + memory.views
        slots = (0..<steps).map { _ in
            (
                StreamSlot(
                    backend: backend, geometry: geometry, threads: threads, in: allocator),
                allocator.make(3 * geometry.frameWidth * geometry.frameHeight, of: UInt8.self)
            )
        }
    }

    /// The slot of the frame that takes step `index` now; nil if there is none yet.
    func slot(of index: Int) -> StreamSlot? { index < filled ? slots[place(of: index)].slot : nil }

    /// A frame comes in, the one that was finished goes.
    ///
    /// - Returns: its slot.
    func begin(_ pointers: FramePointers) -> StreamSlot {
        newest = (newest + 1) % count
        filled = min(filled + 1, count)
        let (slot, copy) = slots[newest]
        let stride = 3 * geometry.frameWidth
        for y in 0..<geometry.frameHeight {
            (copy + y * stride).update(
                from: pointers.frame + y * pointers.frameStride, count: stride)
        }
        slot.frame.set(copy, stride: stride)
        return slot
    }

    /// The frame that is finished now, in place of the newest; nil if there is none yet.
    func oldest(_ pointers: FramePointers) -> FramePointers? {
        guard filled == count else { return nil }
        var pointers = pointers
        pointers.frame = UnsafePointer(slots[place(of: count - 1)].copy)
        pointers.frameStride = 3 * geometry.frameWidth
        return pointers
    }

    /// Drops what is under way.
    func drop() { filled = 0 }

    private func place(of index: Int) -> Int { (newest + count - index) % count }
}
