import CargoArtifact
import CargoWire
import FoundationEssentials
import Testing

@testable import CargoEndpoints

@Suite struct JSONOutlineTests {
    private func names(_ text: String) -> [String]? {
        Array(text.utf8).withUnsafeBufferPointer { bytes in
            JSONOutline(bytes)?.members.map { String(decoding: bytes[$0.name], as: UTF8.self) }
        }
    }

    @Test func theMembersOfTheOutermostObjectAreFound() {
        let text = #" {"a" : {"b":[1,{"c":"}\""}]} , "d":null,"e":-1.5e+3,"f":true,"":[]} "#
        #expect(names(text) == ["\"a\"", "\"d\"", "\"e\"", "\"f\"", "\"\""])
        Array(text.utf8).withUnsafeBufferPointer { bytes in
            let values = JSONOutline(bytes)?.members.map { String(decoding: bytes[$0.value], as: UTF8.self) }
            #expect(values == [#"{"b":[1,{"c":"}\""}]}"#, "null", "-1.5e+3", "true", "[]"])
        }
    }

    @Test(arguments: [
        "", "[]", "1", "{", "{}}", "{}{}", #"{"a"}"#, #"{"a":}"#, #"{"a":1,}"#, #"{a:1}"#, #"{"a":01}"#, #"{"a":1.}"#,
        #"{"a":.5}"#, #"{"a":+1}"#, #"{"a":1e}"#, #"{"a":nul}"#, #"{"a":"\x"}"#, #"{"a":"\u12g4"}"#, "{\"a\":\"\n\"}",
        #"{"a":[1,]}"#, #"{"a":[}"#, #"{"a":"open}"#, "{\"a\":" + String(repeating: "[", count: 100) + "}",
    ])
    func whatIsNoObjectHasNoOutline(_ text: String) { #expect(names(text) == nil) }

    /// Whatever the quick reader takes, the whole one takes too: nothing goes to a client that is not JSON.
    @Test func damagedEventsAreTakenOnlyWhereTheyAreJSON() {
        let event = Array(
            #"{"id":"x","model":"own","choices":[{"delta":{"content":"a\n\u00e9\"b"},"n":-0.5e2}],"usage":null}"#.utf8)
        var (state, taken) = (UInt64(88), 0)
        func random(_ bound: Int) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int(state >> 33) % bound
        }
        for _ in 0..<20_000 {
            var bytes = event
            for _ in 0...random(3) { bytes[random(bytes.count)] = Array(#"{}[]",:\0e.-+ntua1"#.utf8)[random(18)] }
            guard bytes.withUnsafeBufferPointer({ JSONOutline($0) }) != nil else { continue }
            taken += 1
            #expect(throws: Never.self) { try JSONDecoder().decode(JSONValue.self, from: Data(bytes)) }
        }
        #expect(taken > 100)
    }
}

@Suite struct OpenAIEventTests {
    private let names = OpenAIAnswer.Names(own: "own", asked: "acme/asked")

    private func read(_ event: String, wantsUsage: Bool = false) throws -> (text: String, tokens: Int?) {
        let answer = try OpenAIAnswer(event: Array(event.utf8), wantsUsage: wantsUsage, names: names)
        return (String(decoding: answer.bytes, as: UTF8.self), answer.usage?.completionTokens)
    }

    @Test func anEventGoesOnAsItCameUnderTheNameThatWasAskedFor() throws {
        #expect(
            try read(#"{"model":"own","choices":[{"model":"own"}]}"#).text
                == #"{"model":"acme/asked","choices":[{"model":"own"}]}"#)
        #expect(try read(#"{"usage":null,"choices":[],"model":"other"}"#).text == #"{"usage":null,"choices":[],"model":"other"}"#)
        #expect(try read(#"{"model" : "own"}"#).text == #"{"model" : "acme/asked"}"#)
    }

    @Test func whatItTookIsReadHoweverItsNameIsWritten() throws {
        let usage = #"{"completion_tokens":7,"prompt_tokens":1,"prompt_tokens_details":{"cached_tokens":5}}"#
        for name in ["usage", #"\u0075sage"#] {
            let event = try read(#"{"choices":[{}],"\#(name)":\#(usage)}"#)
            #expect(event.tokens == 7)
            #expect(!event.text.contains("cached_tokens"))
        }
        #expect(try read(#"{"choices":[],"usage":\#(usage)}"#).text.isEmpty)
        #expect(try read(#"{"choices":[{}],"timings":{"cache_n":3}}"#).text == #"{"choices":[{}]}"#)
    }

    @Test(arguments: [
        #"{"error":{"message":"no"}}"#, #"{"\u0065rror":{"message":"no"}}"#, "{\"a\":1", "nothing",
    ])
    func whatIsNoEventIsNotPassedOn(_ event: String) {
        #expect(throws: (any Error).self) { try read(event) }
        #expect(throws: (any Error).self) {
            try OpenAIAnswer(event: Array(#"{"a":""#.utf8) + [0xFF] + Array(#""}"#.utf8), wantsUsage: false, names: names)
        }
    }
}
