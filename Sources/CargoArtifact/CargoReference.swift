/// `publisher/name`, ASCII, compared byte for byte (docs/rules.md 1).
///
/// Each half is an OCI path component (distribution specification, "Pulling manifests"): lower-case
/// letters and digits, with single `.`, `_`, `-` between them, at most 64 bytes.
public struct CargoName: Hashable, Sendable, CustomStringConvertible {
    public let publisher: String
    public let name: String

    public init?(_ text: some StringProtocol) {
        let halves = Substring(text).split(separator: "/", omittingEmptySubsequences: false)
        guard halves.count == 2, halves.allSatisfy(CargoName.isComponent) else { return nil }
        publisher = String(halves[0])
        name = String(halves[1])
    }

    public var description: String { publisher + "/" + name }

    private static func isComponent(_ text: Substring) -> Bool {
        let bytes = Array(text.utf8)
        guard let first = bytes.first, let last = bytes.last, bytes.count <= 64 else { return false }
        guard isLetterOrDigit(first), isLetterOrDigit(last) else { return false }
        for (index, byte) in bytes.enumerated() where !isLetterOrDigit(byte) {
            guard byte == 45 || byte == 46 || byte == 95, isLetterOrDigit(bytes[index + 1]) else { return false }
        }
        return true
    }

    private static func isLetterOrDigit(_ byte: UInt8) -> Bool { (48...57).contains(byte) || (97...122).contains(byte) }
}

/// A semantic version 2.0.0 without build metadata, which no OCI tag can carry.
public struct CargoVersion: Hashable, Sendable, CustomStringConvertible {
    /// The version as written, at most 128 bytes.
    public let description: String

    public init?(_ text: some StringProtocol) {
        guard text.utf8.count <= 128, text.utf8.allSatisfy({ $0 < 128 }), !text.contains("+") else { return nil }
        let (core, prerelease): (Substring, Substring?) = {
            let whole = Substring(text)
            guard let dash = whole.firstIndex(of: "-") else { return (whole, nil) }
            return (whole[..<dash], whole[whole.index(after: dash)...])
        }()
        let numbers = core.split(separator: ".", omittingEmptySubsequences: false)
        guard numbers.count == 3, numbers.allSatisfy(CargoVersion.isNumber) else { return nil }
        if let prerelease {
            let parts = prerelease.split(separator: ".", omittingEmptySubsequences: false)
            let valid = parts.allSatisfy { part in
                guard !part.isEmpty, part.utf8.allSatisfy(CargoVersion.isIdentifier) else { return false }
                return part.utf8.allSatisfy({ (48...57).contains($0) }) ? CargoVersion.isNumber(part) : true
            }
            guard valid else { return nil }
        }
        description = String(text)
    }

    private static func isNumber(_ text: Substring) -> Bool {
        guard !text.isEmpty, text.utf8.allSatisfy({ (48...57).contains($0) }) else { return false }
        return text.utf8.count == 1 || text.utf8.first != 48
    }

    private static func isIdentifier(_ byte: UInt8) -> Bool {
        (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte) || byte == 45
    }
}

/// What a person writes to name a cargo: `publisher/name:version` or `publisher/name@sha256:HEX`.
public struct CargoReference: Hashable, Sendable, CustomStringConvertible {
    /// A movable name or exact content.
    public enum Selector: Hashable, Sendable {
        case version(CargoVersion)
        case digest(Digest)
    }

    public let name: CargoName
    public let selector: Selector

    public init(name: CargoName, selector: Selector) {
        self.name = name
        self.selector = selector
    }

    public init?(_ text: some StringProtocol) {
        if let at = text.firstIndex(of: "@") {
            guard let name = CargoName(text[..<at]), let digest = Digest(text[text.index(after: at)...]) else { return nil }
            self.init(name: name, selector: .digest(digest))
        } else {
            guard let colon = text.firstIndex(of: ":"), let name = CargoName(text[..<colon]),
                let version = CargoVersion(text[text.index(after: colon)...])
            else { return nil }
            self.init(name: name, selector: .version(version))
        }
    }

    /// What stands behind the name on the wire: a tag or a digest.
    public var tagOrDigest: String {
        switch selector {
        case .version(let version): version.description
        case .digest(let digest): digest.description
        }
    }

    public var description: String {
        switch selector {
        case .version(let version): "\(name):\(version)"
        case .digest(let digest): "\(name)@\(digest)"
        }
    }
}
