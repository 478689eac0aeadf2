// A plan whose steps compute only what changed since the last run.

internal import CKernels

/// The change maps of a plan's tensors and what its steps keep of the past. Belongs to the thread that
/// runs the plan.
final class PlanReuse {
    /// How much of a change a step lets pass, in levels of the final picture (root mean square over
    /// the square of the picture beneath a cell or tile).
    struct Limits {
        /// Changes of a tile's inputs that are left out of account until they come to more.
        var tile: Float
        /// Changes of a result that are not passed on.
        var cell: Float
    }

    /// A step, and the share of a whole run's multiplications that one of its tiles takes.
    private struct Part {
        let step: TiledWork
        let tileShare: Double
    }

    /// Changes of the network's input: the first tensor of the plan.
    let input: ChangeMap
    /// Steps in order, with the index of the tensor that each makes.
    let steps: [(work: TiledWork, result: Int)]

    private let parts: [Part]
    private let aside: UnsafeMutablePointer<Float>

    /// - Throws: if there is a step that cannot compute single tiles, or not exactly one input.
    init(
        _ builder: PlanBuilder, nodes: [PlanBuilder.Node], views: [TensorView],
        steps: [ParallelWork]
    ) throws(EngineError) {
        let shapes = views.map(\.shape)
        let maps = shapes.map { ChangeMap(width: $0.width, height: $0.height) }
        var tiled: [(work: TiledWork, result: Int)] = []
        for (node, step) in zip(nodes, steps) {
            guard let work = step as? TiledWork, node.reach != nil else {
                throw .invalid("\(step.name) cannot be computed in part: no temporal reuse")
            }
            tiled.append((work, node.output.index))
        }
        let counts = zip(nodes, tiled).map { node, step in
            TileReuse.asideCount(
                edge: step.work.edge, isUpsampled: node.reach?.isUpsampled ?? false,
                shape: node.output.shape)
        }
        let asideStride = roundUp(counts.max() ?? 0, to: channelBlock) + channelBlock
        aside = .allocate(capacity: asideStride * builder.threads)
        aside.initialize(repeating: 0, count: asideStride * builder.threads)
        input = maps[0]
        self.steps = tiled

        let read = Set(nodes.flatMap { $0.inputs.map(\.index) })
        for (node, step) in zip(nodes, tiled) {
            guard let reach = node.reach else { continue }
            let output = node.output.index
            step.work.reuse = TileReuse(
                reach: reach, source: maps[node.inputs[0].index],
                adding: node.inputs.count > 1 ? maps[node.inputs[1].index] : nil,
                target: read.contains(output) ? maps[output] : nil, view: views[output],
                edge: step.work.edge, tileColumns: step.work.tileColumns,
                tileRows: step.work.tileCount / step.work.tileColumns,
                cellEdge: max(1, shapes[0].width / shapes[output].width),
                kernels: builder.backend.kernels, aside: aside, asideStride: asideStride)
        }
        let total = tiled.reduce(0) { $0 + $1.work.cost.multipliedMACs }
        parts = tiled.map { step, _ in
            let share = Double(step.cost.multipliedMACs) / Double(total)
            return Part(step: step, tileShare: share / Double(step.tileCount))
        }
    }

    deinit { aside.deallocate() }

    /// The next run computes everything.
    func computeAll() {
        input.clear()
        for (step, _) in steps { step.computesChanges = false }
    }

    /// The next run computes what `input` calls for.
    ///
    /// - Parameter forced: cells of the input that are computed whatever they hold.
    func computeChanges(_ limits: Limits, forced: CellRectangle) {
        for (step, _) in steps {
            step.computesChanges = true
            step.reuse?.thresholds = TileReuse.Thresholds(
                tile: limits.tile * limits.tile, cell: limits.cell * limits.cell)
            step.reuse?.forced = forced
        }
    }

    /// What the last run computed, 1 being everything.
    var workShare: Double {
        parts.reduce(0) { $0 + Double($1.step.chosen) * $1.tileShare }
    }
}
