/// Where a request stands in its client's trace (W3C Trace Context, level 1). It is passed on as it came: nothing here makes
/// spans of its own.
public struct Trace: Hashable, Sendable, Codable {
    /// `00-` trace id, parent id and flags: 55 characters.
    public let parent: String
    /// What vendors keep beside it, at most 512 bytes of printable ASCII.
    public let state: String?

    /// Nil where the parent is none: such a header is to be ignored (section 3.2.2.3).
    public init?(parent text: some StringProtocol, state: String? = nil) {
        let bytes = Array(text.utf8)
        guard bytes.count >= 55, bytes.count == 55 || !bytes.starts(with: [48, 48]) && bytes[55] == 45 && bytes.count <= 512
        else { return nil }
        for (index, byte) in bytes.prefix(55).enumerated() {
            switch index {
            case 2, 35, 52: guard byte == 45 else { return nil }
            default: guard (48...57).contains(byte) || (97...102).contains(byte) else { return nil }
            }
        }
        guard !bytes.starts(with: [102, 102]), bytes[3..<35].contains(where: { $0 != 48 }),
            bytes[36..<52].contains(where: { $0 != 48 })
        else { return nil }
        // Of a later version what this one knows.
        parent = "00" + String(decoding: bytes[2..<55], as: UTF8.self)
        let kept = state ?? ""
        self.state = !kept.isEmpty && kept.utf8.count <= 512 && kept.utf8.allSatisfy({ (32...126).contains($0) }) ? kept : nil
    }

    /// 32 hexadecimal digits.
    public var id: String { String(parent.dropFirst(3).prefix(32)) }

    enum CodingKeys: String, CodingKey {
        case parent = "traceparent"
        case state = "tracestate"
    }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        let text = try container.decode(String.self, forKey: .parent)
        guard let trace = Trace(parent: text, state: try container.decodeIfPresent(String.self, forKey: .state)) else {
            throw DecodingError.dataCorruptedError(forKey: .parent, in: container, debugDescription: "this is no traceparent")
        }
        self = trace
    }
}
