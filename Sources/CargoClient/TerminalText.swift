/// Bytes as a terminal may see them: control characters other than line ends and tabs become visible text.
public struct TerminalText: Sendable {
    private let isTerminal: Bool
    /// A 0xC2 that ended the last piece: with the next byte it may be a control character of the upper range.
    private var pendingC2 = false

    public init(isTerminal: Bool) { self.isTerminal = isTerminal }

    /// The next bytes of a stream as they may be shown; all of them when the stream is no terminal.
    public mutating func shown(_ bytes: [UInt8]) -> [UInt8] {
        guard isTerminal else { return bytes }
        var out: [UInt8] = []
        out.reserveCapacity(bytes.count)
        for byte in bytes {
            if pendingC2 {
                pendingC2 = false
                if (0x80...0x9F).contains(byte) {
                    out += Array("\\x".utf8) + hex(byte)
                    continue
                }
                out.append(0xC2)
            }
            switch byte {
            case 0xC2: pendingC2 = true
            case 9, 10, 13: out.append(byte)
            case 0..<32: out += [94, byte + 64]
            case 127: out += [94, 63]
            default: out.append(byte)
            }
        }
        return out
    }

    private func hex(_ byte: UInt8) -> [UInt8] { Array(String(byte, radix: 16).utf8) }
}
