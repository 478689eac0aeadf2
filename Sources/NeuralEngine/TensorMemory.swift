// Tensors that belong to no plan: what several plans read and write in turn.

/// Memory of some tensors, zeroed. Control thread; its views are valid while it lives.
public final class TensorMemory: @unchecked Sendable {
    /// In the order of the shapes.
    public let views: [TensorView]
    /// Bytes of all of them.
    public var byteCount: Int { arena.byteCount }

    private let arena = Arena()

    /// - Throws: if the system has no memory for them.
    public init(_ shapes: [TensorShape]) throws(EngineError) {
        let arena = arena
        let regions = shapes.map { arena.plan($0.count) }
        try arena.allocate()
        views = zip(shapes, regions).map { TensorView(shape: $0, base: arena.pointer($1)) }
    }
}
