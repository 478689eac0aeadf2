// One allocation for all that a prepared model needs, planned before it is made.

internal import Glibc

/// Plans offsets first, allocates once, frees at the end. Regions are 64-byte aligned.
///
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
        // Not Swift's allocate, which traps where there is no memory.
        let bytes = max(roundUp(byteCount, to: Self.pageSize), Self.pageSize)
        guard let raw = aligned_alloc(Self.pageSize, bytes) else {
            throw .invalid("the system has no \(byteCount >> 20) MiB of memory for the network")
        }
        // A group of tiles touches hundreds of small pages; refusal costs only speed.
        madvise(raw, bytes, MADV_HUGEPAGE)
        base = raw.initializeMemory(as: Float.self, repeating: 0, count: plannedCount)
    }

    /// Start of a region.
    func pointer(_ region: Region) -> UnsafeMutablePointer<Float> {
        guard let base else { preconditionFailure("the arena is allocated before it is used") }
        return base + region.offset
    }

    deinit { free(base) }
}
