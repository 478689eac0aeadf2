// Styles and their shares, as users write them.

import Testing

@testable import Models

@Suite("Mix of styles")
struct StyleMixTests {
    @Test(
        "one name, or several with weights of which the ratio counts",
        arguments: [
            ("ink", ["ink"], [1]), ("ink:3", ["ink"], [1]),
            ("ink:0.75,oil:0.25", ["ink", "oil"], [0.75, 0.25]),
            ("ink:3, oil:1", ["ink", "oil"], [0.75, 0.25]),
            ("ink,oil", ["ink", "oil"], [0.5, 0.5]),
            ("ink:0,oil-2:1", ["oil-2"], [1]), ("a:1e-3,b:1e-3", ["a", "b"], [0.5, 0.5]),
        ] as [(String, [String], [Float])])
    func reads(text: String, names: [String], shares: [Float]) throws {
        let mix = try StyleMix(text)
        #expect(mix.parts.map(\.name) == names)
        #expect(mix.parts.map(\.share) == shares)
        #expect(try StyleMix(mix.description) == mix)
    }

    @Test("for people it is rounded, and no style gets lost by that")
    func rounds() throws {
        #expect(try StyleMix("ink:1,oil:2").description == "ink:0.333,oil:0.667")
        let faint = try StyleMix("ink:1,oil:0.0001")
        #expect(try StyleMix(faint.description).parts.count == 2)
    }

    @Test(
        "anything else is refused, and says how it is written",
        arguments: [
            "", ",", "ink,", ":1", "ink:", "ink:x", "ink:1:2", "ink:-1", "ink:nan", "ink:inf",
            "ink:1e9", "Ink", "../etc", "ink:0", "ink,ink", "ink;oil", "a,b,c,d,e,f,g,h,i",
            String(repeating: "a", count: 65),
        ])
    func refuses(text: String) throws {
        #expect {
            try StyleMix(text)
        } throws: {
            "\($0)".contains("\"\(text)\"")
        }
    }

    @Test("shares go where the model has the style, and a style that it lacks gives none")
    func weights() throws {
        let mix = try StyleMix("oil:1,ink:3")
        #expect(mix.weights(in: ["ink", "pencil", "oil"]) == [0.75, 0, 0.25])
        #expect(mix.weights(in: ["ink", "pencil"]) == nil)
    }
}
