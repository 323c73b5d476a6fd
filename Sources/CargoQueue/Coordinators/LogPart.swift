/// One stretch of an attempt's log: which coordinator keeps it, and where it begins. An attempt has one part, until its
/// coordinator dies and its host goes on with another: that one's part begins where the dead one had answered for the rest.
public struct LogPart: Hashable, Sendable {
    /// A coordinator's id; empty in a store that only one has.
    public var home: String
    /// The offset of its first byte.
    public var base: Int64

    public init(home: String, base: Int64) {
        self.home = home
        self.base = base
    }

    /// Parts of one attempt at most: as often its coordinator may die.
    static let most = 64

    /// `ID@BASE ID@BASE`, as the store keeps them, in the order of their bases.
    static func text(_ parts: [LogPart]) -> String { parts.map { "\($0.home)@\($0.base)" }.joined(separator: " ") }

    /// Nothing readable is one part of whoever asks.
    static func parts(_ text: String) -> [LogPart] {
        let parts = text.split(separator: " ").compactMap { word -> LogPart? in
            guard let at = word.lastIndex(of: "@"), let base = Int64(word[word.index(after: at)...]) else { return nil }
            return LogPart(home: String(word[..<at]), base: base)
        }
        return parts.isEmpty ? [LogPart(home: "", base: 0)] : parts
    }

    /// The part in which an offset is looked for: parts may overlap by what a dead coordinator had not answered for, and then
    /// the later one goes on growing.
    static func holding(_ offset: Int64, of parts: [LogPart]) -> LogPart? {
        parts.last { $0.base <= offset } ?? parts.first
    }
}

/// An attempt that runs, and where this coordinator's own part of its log begins.
public struct RunningAttempt: Hashable, Sendable {
    public var id: JobID
    public var attempt: Int
    public var base: Int64

    public init(id: JobID, attempt: Int, base: Int64 = 0) {
        self.id = id
        self.attempt = attempt
        self.base = base
    }
}
