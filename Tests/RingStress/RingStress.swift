// Hammers the frame ring with one producer and one consumer thread and checks what must hold.
// `make test-ring` runs it under ThreadSanitizer, once as it is and once with an ordering weakened.

import Glibc
import Realtime
import Synchronization

/// A frame whose words all hold its number: a torn frame shows different ones.
final class Picture: @unchecked Sendable {
    static let wordCount = 64
    let words = UnsafeMutablePointer<UInt64>.allocate(capacity: wordCount)
    init() { words.initialize(repeating: 0, count: Self.wordCount) }
    deinit { words.deallocate() }

    func fill(_ number: UInt64) {
        for index in 0..<Self.wordCount { words[index] = number }
    }

    /// The number, or `nil` if the words disagree.
    func number() -> UInt64? {
        let first = words[0]
        for index in 1..<Self.wordCount where words[index] != first { return nil }
        return first
    }
}

/// What the two threads share beside the ring.
final class Shared: Sendable {
    // The number of the frame published last. Atomic: the producer releases it after `publish`.
    let publishedNumber = Atomic<UInt64>(0)
    let failures = Atomic<Int>(0)

    func fail(_ text: String) {
        if failures.wrappingAdd(1, ordering: .relaxed).oldValue < 10 { print("FAILED: \(text)") }
    }
}

@main
enum RingStress {
    static func main() throws {
        let count = UInt64(CommandLine.arguments.dropFirst().first ?? "2000000") ?? 2_000_000
        for policy in [RingPolicy.latest, .everyFrame] {
            for waits in [false, true] {
                try run(policy: policy, frames: count / 4, consumerWaits: waits)
            }
        }
        print("ring-stress: \(count) frames passed")
    }

    static func run(policy: RingPolicy, frames: UInt64, consumerWaits: Bool) throws {
        let ring = FrameRing<Picture>(policy: policy) { _ in Picture() }
        let shared = Shared()
        let producer = try RealtimeThread(name: "producer") {
            produce(frames, into: ring, shared)
        }
        let consumed = consume(from: ring, shared, waits: consumerWaits)
        producer.join()
        if consumed + ring.skippedFrames != frames {
            shared.fail("\(frames) in, but \(consumed) out and \(ring.skippedFrames) skipped")
        }
        if policy == .everyFrame && consumed != frames { shared.fail("a frame was lost") }
        if shared.failures.load(ordering: .relaxed) > 0 { exit(1) }
        print(
            "\(policy), consumer \(consumerWaits ? "sleeps" : "spins"): \(consumed) taken, ",
            "\(ring.skippedFrames) skipped")
    }

    static func produce(_ frames: UInt64, into ring: FrameRing<Picture>, _ shared: Shared) {
        var number: UInt64 = 1
        while number <= frames {
            guard let slot = ring.beginWrite() else {
                if ring.policy == .latest { shared.fail("the producer had to wait") }
                ring.waitForSpace(timeoutNanoseconds: 1_000_000)
                continue
            }
            ring[slot].fill(number)
            if number % 97 == 0 && number % 2 == 0 {
                // A bad frame now and then: its slot goes back, and the number is used again.
                ring.abandon(slot)
                guard let again = ring.beginWrite() else {
                    shared.fail("an abandoned slot did not come back")
                    return
                }
                ring[again].fill(number)
                ring.publish(again)
            } else {
                ring.publish(slot)
            }
            // Releasing: whoever reads the number may expect to find the frame in the ring.
            shared.publishedNumber.store(number, ordering: .releasing)
            number += 1
        }
        ring.close()
    }

    static func consume(from ring: FrameRing<Picture>, _ shared: Shared, waits: Bool) -> UInt64 {
        var consumed: UInt64 = 0
        var last: UInt64 = 0
        var held: Int?
        while true {
            let isLast = ring.isClosed
            // Acquiring: what was published before this read must be found by the next take. Only
            // where the consumer sleeps: this order would hide a missing one in the ring itself.
            let known = waits ? shared.publishedNumber.load(ordering: .acquiring) : 0
            guard let slot = ring.beginRead() else {
                if isLast { break }
                if waits { ring.waitForFrame(timeoutNanoseconds: 1_000_000) }
                continue
            }
            consumed += 1
            guard let number = ring[slot].number() else {
                shared.fail("torn frame")
                continue
            }
            if number <= last { shared.fail("frame \(number) after frame \(last)") }
            if ring.policy == .latest && number < known {
                shared.fail("frame \(number) although \(known) was out: not the newest")
            }
            last = number
            // Holds the previous frame while the next one is taken, as an output does.
            if let previous = held { ring.endRead(previous) }
            held = slot
        }
        if let previous = held { ring.endRead(previous) }
        return consumed
    }
}
