// Damages bytes in the ways that cables, disks and attackers do, the same way for the same seed.

import Foundation

/// How often the fuzz tests run their usual number of mutations; set `LUCIDA_FUZZ_ROUNDS` for a
/// longer search.
let fuzzRounds =
    ProcessInfo.processInfo.environment["LUCIDA_FUZZ_ROUNDS"].flatMap { Int($0) } ?? 1

/// A deterministic generator (SplitMix64, Steele et al. 2014).
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}

/// Deterministic damage: truncation, flipped bits, overwritten and moved stretches.
struct Mutator {
    private var generator: SeededGenerator

    init(seed: UInt64) { generator = SeededGenerator(seed: seed) }

    /// One to four kinds of damage, one after another.
    mutating func mutate(_ original: [UInt8]) -> [UInt8] {
        var bytes = original
        for _ in 0..<Int.random(in: 1...4, using: &generator) {
            guard bytes.count > 8 else { return bytes }
            switch Int.random(in: 0..<7, using: &generator) {
            case 0: bytes.removeLast(Int.random(in: 1..<bytes.count, using: &generator))
            case 1: flipBits(&bytes, in: 0..<bytes.count)
            // Headers are where lengths and sizes are.
            case 2: flipBits(&bytes, in: 0..<min(512, bytes.count))
            case 3: overwrite(&bytes)
            case 4: splice(&bytes)
            case 5: bytes.removeSubrange(stretch(of: bytes))
            default: interesting(&bytes)
            }
        }
        return bytes
    }

    private mutating func stretch(of bytes: [UInt8]) -> Range<Int> {
        let start = Int.random(in: 0..<bytes.count, using: &generator)
        let length = Int.random(in: 1...min(256, bytes.count - start), using: &generator)
        return start..<start + length
    }

    private mutating func flipBits(_ bytes: inout [UInt8], in range: Range<Int>) {
        for _ in 0..<Int.random(in: 1...16, using: &generator) {
            let i = Int.random(in: range, using: &generator)
            bytes[i] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
        }
    }

    private mutating func overwrite(_ bytes: inout [UInt8]) {
        for i in stretch(of: bytes) {
            bytes[i] = UInt8.random(in: .min ... .max, using: &generator)
        }
    }

    /// Copies a stretch over another place.
    private mutating func splice(_ bytes: inout [UInt8]) {
        let source = Array(bytes[stretch(of: bytes)])
        let start = Int.random(in: 0..<bytes.count, using: &generator)
        for (i, byte) in source.enumerated() where start + i < bytes.count {
            bytes[start + i] = byte
        }
    }

    /// Puts a value that breaks arithmetic where a 32-bit field may be.
    private mutating func interesting(_ bytes: inout [UInt8]) {
        let values: [[UInt8]] = [
            [0, 0, 0, 0], [0xff, 0xff, 0xff, 0xff], [0x7f, 0xff, 0xff, 0xff], [0x80, 0, 0, 0],
            [0, 0, 0, 1],
        ]
        let start = Int.random(in: 0..<bytes.count, using: &generator)
        let value = values[Int.random(in: 0..<values.count, using: &generator)]
        for (i, byte) in value.enumerated() where start + i < bytes.count {
            bytes[start + i] = byte
        }
    }
}
