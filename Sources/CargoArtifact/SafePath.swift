/// A path inside a cargo: relative, `/` between parts, no part that leads anywhere else.
public struct SafePath: Hashable, Sendable, CustomStringConvertible {
    /// Most bytes of a path, and of one part (the kernel's own bounds).
    public static let maximumBytes = 4095
    public static let maximumPart = 255
    /// Most parts.
    public static let maximumDepth = 100

    public let parts: [String]

    public var text: String { parts.joined(separator: "/") }
    public var description: String { text }

    /// Refuses absolute paths, `..`, empty parts, control characters, and what is too long or too deep.
    /// A leading `./` and one trailing `/` are dropped.
    public init(_ text: some StringProtocol) throws {
        func refusal(_ what: String) -> Refusal {
            Refusal("path-traversal", "the path '\(SafePath.printable(text))' is refused: \(what)")
        }
        guard text.utf8.count <= SafePath.maximumBytes else {
            throw Refusal("path-length", "a path of \(text.utf8.count) bytes is longer than \(SafePath.maximumBytes)")
        }
        guard !text.hasPrefix("/") else { throw refusal("it is absolute") }
        var rest = Substring(text)
        while rest.hasPrefix("./") { rest = rest.dropFirst(2) }
        if rest.hasSuffix("/") { rest = rest.dropLast() }
        let parts = rest.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count <= SafePath.maximumDepth else {
            throw Refusal("path-length", "a path is \(parts.count) parts deep, more than \(SafePath.maximumDepth)")
        }
        for part in parts {
            guard !part.isEmpty, part != "." else { throw refusal("a part of it is empty") }
            guard part != ".." else { throw refusal("it leads out of its folder") }
            guard part.utf8.count <= SafePath.maximumPart else { throw refusal("a part of it is too long") }
            guard part.unicodeScalars.allSatisfy({ $0.value >= 32 && $0.value != 127 }) else {
                throw refusal("it holds a control character")
            }
        }
        self.parts = parts.map(String.init)
    }

    /// Whether a symbolic link at this path that points to `target` stays inside the cargo.
    public func keepsInside(linkTarget target: String) -> Bool {
        guard !target.isEmpty, !target.hasPrefix("/"), target.utf8.count <= SafePath.maximumBytes,
            target.unicodeScalars.allSatisfy({ $0.value >= 32 && $0.value != 127 })
        else { return false }
        var depth = parts.count - 1
        for part in target.split(separator: "/") {
            if part == ".." { depth -= 1 } else if part != "." { depth += 1 }
            if depth < 0 { return false }
        }
        return true
    }

    /// The start of a text with control characters replaced, for messages.
    private static func printable(_ text: some StringProtocol) -> String {
        var out = String.UnicodeScalarView()
        for scalar in text.unicodeScalars.prefix(100) { out.append(scalar.value < 32 || scalar.value == 127 ? "?" : scalar) }
        return String(out)
    }
}
