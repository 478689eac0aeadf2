// What a running Lucida answers, for people.

internal import Pipeline

extension ControlReply {
    /// What has changed, and what will only from the next start on.
    public var changeText: String {
        let changes = (changed ?? [:]).sorted { $0.key < $1.key }
        var lines = changes.map { "\($0.key) = \(printable($0.value))" }
        for (name, value) in (unchanged ?? [:]).sorted(by: { $0.key < $1.key }) {
            lines.append("\(name) is \(printable(value)) already")
        }
        let isLater = atNextStart?.isEmpty == false
        if lines.isEmpty { lines.append("nothing has changed" + (isLater ? " at once" : "")) }
        if let atNextStart, isLater {
            lines.append("only from the next start on: \(atNextStart.joined(separator: ", "))")
        }
        if let overruledText { lines.append(overruledText) }
        return lines.joined(separator: "\n")
    }

    /// Which settings of the file do not count, and why; `nil` if all do.
    var overruledText: String? {
        guard let overruled, !overruled.isEmpty else { return nil }
        let names = overruled.sorted { $0.key < $1.key }.map { "\($0.key) (\($0.value))" }
        return "the command line goes before the file in: \(names.joined(separator: ", "))"
    }
}

extension ControlStatus {
    /// Some lines, for a terminal.
    public var text: String {
        var rows = [
            ("state", stateText),
            ("from", printable(source)),
        ]
        rows += sinks.map {
            let trouble = $0.isAway ? ", cannot be written, tried again" : ""
            return ("to", "\(printable($0.name)): \($0.frames) frames\(trouble)")
        }
        if let readers { rows.append(("apps", readers == 0 ? "none looks" : "\(readers) look")) }
        if let text = camera.text { rows.append(("camera", text)) }
        rows += [
            ("rate", "\(decimalText(fps, 2)) fps"), ("frame age", ageText),
            ("frames", framesText), ("model", printable(setup.modelText)), ("look", lookText),
            ("network", networkText),
            ("memory", "\(decimalText(residentMB, 0)) MB"),
            ("settings", configuration.map { printable($0) } ?? "the defaults"),
        ]
        return rows.map { name, value in
            name + String(repeating: " ", count: max(1, 11 - name.count)) + value
        }.joined(separator: "\n")
    }

    /// One line.
    public var lineText: String {
        "\(stateText): \(decimalText(fps, 2)) fps, age \(ageText), \(framesText), \(lookText)"
    }

    private var stateText: String {
        let reason = problem.map { " (\(printable($0)))" } ?? ""
        return state.text + reason + ", \(decimalText(seconds, 0)) s"
    }

    private var ageText: String {
        guard let age else { return "no frame lately" }
        return "p50 \(decimalText(age.p50, 1))  p95 \(decimalText(age.p95, 1))  "
            + "p99 \(decimalText(age.p99, 1)) ms"
    }

    /// Of what went wrong only that which did.
    private var framesText: String {
        "\(frames.captured) in, \(frames.written) out"
            + lossText([
                ("lost by source", frames.lostBySource), ("bad", frames.bad),
                ("skipped", frames.skipped), ("failed", frames.failed), ("early", frames.early),
                ("paused", frames.paused),
            ])
    }

    private var lookText: String {
        "style \(printable(look.style)), strength \(look.strength), temporal \(look.temporal), "
            + "seed \(look.seed), \(look.steps) step\(look.steps == 1 ? "" : "s")"
            + (look.streamBatch ? " in a stream batch" : "")
    }

    private var networkText: String {
        printable("\(setup.modelSize) of \(setup.size), \(setup.precision)")
            + ", \(threadText(setup.threads))"
            + (workShare.map { ", \(decimalText(100 * $0, 0)) % of the work" } ?? "")
    }
}

extension Supervision.Counts {
    /// What has happened; `nil` if the camera was opened once and nothing else did.
    var text: String? {
        let parts = [
            (refused, "refused"), (lost, "lost"), (restarted, "restarted"),
            (reopened, "opened anew"), (recovered, "recovered"),
        ].filter { $0.0 > 0 }.map { "\($0.0) \($0.1)" }
        guard attempts > 1 || !parts.isEmpty else { return nil }
        return (["opened \(attempts) time\(attempts == 1 ? "" : "s")"] + parts)
            .joined(separator: ", ")
    }
}
