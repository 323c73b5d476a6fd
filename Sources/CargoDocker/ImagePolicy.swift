public import CargoArtifact

/// Which images an owner lets strangers name (docs/rules.md 4, 22).
///
/// A pattern is `REGISTRY/PATH[:TAG]` as `ImageReference` writes it, with `*` for any text within; `local:PATTERN` also
/// lets an image of that name be used as it lies on this host, without asking any registry. An image that the owner
/// has on the host for other reasons is not a stranger's to run, so nothing local is offered by itself.
public struct ImagePolicy: Hashable, Sendable {
    public static let publicRegistries = ["docker.io/*", "ghcr.io/*", "quay.io/*", "registry.k8s.io/*", "public.ecr.aws/*"]

    public var patterns: [String]

    /// At most 64 patterns are heeded.
    public init(patterns: [String] = ImagePolicy.publicRegistries) { self.patterns = Array(patterns.prefix(64)) }

    public func allowsPull(_ image: ImageReference) -> Bool {
        patterns.contains { !$0.hasPrefix("local:") && ImagePolicy.matches(ImagePolicy.whole($0), image) }
    }

    public func allowsLocal(_ image: ImageReference) -> Bool {
        patterns.contains { pattern in
            pattern.hasPrefix("local:") && ImagePolicy.matches(ImagePolicy.whole(String(pattern.dropFirst(6))), image)
        }
    }

    /// A pattern without a registry means Docker Hub's, as in a reference.
    private static func whole(_ pattern: String) -> String {
        if pattern == "*" { return pattern }
        let first = pattern.prefix { $0 != "/" }
        if first.count == pattern.count { return "docker.io/library/" + pattern }
        return first.contains(".") || first.contains(":") || first == "localhost" ? pattern : "docker.io/" + pattern
    }

    private static func matches(_ pattern: String, _ image: ImageReference) -> Bool {
        let withTag = image.name + ":" + (image.tag ?? "")
        return matches(Array(pattern.utf8)[...], Array(image.name.utf8)[...])
            || matches(Array(pattern.utf8)[...], Array(withTag.utf8)[...])
    }

    /// `*` stands for any bytes; linear in the product of both lengths.
    private static func matches(_ pattern: ArraySlice<UInt8>, _ text: ArraySlice<UInt8>) -> Bool {
        var pattern = pattern
        var text = text
        var star: (pattern: ArraySlice<UInt8>, text: ArraySlice<UInt8>)?
        while let byte = text.first {
            if pattern.first == UInt8(ascii: "*") {
                pattern = pattern.dropFirst()
                star = (pattern, text)
            } else if pattern.first == byte {
                pattern = pattern.dropFirst()
                text = text.dropFirst()
            } else if let last = star {
                let rest = last.text.dropFirst()
                star = (last.pattern, rest)
                pattern = last.pattern
                text = rest
            } else {
                return false
            }
        }
        return pattern.allSatisfy { $0 == UInt8(ascii: "*") }
    }
}
