// What `lucida doctor` found, as text and as JSON. Control thread.

internal import FoundationEssentials

/// One thing that was looked at: how it is, what that means, and what mends it.
public struct Finding: Sendable, Codable, Equatable {
    /// How bad it is.
    public enum Severity: String, Sendable, Codable {
        /// As it should be.
        case ok
        /// Lucida runs, but not as well or not as lastingly as it could.
        case warning
        /// Lucida does not run, or apps do not see it.
        case problem
    }

    /// What was found, the same in every version: `driver.not_loaded`.
    public let id: String
    /// How bad it is.
    public let severity: Severity
    /// The state in a line.
    public let title: String
    /// What it means, in a sentence or two; empty if the title says all.
    public let explanation: String
    /// What to type; nil if nothing is to be mended, or no command can.
    public let command: String?

    static func ok(_ id: String, _ title: String, _ explanation: String = "") -> Finding {
        Finding(.ok, id, title, explanation, nil)
    }

    static func warning(
        _ id: String, _ title: String, _ explanation: String, command: String? = nil
    ) -> Finding {
        Finding(.warning, id, title, explanation, command)
    }

    static func problem(
        _ id: String, _ title: String, _ explanation: String, command: String? = nil
    ) -> Finding {
        Finding(.problem, id, title, explanation, command)
    }

    // Labels of devices, log lines and paths may hold anything: no escape sequence of theirs reaches
    // a terminal.
    private init(
        _ severity: Severity, _ id: String, _ title: String, _ explanation: String,
        _ command: String?
    ) {
        self.id = id
        self.severity = severity
        self.title = printable(title)
        self.explanation = printable(explanation, scalarCountMax: 600)
        // Never cut short: half a command may be a bad one.
        self.command = command.map { printable($0, scalarCountMax: .max) }
    }
}

/// All findings of one examination.
public struct Diagnosis: Sendable {
    /// In the order in which things depend on each other: mend the first one first.
    public let findings: [Finding]

    /// Whether there is no problem; warnings are none.
    public var isHealthy: Bool { count(.problem) == 0 }

    private func count(_ severity: Finding.Severity) -> Int {
        findings.filter { $0.severity == severity }.count
    }

    /// The findings for a terminal.
    public var text: String {
        var lines = findings.flatMap(Self.lines)
        let counts = [(count(.problem), "problem"), (count(.warning), "warning")]
            .filter { $0.0 > 0 }.map { "\($0) \($1)\($0 == 1 ? "" : "s")" }
        lines += ["", counts.isEmpty ? "Nothing is wrong." : counts.joined(separator: ", ") + "."]
        return lines.joined(separator: "\n") + "\n"
    }

    private static func lines(of finding: Finding) -> [String] {
        let mark =
            switch finding.severity {
            case .ok: "ok       "
            case .warning: "warning  "
            case .problem: "PROBLEM  "
            }
        let indent = "         "
        var lines = [mark + finding.title]
        if !finding.explanation.isEmpty { lines.append(indent + finding.explanation) }
        if let command = finding.command { lines.append(indent + "→ " + command) }
        return lines
    }

    private struct Document: Encodable {
        let version: String
        let problems: Int
        let warnings: Int
        let findings: [Finding]
    }

    /// The findings as JSON.
    ///
    /// - Throws: `EncodingError`.
    public func json() throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        let document = Document(
            version: lucidaVersion, problems: count(.problem), warnings: count(.warning),
            findings: findings)
        return String(decoding: try encoder.encode(document), as: UTF8.self) + "\n"
    }
}
