extension CargoVersion: Comparable {
    /// Precedence of semantic versions (section 11): numbers first, and what led to a release is older than it.
    public static func < (left: CargoVersion, right: CargoVersion) -> Bool {
        let (one, other) = (left.parts, right.parts)
        for (mine, theirs) in zip(one.numbers, other.numbers) where mine != theirs { return isLess(mine, theirs) }
        guard let before = one.before, let after = other.before else { return one.before != nil && other.before == nil }
        for (mine, theirs) in zip(before, after) where mine != theirs {
            let (isNumber, isOtherNumber) = (isNumeric(mine), isNumeric(theirs))
            if isNumber != isOtherNumber { return isNumber }
            return isNumber ? isLess(mine, theirs) : mine.utf8.lexicographicallyPrecedes(theirs.utf8)
        }
        return before.count < after.count
    }

    public var isRelease: Bool { parts.before == nil }

    private var parts: (numbers: [Substring], before: [Substring]?) {
        let halves = description.split(separator: "-", maxSplits: 1)
        return (halves.first?.split(separator: ".") ?? [], halves.dropFirst().first?.split(separator: "."))
    }

    /// Numbers of any length, which have no zeros before them: the longer one is greater.
    private static func isLess(_ left: Substring, _ right: Substring) -> Bool {
        left.utf8.count != right.utf8.count
            ? left.utf8.count < right.utf8.count : left.utf8.lexicographicallyPrecedes(right.utf8)
    }

    private static func isNumeric(_ text: Substring) -> Bool { text.utf8.allSatisfy { (48...57).contains($0) } }
}
