import Foundation
import Realtime
import Synchronization
import Testing

@Suite struct ThreadTests {
    @Test func `the kernel says which processors there are`() throws {
        let processors = try #require(ProcessorAffinity.current)
        #expect(processors.count == ProcessInfo.processInfo.activeProcessorCount)
    }

    @Test func `an event set before the wait is not lost`() {
        let event = Event()
        event.set()
        event.set()
        #expect(event.wait(timeoutNanoseconds: 0))
        #expect(!event.wait(timeoutNanoseconds: 1_000_000))
    }

    @Test func `an event wakes the thread that sleeps on it, every time`() throws {
        final class Shared: Sendable {
            let ping = Event()
            let pong = Event()
            let count = Atomic<Int>(0)
        }
        let shared = Shared()
        let thread = try RealtimeThread(name: "a name longer than fifteen bytes") {
            for _ in 0..<1000 {
                while !shared.ping.wait(timeoutNanoseconds: 1_000_000_000) {}
                shared.count.wrappingAdd(1, ordering: .relaxed)
                shared.pong.set()
            }
        }
        for _ in 0..<1000 {
            shared.ping.set()
            while !shared.pong.wait(timeoutNanoseconds: 1_000_000_000) {}
        }
        thread.join()
        #expect(shared.count.load(ordering: .relaxed) == 1000)
    }
}
