/// Published escapes from containers, by the part of an engine that has them and the releases that mend them.
///
/// Source: the projects' own security advisories. A distribution may have mended an older version without a new number, so this
/// names what to look up and forbids nothing.
public enum KnownEscapes {
    private struct Escape {
        var names: String
        /// As the engine names it.
        var part: String
        /// The first good release of each line that got one; a line below the lowest got none.
        var mended: [[Int]]
    }

    private static let all = [
        Escape(names: "CVE-2019-5736", part: "runc", mended: [[1, 0, 0]]),
        Escape(names: "CVE-2024-21626", part: "runc", mended: [[1, 1, 12]]),
        Escape(names: "CVE-2025-31133, CVE-2025-52565, CVE-2025-52881", part: "runc", mended: [[1, 2, 8], [1, 3, 3]]),
        Escape(names: "CVE-2024-0132", part: "nvidia-container-toolkit", mended: [[1, 16, 2]]),
        Escape(names: "CVE-2025-23266", part: "nvidia-container-toolkit", mended: [[1, 17, 8]]),
    ]

    /// The escapes that a part such as `runc 1.1.5` has by its number; empty for parts and numbers that it does not know.
    public static func of(_ part: String) -> [String] {
        let words = part.split(separator: " ")
        guard words.count >= 2, let version = version(words[1]) else { return [] }
        return all.filter { escape in
            guard escape.part == words[0].lowercased() else { return false }
            // Its own line's fix counts; a line without one is judged by the next higher fix.
            let line = escape.mended.first { $0.prefix(2).elementsEqual(version.prefix(2)) }
            guard let needed = line ?? escape.mended.first(where: { version.lexicographicallyPrecedes($0) }) else { return false }
            return version.lexicographicallyPrecedes(needed)
        }.map(\.names)
    }

    /// `1.1.5+ds1-1+deb12u1` is 1.1.5; a release candidate counts as the release before it.
    private static func version(_ text: Substring) -> [Int]? {
        let number = text.drop { $0 == "v" }
        let parts = number.prefix { $0.isNumber || $0 == "." }.split(separator: ".").map { Int($0) }
        guard parts.count == 3, let major = parts[0], let minor = parts[1], let patch = parts[2] else { return nil }
        return number.contains("-rc") ? [major, minor, patch - 1] : [major, minor, patch]
    }
}
