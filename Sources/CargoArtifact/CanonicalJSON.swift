internal import FoundationEssentials

/// The one way in which JSON is written that is signed, stored or compared: keys sorted by their bytes,
/// no white space, and no escapes but those that RFC 8259 demands.
///
/// Equal values give equal bytes, so what can be derived can be compared byte for byte.
public enum CanonicalJSON {
    public static func encode(_ value: some Encodable) throws -> [UInt8] {
        let bytes = [UInt8](try JSONEncoder().encode(value))
        return encode(try StrictJSON.parse(bytes, limit: .max))
    }

    public static func encode(_ value: JSONValue) -> [UInt8] {
        var writer = JSONWriter()
        writer.value(value)
        return writer.bytes
    }
}
