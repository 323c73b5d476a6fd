import Testing

@testable import CargoArtifact

@Suite struct StrictJSONTests {
    private func parse(_ text: String, limit: Int = 1 << 20) throws -> JSONValue {
        try StrictJSON.parse(Array(text.utf8), limit: limit)
    }

    @Test func readsEveryKindOfValue() throws {
        let value = try parse(#" {"a": [1, -2.5e3, true, false, null, "x\u00e9\n\ud83d\ude00\/"], "b": {}} "#)
        #expect(
            value
                == .object([
                    "a": .array([.integer(1), .number(-2500), .bool(true), .bool(false), .null, .string("xé\n😀/")]),
                    "b": .object([:]),
                ]))
    }

    @Test(arguments: [
        #"{"a":1,"a":2}"#, #"{"a":1,"\u0061":2}"#, "{\"\u{e9}\":1,\"e\u{301}\":2}", "[1,]", "{,}", "[1 2]", "01", "-", "1.", "1e",
        "1e999",
        "\"\u{1}\"", #""\ud83d""#, #""\udc00""#, #""\x""#, "\"", "tru", "nul", "", " ", "{} {}", "[", "NaN", "+1", ".5", "'a'",
        "{a:1}", "//\n1",
    ])
    func refuses(_ text: String) {
        #expect(throws: StrictJSONFailure.self) { try parse(text) }
    }

    @Test func refusesBrokenUTF8TooDeepAndTooLong() throws {
        #expect(throws: StrictJSONFailure.self) { try StrictJSON.parse([0x22, 0xC0, 0xAF, 0x22], limit: 100) }
        #expect(throws: StrictJSONFailure.self) { try parse(String(repeating: "[", count: 100_000)) }
        #expect(throws: StrictJSONFailure.self) { try parse("[1,2,3]", limit: 6) }
        #expect(try parse("[1,2,3]", limit: 7) == .array([.integer(1), .integer(2), .integer(3)]))
        let deep = String(repeating: "[", count: 64) + String(repeating: "]", count: 64)
        _ = try parse(deep)
    }

    @Test func writesTheSameBytesForTheSameValueInWhateverOrderItCame() throws {
        let one = CanonicalJSON.encode(try parse(#"{"b":1.0,"a":"/\u0001\"","é":[1.5,9007199254740993]}"#))
        let two = CanonicalJSON.encode(try parse(#"{ "é":[1.5,9007199254740993], "a":"\/\u0001\"","b":1 }"#))
        #expect(one == two)
        #expect(String(decoding: one, as: UTF8.self) == #"{"a":"/\u0001\"","b":1,"é":[1.5,9007199254740993]}"#)
    }
}
