// What somebody may have meant who mistyped a word. Any thread.

/// The word of `words` that is nearest to `name`, if one is near.
public func suggestion(for name: String, among words: [String]) -> String? {
    guard name.utf8.count <= 64 else { return nil }
    let limit = slipsMax(in: name)
    return words.filter { abs($0.utf8.count - name.utf8.count) <= limit }
        .map { (distance: editDistance(name, $0), word: $0) }
        .filter { $0.distance <= limit }
        .min { $0.distance < $1.distance }?.word
}

/// So many slips a word may hold that is still thought to mean another.
func slipsMax(in word: String) -> Int { max(1, word.utf8.count / 3) }

/// Insertions, deletions, substitutions and swaps of neighbours that turn one word into the other:
/// the four slips of F. J. Damerau, "A technique for computer detection and correction of spelling
/// errors", Communications of the ACM 7 (1964).
func editDistance(_ first: String, _ second: String) -> Int {
    let (a, b) = (Array(first.utf8), Array(second.utf8))
    var beforeLast: [Int] = []
    var last = Array(0...b.count)
    for i in a.indices {
        var row = [i + 1]
        for j in b.indices {
            var distance = min(
                last[j] + (a[i] == b[j] ? 0 : 1), last[j + 1] + 1, row[j] + 1)
            if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] {
                distance = min(distance, beforeLast[j - 1] + 1)
            }
            row.append(distance)
        }
        (beforeLast, last) = (last, row)
    }
    return last[b.count]
}
