// One allocation for all that a prepared model needs, planned before it is made.

internal import Glibc

/// Plans offsets first, allocates once, frees at the end. Regions are 64-byte aligned.
///
/// Mapped, not taken from the heap: what a measurement needed goes back to the system at once.
/// Not for memory whose size is unknown when the model is prepared.
final class Arena {
    /// A planned piece of the arena, in floats.
    struct Region: Equatable {
        let offset: Int
        let count: Int
    }

    // Of a huge page.
    private static let pageSize = 2 << 20

    private(set) var plannedCount = 0
    private var base: UnsafeMutablePointer<Float>?
    // What was mapped: more than is used, for the sake of alignment.
    private var mapping = UnsafeMutableRawBufferPointer(start: nil, count: 0)

    /// Bytes of the allocation.
    var byteCount: Int { plannedCount * MemoryLayout<Float>.stride }

    /// Adds `count` floats to the plan.
    func plan(_ count: Int) -> Region {
        precondition(base == nil, "the arena is planned before it is allocated")
        let region = Region(offset: plannedCount, count: count)
        // 64 bytes between regions, so that vector loads may run a little past an end.
        plannedCount += roundUp(count, to: 16) + 16
        return region
    }

    /// Allocates everything planned, zeroed (borders and padding are never written again).
    func allocate() throws(EngineError) {
        precondition(base == nil, "an arena is allocated once")
        let bytes = max(roundUp(byteCount, to: Self.pageSize), Self.pageSize)
        let mapped = mmap(
            nil, bytes + Self.pageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        guard let mapped, mapped != MAP_FAILED else {
            throw .invalid("the system has no \(byteCount >> 20) MiB of memory for the network")
        }
        mapping = UnsafeMutableRawBufferPointer(start: mapped, count: bytes + Self.pageSize)
        let raw = mapped.alignedUp(toMultipleOf: Self.pageSize)
        // A group of tiles touches hundreds of small pages; refusal costs only speed.
        madvise(raw, bytes, MADV_HUGEPAGE)
        // Zero already; written so that no frame waits for a page.
        base = raw.initializeMemory(as: Float.self, repeating: 0, count: plannedCount)
    }

    /// Start of a region.
    func pointer(_ region: Region) -> UnsafeMutablePointer<Float> {
        guard let base else { preconditionFailure("the arena is allocated before it is used") }
        return base + region.offset
    }

    deinit {
        if let start = mapping.baseAddress { munmap(start, mapping.count) }
    }
}
