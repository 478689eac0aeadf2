// What the configuration relies on in the TOML library: values, order, lines, the first error.

import Testing

@testable import Daemon

private func table(_ text: String) -> TOMLTable? { try? TOMLTable(parsing: Array(text.utf8)) }

/// The keys of a table and of those in it, with their lines: `a@1 a.b@1`.
private func keyLines(_ table: TOMLTable, _ prefix: String = "") -> [String] {
    table.entries.flatMap { entry in
        let name = prefix + entry.key
        guard case .table(let inner) = entry.node.value else {
            return ["\(name)@\(entry.node.line)"]
        }
        return ["\(name)@\(entry.node.line)"] + keyLines(inner, name + ".")
    }
}

private func problem(_ text: String) -> TOMLProblem? {
    do {
        _ = try TOMLTable(parsing: Array(text.utf8))
        return nil
    } catch {
        return error
    }
}

@Suite struct ConfigurationTOMLTests {
    @Test func everyTypeArrivesWithItsValue() {
        guard case .string("a\tbé😀\u{0}")? = TOMLValue(parsing: #""a\tb\u00e9\U0001F600\u0000""#),
            case .integer(.min)? = TOMLValue(parsing: "-9223372036854775808"),
            case .float(0.0625)? = TOMLValue(parsing: "6.25E-2"),
            case .boolean(true)? = TOMLValue(parsing: "true"),
            case .boolean(false)? = TOMLValue(parsing: "false"),
            case .dateTime? = TOMLValue(parsing: "2024-02-29"),
            case .dateTime? = TOMLValue(parsing: "07:32:00"),
            case .dateTime? = TOMLValue(parsing: "1979-05-27T07:32:00Z"),
            case .array(let list)? = TOMLValue(parsing: "[1, [], 'x',]"),
            case .integer(1) = list[0].value, case .array(let none) = list[1].value,
            case .string("x") = list[2].value, case .table(let inner)? = TOMLValue(parsing: "{a=1}")
        else {
            Issue.record("a value is not what was written")
            return
        }
        #expect(list.count == 3 && none.isEmpty)
        #expect(keyLines(inner) == ["a@1"])
    }

    @Test func aValueIsOneValueAndNothingElse() {
        for text in ["", "1 2", "1\nb = 2", "1\n[b]", "wide", "1,", "\u{0}", "a.b", "# 1"] {
            #expect(TOMLValue(parsing: text) == nil, "\(text)")
        }
    }

    @Test func keysStandInTheOrderOfTheTextAndKnowTheirLines() throws {
        let text = """
            # one
            z.b = 1
            [t]
            "x y" = [ # list
              1,

              2, ]
            long = '''

            '''
            last = {k = 1, a = 2}
            [b.c]
            x = 1
            [a]
            [b.a]
            [[list]]
            [[list]]
            [b]
            y = 1
            """
        let document = try #require(table(text))
        #expect(
            keyLines(document) == [
                "z@2", "z.b@2", "t@3", "t.x y@4", "t.long@8", "t.last@11", "t.last.k@11",
                "t.last.a@11", "b@12", "b.c@12", "b.c.x@13", "b.a@15", "b.y@19", "a@14", "list@16",
            ])
        guard case .table(let t) = document.entries[1].node.value,
            case .array(let list) = t.entries[0].node.value
        else {
            Issue.record("the list is missing")
            return
        }
        #expect(list.map(\.line) == [5, 7])
    }

    @Test func theFirstErrorIsToldWithItsLine() {
        let cases = [
            ("a = 1\nb = /dev/video0\nc = ?", 2, "text needs quotation marks"),
            ("a = 1\n\na = 2", 3, "cannot redefine existing integer 'a'"),
            ("[a]\n[a]", 2, "cannot redefine existing table 'a'"),
            ("a = [1,\n?\n]", 2, "column 1: "), ("\n[x\n", 2, "expected ']'"),
            ("a = \"b\nc", 1, "string"), ("a", 1, "end-of-file"), ("\né = 1", 2, "saw 'é'"),
            ("a = '''\nb", 2, "end-of-file"),
        ]
        for (text, line, part) in cases {
            let found = problem(text)
            #expect(found?.line == line, "\(text)")
            #expect(found?.message.contains(part) == true, "\(found?.message ?? text)")
        }
    }
}
