/// Little-endian bytes with the lengths before them that model files want.
struct ExampleBytes {
    private(set) var bytes: [UInt8] = []

    mutating func raw(_ more: some Sequence<UInt8>) { bytes += more }

    mutating func integer(_ value: some FixedWidthInteger) { withUnsafeBytes(of: value.littleEndian) { bytes += $0 } }

    mutating func float(_ value: Float) { integer(value.bitPattern) }

    /// GGUF's text: 64 bits of length, UTF-8.
    mutating func text(_ text: String) {
        integer(UInt64(text.utf8.count))
        raw(text.utf8)
    }

    mutating func pad(to alignment: Int) { raw(repeatElement(0, count: (alignment - bytes.count % alignment) % alignment)) }

    // MARK: Protocol buffers and WebAssembly count in groups of seven bits.

    mutating func varint(_ value: UInt64) {
        var rest = value
        while rest > 0x7F {
            bytes.append(UInt8(rest & 0x7F) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
    }

    /// A number as a field of a message.
    mutating func field(_ number: UInt64, _ value: UInt64) {
        varint(number << 3)
        varint(value)
    }

    /// A text or message as a field of a message.
    mutating func field(_ number: UInt64, _ content: some Collection<UInt8>) {
        varint(number << 3 | 2)
        varint(UInt64(content.count))
        raw(content)
    }

    mutating func field(_ number: UInt64, _ text: String) { field(number, Array(text.utf8)) }

    static func message(_ fill: (inout ExampleBytes) -> Void) -> [UInt8] {
        var message = ExampleBytes()
        fill(&message)
        return message.bytes
    }
}
