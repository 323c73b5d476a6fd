/// Whose closed hosts a job may use: circles that its account belongs to. A circle is a group, or an account with its own
/// hosts.
public struct Audience: Hashable, Sendable {
    /// Sorted.
    public var circles: [String]
    /// Hosts of these circles alone; else those that are open to everyone too.
    public var isExact: Bool

    public init(circles: some Sequence<String>, isExact: Bool = false) {
        self.circles = circles.sorted()
        self.isExact = isExact
    }

    /// The circle of an account's own hosts.
    public static func own(_ account: Int64) -> String { "~\(account)" }

    /// Whether a host that serves these circles (nil: everyone) may be given the job of such an audience (nil: of an account
    /// without circles).
    static func admits(_ audience: Audience?, host circles: [String]?) -> Bool {
        guard let circles else { return audience?.isExact != true }
        return audience?.circles.contains { circles.contains($0) } ?? false
    }

    /// As it stands in a job's row; ids of circles hold neither comma nor bar.
    var stored: String { (isExact ? "=" : "") + circles.joined(separator: ",") }

    init?(stored text: String) {
        guard !text.isEmpty else { return nil }
        isExact = text.hasPrefix("=")
        circles = text.dropFirst(isExact ? 1 : 0).split(separator: ",").map(String.init)
    }
}
