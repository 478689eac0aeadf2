// The roofline as tables for a terminal.

extension Roofline {
    /// The figures for a terminal.
    public var text: String {
        """
        Peak of \(processor), \(instructionSet): multiply-accumulates on registers
        \(arithmeticTable)
        Bandwidth
        \(bandwidthTable)
        \(model) at \(size), \(threadText(threads)), BLAS \(blasCore): the fastest of \(iterations) runs
        \(layerTable)
        done: multiply-accumulates of the GEMMs; direct: of the layer's definition.
        share: time at the roof (compute peak, or the nearest memory that holds what the layer
        touches) over the time measured; of best: the same for the algorithm that multiplies least.
        scratch: what workers write for themselves and read again, and what that alone would take.
        sum: the fastest run of every layer; whole frames, timed as one, took \
        \(decimalText(frame.minimumMilliseconds, 3)) ms at best.
        \(loadText)

        """
    }

    private var loadText: String {
        guard let stolenShare, let otherShare else { return "" }
        return """
            Meanwhile other programs used \
            \(decimalText(100 * otherShare, 1)) % of the processors, and the hypervisor took
            \(decimalText(100 * stolenShare, 1)) %: figures of a busy machine are not its peak.
            """
    }

    // One thread, and all of them if they are more.
    private var threadCounts: [Int] { threads > 1 ? [1, threads] : [1] }

    private var arithmeticTable: String {
        var rows = [["operand"] + threadCounts.map { "GMAC/s, \(threadText($0))" }]
        for operand in arithmetic.filter({ $0.threads == 1 }).map(\.operand) {
            let found = arithmetic.filter { $0.operand == operand }
            rows.append([operand] + found.map { decimalText($0.gigaMACsPerSecond, 1) })
        }
        return tableText(rows)
    }

    private var bandwidthTable: String {
        let header = threadCounts.flatMap {
            ["KiB", "read GB/s", "copy GB/s, \(threadText($0))"]
        }
        var rows = [["memory"] + header]
        for level in bandwidths.filter({ $0.threads == 1 }).map(\.level) {
            let found = bandwidths.filter { $0.level == level }
            rows.append(
                [level]
                    + found.flatMap {
                        [
                            "\($0.workingSetKiB)", decimalText($0.readGBPerSecond, 1),
                            decimalText($0.copyGBPerSecond, 1),
                        ]
                    })
        }
        return tableText(rows)
    }

    private var layerTable: String {
        let header = [
            "layer", "ms", "direct MMAC", "done MMAC", "algorithm", "operand", "weights kB",
            "activations kB",
            "GMAC/s", "MAC/byte", "bound", "roof ms", "share %", "of best %", "scratch kB",
            "scratch ms",
        ]
        // Where nothing is multiplied, only bytes count.
        func multiplies(_ layer: Layer, _ text: String) -> String {
            layer.multipliedMACs > 0 ? text : ""
        }
        let rows = layers.map { layer in
            [
                layer.name, decimalText(layer.milliseconds, 3),
                multiplies(layer, Self.millions(layer.directMACs)),
                multiplies(layer, Self.millions(layer.multipliedMACs)), layer.algorithm,
                multiplies(layer, layer.operand), multiplies(layer, "\(layer.weightBytes / 1000)"),
                "\(layer.activationBytes / 1000)",
                multiplies(layer, decimalText(layer.gigaMACsPerSecond, 1)),
                multiplies(layer, decimalText(layer.macsPerByte, 1)), layer.bound,
                decimalText(layer.roofMilliseconds, 3), decimalText(100 * layer.share, 0),
                decimalText(100 * layer.shareOfBest, 0), "\(layer.scratchTrafficBytes / 1000)",
                decimalText(layer.scratchMilliseconds, 3),
            ]
        }
        let sum = [
            "sum", decimalText(frame.milliseconds, 3), Self.millions(frame.directMACs),
            Self.millions(frame.multipliedMACs), "", "", "", "", "", "", "",
            decimalText(frame.roofMilliseconds, 3), decimalText(100 * frame.share, 0),
            decimalText(100 * frame.shareOfBest, 0), "\(frame.scratchTrafficBytes / 1000)",
            decimalText(frame.scratchMilliseconds, 3),
        ]
        return tableText([header] + rows + [sum], left: [4, 5, 10])
    }

    private static func millions(_ count: Int) -> String { decimalText(Double(count) / 1e6, 1) }
}
