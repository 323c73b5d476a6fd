internal import FoundationEssentials

/// The events of a cargo with `interface: stdio-jsonl` as a person reads them: tokens are the output, the rest are notes.
public struct EventText: Sendable {
    /// A piece for standard output, or else for standard error.
    public struct Said: Hashable, Sendable {
        public var isOutput: Bool
        public var text: [UInt8]
    }

    /// Bytes of a line that is not whole yet; the host's bound for an event is half of it.
    private static let longest = 1 << 17

    private var rest: [UInt8] = []
    /// The output stands in the middle of a line.
    private var isOpen = false

    public init() {}

    private struct Event: Decodable {
        var type: String
        var content: String?
        var message: String?
        var step: Double?
        var total: Double?
        var phase: String?
        var path: String?
    }

    public mutating func take(_ bytes: [UInt8]) -> [Said] {
        rest += bytes
        var said: [Said] = []
        while let end = rest.firstIndex(of: 10) {
            if let event = try? JSONDecoder().decode(Event.self, from: Data(rest[..<end])) { said += show(event) }
            rest.removeFirst(end + 1)
        }
        if rest.count > EventText.longest { rest = [] }
        return said
    }

    private mutating func show(_ event: Event) -> [Said] {
        switch event.type {
        case "token":
            let text = Array((event.content ?? "").utf8)
            if let last = text.last { isOpen = last != 10 }
            return [Said(isOutput: true, text: text)]
        case "done":
            defer { isOpen = false }
            return isOpen ? [Said(isOutput: true, text: [10])] : []
        case "progress":
            let phase = event.phase.map { $0 + " " } ?? ""
            return note("\(phase)\(number(event.step)) of \(number(event.total))")
        case "image": return note("image: \(event.path ?? "")")
        case "error": return note("error: \(event.message ?? "")")
        default: return note(event.message ?? event.type)
        }
    }

    private func note(_ text: String) -> [Said] { [Said(isOutput: false, text: Array((text + "\n").utf8))] }

    private func number(_ value: Double?) -> String {
        guard let value, value.isFinite else { return "?" }
        return Int(exactly: value).map(String.init) ?? String(value)
    }
}
