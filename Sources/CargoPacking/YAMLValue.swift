internal import CargoArtifact
internal import Yams

/// A place in a YAML file and what stands there, read with sentences for people who mistyped.
///
/// Anchors and aliases are refused: a small file must not stand for a large one.
struct YAMLValue {
    /// Most bytes of a file.
    static let limit = 1 << 20
    static let file = "cargo.yaml"

    let node: Node
    let path: String

    private init(_ node: Node, path: String) {
        self.node = node
        self.path = path
    }

    /// Parses a file's text.
    static func parse(_ text: String) throws -> YAMLValue {
        try checkNesting(text)
        do {
            let parser = try Parser(yaml: text)
            guard let node = try parser.singleRoot() else { throw SourceFailure(file, "the file is empty") }
            // Nodes know their anchors only as long as the parser lives.
            try withExtendedLifetime(parser) { try checkAnchors(node) }
            return YAMLValue(node, path: "")
        } catch let error as YamlError {
            throw failure(error)
        }
    }

    /// An alias stands behind its anchor, so the first anchor is met before anything is expanded.
    private static func checkAnchors(_ node: Node) throws {
        let anchor: Anchor?
        switch node {
        case .scalar(let scalar): anchor = scalar.anchor
        case .alias(let alias): anchor = alias.anchor
        case .sequence(let sequence): anchor = sequence.anchor
        case .mapping(let mapping): anchor = mapping.anchor
        }
        guard anchor == nil else {
            throw SourceFailure(
                file, line: node.mark?.line, column: node.mark?.column, "anchors and aliases are not taken; write the value out")
        }
        switch node {
        case .sequence(let sequence): for element in sequence { try checkAnchors(element) }
        case .mapping(let mapping):
            for (key, value) in mapping {
                try checkAnchors(key)
                try checkAnchors(value)
            }
        default: break
        }
    }

    /// The parser recurses; nesting that no cargo needs is refused before it.
    private static func checkNesting(_ text: String) throws {
        var brackets = 0
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            brackets += line.utf8.count(where: { $0 == UInt8(ascii: "[") || $0 == UInt8(ascii: "{") })
            let lead = line.utf8.prefix { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: "?") }
            let indicators = line.utf8.count(where: { $0 == UInt8(ascii: "?") || $0 == UInt8(ascii: ":") })
            guard brackets <= 512, lead.count <= 256, indicators <= 512
            else { throw SourceFailure(file, line: index + 1, "the file is nested too deeply") }
        }
    }

    private static func failure(_ error: YamlError) -> SourceFailure {
        switch error {
        case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _), .composer(_, let problem, let mark, _):
            SourceFailure(file, line: mark.line, column: mark.column, problem)
        case .duplicatedKeysInMapping(let duplicates, let context):
            second(of: duplicates.first ?? "", after: context.mark, in: context.text)
        default: SourceFailure(file, "the file is not valid YAML: \(error)")
        }
    }

    /// Where a key stands again: the parser tells of its first place alone.
    private static func second(of key: String, after first: Mark, in text: String) -> SourceFailure {
        let message = "the key '\(key)' stands there twice"
        let later = text.split(separator: "\n", omittingEmptySubsequences: false).enumerated().dropFirst(first.line)
        let again = later.first { _, line in
            let lead = line.utf8.prefix { $0 == UInt8(ascii: " ") }.count
            let rest = line.dropFirst(lead)
            return lead + 1 == first.column && [key, "'\(key)'", "\"\(key)\""].contains { rest.hasPrefix($0 + ":") }
        }
        guard let again else { return SourceFailure(file, line: first.line, column: first.column, message) }
        return SourceFailure(file, line: again.offset + 1, column: first.column, "\(message), first on line \(first.line)")
    }

    func failure(_ message: String) -> SourceFailure {
        SourceFailure(
            YAMLValue.file, line: node.mark?.line, column: node.mark?.column, path.isEmpty ? message : "\(path): \(message)")
    }

    /// The members of a mapping with a closed set of keys.
    func members(_ allowed: [String]) throws -> [String: YAMLValue] {
        guard case .mapping(let mapping) = node else { throw failure("a mapping (key: value) is expected") }
        var members: [String: YAMLValue] = [:]
        for (key, value) in mapping {
            let name = try YAMLValue(key, path: path).string()
            guard allowed.contains(name) else {
                let near = allowed.first { $0.lowercased().filter(\.isLetter) == name.lowercased().filter(\.isLetter) }
                throw YAMLValue(key, path: path).failure(
                    "'\(name)' is unknown; "
                        + (near.map { "did you mean '\($0)'?" } ?? "known are \(allowed.joined(separator: ", "))"))
            }
            members[name] = YAMLValue(value, path: path.isEmpty ? name : path + "." + name)
        }
        return members
    }

    /// The members of a mapping with any keys.
    func dictionary() throws -> [String: YAMLValue] {
        guard case .mapping(let mapping) = node else { throw failure("a mapping (key: value) is expected") }
        var members: [String: YAMLValue] = [:]
        for (key, value) in mapping {
            let name = try YAMLValue(key, path: path).string()
            members[name] = YAMLValue(value, path: path + "." + name)
        }
        return members
    }

    var isMapping: Bool {
        switch node {
        case .mapping: true
        default: false
        }
    }

    var isScalar: Bool {
        switch node {
        case .scalar: true
        default: false
        }
    }

    func list() throws -> [YAMLValue] {
        guard case .sequence(let sequence) = node else { throw failure("a list is expected") }
        return sequence.enumerated().map { YAMLValue($1, path: "\(path)[\($0)]") }
    }

    /// One text or a list of texts.
    func strings() throws -> [String] {
        if isScalar { return [try string()] }
        return try list().map { try $0.string() }
    }

    func string() throws -> String {
        guard case .scalar(let scalar) = node else { throw failure("a text is expected") }
        guard scalar.string.unicodeScalars.allSatisfy({ $0.value != 0 }) else { throw failure("the text holds a zero byte") }
        return scalar.string
    }

    private func plain() throws -> String {
        guard case .scalar(let scalar) = node else { throw failure("a single value is expected") }
        return scalar.string
    }

    func integer(_ range: ClosedRange<Int>) throws -> Int {
        guard let value = Int(try plain()), range.contains(value) else {
            throw failure("a whole number from \(range.lowerBound) to \(range.upperBound) is expected")
        }
        return value
    }

    func number(_ range: ClosedRange<Double>) throws -> Double {
        guard let value = Double(try plain()), range.contains(value) else {
            throw failure("a number from \(range.lowerBound) to \(range.upperBound) is expected")
        }
        return value
    }

    func bool() throws -> Bool {
        switch try plain() {
        case "true", "yes", "on": return true
        case "false", "no", "off": return false
        default: throw failure("true or false is expected")
        }
    }

    func bytes() throws -> ByteCount {
        guard let count = ByteCount(try plain()) else { throw failure("a size such as 512MiB or 2GiB is expected") }
        return count
    }

    func seconds() throws -> Seconds {
        guard let seconds = Seconds(try plain()) else { throw failure("a time such as 90s, 10m or 2h is expected") }
        return seconds
    }

    func choice<Value: RawRepresentable & CaseIterable>(_ type: Value.Type) throws -> Value where Value.RawValue == String {
        let text = try string()
        guard let value = Value(rawValue: text) else {
            throw failure("'\(text)' is unknown; choose one of \(Value.allCases.map(\.rawValue).joined(separator: ", "))")
        }
        return value
    }
}
