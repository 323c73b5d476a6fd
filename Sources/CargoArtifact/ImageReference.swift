/// The name of a container image: `[HOST[:PORT]/]PATH[:TAG][@sha256:HEX]`, as Docker reads it (distribution's
/// reference grammar): without a host it is Docker Hub's, and there a single word stands below `library`.
public struct ImageReference: Hashable, Sendable, CustomStringConvertible {
    /// `docker.io`, `127.0.0.1:8080`, …
    public let registry: String
    /// `library/alpine`
    public let repository: String
    /// Nil where only a digest is given; `latest` where neither is.
    public let tag: String?
    public let digest: Digest?

    public static let maximumLength = 512

    public init?(_ text: some StringProtocol) {
        guard !text.isEmpty, text.utf8.count <= ImageReference.maximumLength, text.utf8.allSatisfy({ $0 < 128 }) else {
            return nil
        }
        var rest = Substring(text)
        if let at = rest.firstIndex(of: "@") {
            guard let digest = Digest(rest[rest.index(after: at)...]) else { return nil }
            self.digest = digest
            rest = rest[..<at]
        } else {
            digest = nil
        }
        // A colon after the last slash begins a tag; before it, a port.
        let lastSlash = rest.lastIndex(of: "/")
        if let colon = rest.lastIndex(of: ":"), lastSlash.map({ colon > $0 }) ?? true {
            let word = rest[rest.index(after: colon)...]
            guard ImageReference.isTag(word) else { return nil }
            tag = String(word)
            rest = rest[..<colon]
        } else {
            tag = digest == nil ? "latest" : nil
        }
        let first = rest.prefix { $0 != "/" }
        let isHost = first.endIndex != rest.endIndex && (first.contains(".") || first.contains(":") || first == "localhost")
        if isHost {
            guard ImageReference.isHost(first) else { return nil }
            registry = first == "index.docker.io" ? "docker.io" : String(first)
            rest = rest[rest.index(after: first.endIndex)...]
        } else {
            registry = "docker.io"
        }
        let parts = rest.split(separator: "/", omittingEmptySubsequences: false)
        guard !parts.isEmpty, parts.allSatisfy(ImageReference.isComponent) else { return nil }
        repository = registry == "docker.io" && parts.count == 1 ? "library/\(rest)" : String(rest)
    }

    /// `docker.io/library/alpine`
    public var name: String { registry + "/" + repository }

    /// The whole reference, nothing left out.
    public var description: String {
        name + (tag.map { ":" + $0 } ?? "") + (digest.map { "@" + $0.description } ?? "")
    }

    private static func isTag(_ text: Substring) -> Bool {
        guard let first = text.utf8.first, text.utf8.count <= 128, isLetterOrDigit(first) || first == UInt8(ascii: "_") else {
            return false
        }
        return text.utf8.allSatisfy {
            isLetterOrDigit($0) || $0 == UInt8(ascii: "_") || $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "-")
        }
    }

    private static func isHost(_ text: Substring) -> Bool {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count <= 2, let name = parts.first, !name.isEmpty else { return false }
        if parts.count == 2, UInt16(parts[1]) == nil { return false }
        return name.split(separator: ".", omittingEmptySubsequences: false).allSatisfy { label in
            guard let first = label.utf8.first, let last = label.utf8.last, isLetterOrDigit(first), isLetterOrDigit(last) else {
                return false
            }
            return label.utf8.allSatisfy { isLetterOrDigit($0) || $0 == UInt8(ascii: "-") }
        }
    }

    /// Lower-case letters and digits with single `.`, `_`, `__` or dashes between them.
    private static func isComponent(_ text: Substring) -> Bool {
        let bytes = Array(text.utf8)
        guard let first = bytes.first, let last = bytes.last, isSmall(first), isSmall(last) else { return false }
        var separators: [UInt8] = []
        for byte in bytes {
            if isSmall(byte) {
                let isFine =
                    separators.count < 2 || separators.allSatisfy { $0 == UInt8(ascii: "-") }
                    || separators == [UInt8(ascii: "_"), UInt8(ascii: "_")]
                guard isFine else { return false }
                separators = []
            } else if byte == UInt8(ascii: ".") || byte == UInt8(ascii: "_") || byte == UInt8(ascii: "-") {
                separators.append(byte)
            } else {
                return false
            }
        }
        return true
    }

    private static func isSmall(_ byte: UInt8) -> Bool { (48...57).contains(byte) || (97...122).contains(byte) }
    private static func isLetterOrDigit(_ byte: UInt8) -> Bool { isSmall(byte) || (65...90).contains(byte) }
}
