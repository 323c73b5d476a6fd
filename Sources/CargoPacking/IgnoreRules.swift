/// The patterns of a `.cargoignore`, which reads as a `.dockerignore`: one pattern a line, `*`, `?` and `**`,
/// `!` takes back in, `#` comments; the last match counts, and a folder's match covers what is below it.
public struct IgnoreRules: Hashable, Sendable {
    private struct Rule: Hashable {
        var parts: [String]
        var takesIn: Bool
    }

    private var rules: [Rule] = []

    public init(_ text: String = "") {
        for line in text.split(whereSeparator: \.isNewline) {
            var pattern = Substring(line)
            while pattern.first?.isWhitespace == true { pattern = pattern.dropFirst() }
            while pattern.last?.isWhitespace == true { pattern = pattern.dropLast() }
            guard !pattern.isEmpty, !pattern.hasPrefix("#") else { continue }
            let takesIn = pattern.hasPrefix("!")
            if takesIn { pattern = pattern.dropFirst() }
            let parts = pattern.split(separator: "/").map(String.init).filter { $0 != "." }
            if !parts.isEmpty { rules.append(Rule(parts: parts, takesIn: takesIn)) }
        }
    }

    /// What the rules say of a path; nil when none matches.
    public enum Verdict: Hashable, Sendable { case leftOut, takenIn }

    public func verdict(_ path: String) -> Verdict? {
        let parts = path.split(separator: "/").map(String.init)
        var verdict: Verdict?
        for rule in rules {
            let covers = (1...parts.count).contains { IgnoreRules.match(rule.parts[...], parts[..<$0]) }
            if covers { verdict = rule.takesIn ? .takenIn : .leftOut }
        }
        return verdict
    }

    /// Whether something below this folder could be taken back in.
    var hasExceptions: Bool { rules.contains(where: \.takesIn) }

    private static func match(_ pattern: ArraySlice<String>, _ parts: ArraySlice<String>) -> Bool {
        guard let first = pattern.first else { return parts.isEmpty }
        if first == "**" {
            return (parts.startIndex...parts.endIndex).contains { match(pattern.dropFirst(), parts[$0...]) }
        }
        guard let part = parts.first, matchPart(Array(first.unicodeScalars)[...], Array(part.unicodeScalars)[...]) else {
            return false
        }
        return match(pattern.dropFirst(), parts.dropFirst())
    }

    /// `*` and `?` within one part of a path, in time proportional to the product of the lengths.
    static func matchPart(_ pattern: ArraySlice<Unicode.Scalar>, _ text: ArraySlice<Unicode.Scalar>) -> Bool {
        var (p, t) = (pattern.startIndex, text.startIndex)
        var star: (pattern: Int, text: Int)?
        while t < text.endIndex {
            if p < pattern.endIndex, pattern[p] == "*" {
                star = (p, t)
                p += 1
            } else if p < pattern.endIndex, pattern[p] == "?" || pattern[p] == text[t] {
                p += 1
                t += 1
            } else if let last = star {
                star = (last.pattern, last.text + 1)
                p = last.pattern + 1
                t = last.text + 1
            } else {
                return false
            }
        }
        while p < pattern.endIndex, pattern[p] == "*" { p += 1 }
        return p == pattern.endIndex
    }
}
