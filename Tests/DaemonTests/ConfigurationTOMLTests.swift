// The TOML parser against the rules of TOML 1.0.0 (https://toml.io/en/v1.0.0).

import Testing

@testable import Daemon

private func value(_ text: String) -> TOMLValue? { TOMLParser.parseValue(text) }

private func string(_ text: String) -> String? {
    guard case .string(let string)? = value(text) else { return nil }
    return string
}

private func integer(_ text: String) -> Int64? {
    guard case .integer(let integer)? = value(text) else { return nil }
    return integer
}

private func float(_ text: String) -> Double? {
    guard case .float(let float)? = value(text) else { return nil }
    return float
}

private func isDateTime(_ text: String) -> Bool {
    guard case .dateTime? = value(text) else { return false }
    return true
}

private func errorLines(_ text: String) -> [Int] {
    TOMLParser.parse(Array(text.utf8)).problems.map(\.line)
}

@Suite struct ConfigurationTOMLTests {
    @Test func stringsOfAllFourKinds() {
        #expect(string(#""a\tb\"\\\u00e9\U0001F600""#) == "a\tb\"\\é😀")
        #expect(string("'C:\\dir'") == "C:\\dir")
        #expect(string("\"\"\"\none\r\ntwo \\\n\n   three\"\"\"\"\"") == "one\ntwo three\"\"")
        #expect(string("'''\n''it's'''") == "''it's")
        #expect(string("\"\"") == "")
        for bad in [
            "\"a", "'a", "\"a\nb\"", #""\q""#, #""\u12""#, #""\uD800""#, "'''a''", "\"\u{1}\"",
        ] {
            #expect(value(bad) == nil, "\(bad)")
        }
    }

    @Test func numbers() {
        for (text, expected) in [
            ("0", 0), ("+7", 7), ("-1_000", -1000), ("0xDEAD_beef", 0xDEAD_BEEF), ("0o17", 15),
            ("0b101", 5), ("9223372036854775807", Int64.max), ("-9223372036854775808", Int64.min),
        ] { #expect(integer(text) == expected, "\(text)") }
        for (text, expected) in [
            ("1.5", 1.5), ("-0.0", 0), ("1e3", 1000), ("6.25E-2", 0.0625), ("1_0.0_1", 10.01),
            ("inf", Double.infinity), ("-inf", -.infinity), ("5e+22", 5e22),
        ] { #expect(float(text) == expected, "\(text)") }
        #expect(float("nan")?.isNaN == true)
        for bad in [
            "", "01", "1_", "_1", "1__0", "0x", "+0x1", "0x-1", "1.", ".5", "1e", "1.e5", "0b2",
            "9223372036854775808", "1_.0", "--1", "1 2", "True", "1e5.0", "0_1",
        ] { #expect(value(bad) == nil, "\(bad)") }
    }

    @Test func datesAndTimesAreKnown() {
        for good in [
            "1979-05-27", "2024-02-29", "07:32:00", "00:32:00.999999", "1979-05-27T07:32:00Z",
            "1979-05-27 07:32:00", "1979-05-27t00:32:00.5-07:00",
        ] { #expect(isDateTime(good), "\(good)") }
        for bad in [
            "2023-02-29", "1979-13-01", "1979-00-01", "24:00:00", "07:60:00", "7:32:00", "07:32",
            "1979-05-27T", "1979-05-27T07:32:00+7:00", "07:32:00Z", "07:32:00.",
        ] { #expect(!isDateTime(bad), "\(bad)") }
    }

    @Test func valuesKnowTheirLines() {
        let text =
            "# one\na.b = 1\n\n[t]\n\"x y\" = [ # list\n  1,\n  2, ]\nz = '''\n\n'''\nlast = {k = 1}\n"
        let (table, problems) = TOMLParser.parse(Array(text.utf8))
        #expect(problems.isEmpty)
        #expect(table["a"]?.line == 2)
        guard case .table(let t)? = table["t"]?.value, case .array(let list)? = t["x y"]?.value
        else {
            Issue.record("the table is missing")
            return
        }
        #expect(t["x y"]?.line == 5)
        #expect(list.map(\.line) == [6, 7])
        #expect(t["z"]?.line == 8)
        #expect(t["last"]?.line == 11)
    }

    @Test func whatIsSetTwiceIsRefused() {
        let bad = [
            "a = 1\na = 2", "a.b = 1\na.b = 2", "a = 1\na.b = 2", "[a]\n[a]", "a = {}\n[a]",
            "a = {b = 1}\na.c = 2", "[a]\nb.c = 1\n[a.b]", "a = []\n[[a]]", "[[a]]\n[a]",
            "[a]\n[[a]]",
            "[a.b]\n[a]\nb.c = 1", "a = {b = 1, b = 2}", "\"a\" = 1\na = 1",
            "[a.b]\nx=1\n[a.b.c]\n[a.b]",
        ]
        let good = [
            "[a.b]\n[a]", "a.b = 1\na.c = 2", "[[a]]\nx=1\n[[a]]\nx=1", "[a]\nb.c = 1\n[a.b.d]",
            "[[a]]\n[a.b]\n[[a]]\n[a.b]", "[a.b.c]\nz=9\n[a]\nb.t=1", "a = {b.c = 1, b.d = 2}",
        ]
        for text in bad { #expect(!errorLines(text).isEmpty, "\(text)") }
        for text in good { #expect(errorLines(text).isEmpty, "\(text)") }
    }

    @Test func anErrorInALineDoesNotHideTheNextOnes() {
        #expect(errorLines("a = \nb = 1 1\nc = 3\n= 4\n[x\nd = ?\n") == [1, 2, 4, 5, 6])
        // In a value of several lines, where the next key begins is a guess: better to stop.
        #expect(errorLines("a = [1,\n?\n]\nb = ?\n") == [2])
        #expect(errorLines("a = '''\n\nb = ?\n") == [1])
    }
}
