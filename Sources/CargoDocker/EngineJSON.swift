internal import FoundationEssentials

/// JSON as engines spell it: Go's field names, which begin with a capital letter.
///
/// Keys of dictionaries (labels, mounts) stay as they are.
enum EngineJSON {
    static func encode(_ value: some Encodable) throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        encoder.keyEncodingStrategy = .custom { path in EngineKey(path.last?.stringValue ?? "", upper: true) }
        return [UInt8](try encoder.encode(value))
    }

    static func decode<Value: Decodable>(_ type: Value.Type, from bytes: [UInt8]) throws -> Value {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .custom { path in EngineKey(path.last?.stringValue ?? "", upper: false) }
        return try decoder.decode(type, from: Data(bytes))
    }
}

/// A key whose first letter is changed to the other language's habit.
private struct EngineKey: CodingKey {
    let stringValue: String
    let intValue: Int? = nil

    init(_ text: String, upper: Bool) {
        let first = text.prefix(1)
        stringValue = (upper ? first.uppercased() : first.lowercased()) + text.dropFirst()
    }

    init?(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }
}
