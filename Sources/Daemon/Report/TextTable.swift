// Figures in columns, for terminals.

internal import Glibc

/// A number with a fixed count of decimals: what `%.3f` prints.
func decimalText(_ value: Double, _ digits: Int) -> String {
    let scale = (0..<digits).reduce(1) { product, _ in product * 10 }
    let scaled = Int((value * Double(scale)).rounded())
    guard digits > 0 else { return "\(scaled)" }
    let fraction = String(abs(scaled) % scale)
    let zeros = String(repeating: "0", count: digits - fraction.count)
    return "\(scaled < 0 ? "-" : "")\(abs(scaled) / scale).\(zeros)\(fraction)"
}

/// A number from 0 upwards with three digits and its power of ten: what `%.2e` prints.
func scientificText(_ value: Double) -> String {
    guard value > 0 else { return "0" }
    var exponent = log10(value).rounded(.down)
    if (100 * value / pow(10, exponent)).rounded() >= 1000 { exponent += 1 }
    return "\(decimalText(value / pow(10, exponent), 2))e\(Int(exponent))"
}

/// `1 thread`, `2 threads`.
func threadText(_ count: Int) -> String { count == 1 ? "1 thread" : "\(count) threads" }

/// Rows of cells as lines: the first column and those of `left` begin at the left, numbers end at
/// the right.
func tableText(_ rows: [[String]], left: Set<Int> = []) -> String {
    let columns = rows.map(\.count).max() ?? 0
    let widths = (0..<columns).map { column in
        rows.map { column < $0.count ? $0[column].count : 0 }.max() ?? 0
    }
    let lines = rows.map { row in
        var line = row.enumerated().map { column, cell in
            let space = String(repeating: " ", count: widths[column] - cell.count)
            return column == 0 || left.contains(column) ? cell + space : space + cell
        }.joined(separator: "  ")
        while line.hasSuffix(" ") { line.removeLast() }
        return "  " + line + "\n"
    }
    return lines.joined()
}
