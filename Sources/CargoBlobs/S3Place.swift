/// Where an S3 bucket is, as `--blobs` names it: `s3://BUCKET[/PREFIX][?endpoint=URL][&region=NAME]`.
public struct S3Place: Hashable, Sendable, CustomStringConvertible {
    public let bucket: String
    /// Before each key; empty, or ends with `/`.
    public let prefix: String
    public let region: String
    /// Scheme and host, and the bucket where it is part of the path.
    let base: String

    /// Nil for anything that is not such a URL. With an endpoint the bucket is a part of the path, as other servers than
    /// Amazon's want it.
    public init?(_ text: String) {
        guard text.hasPrefix("s3://") else { return nil }
        let parts = text.dropFirst(5).split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        let names = parts[0].split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        guard let bucket = names.first, S3Place.isBucket(bucket) else { return nil }
        let folders = names.dropFirst().filter { !$0.isEmpty }
        let isPlain = folders.joined().utf8.allSatisfy { S3Place.isLetterOrDigit($0) || $0 == 45 || $0 == 46 || $0 == 95 }
        guard isPlain, !folders.contains("."), !folders.contains("..") else { return nil }
        var options: [String: String] = [:]
        for option in parts.count > 1 ? parts[1].split(separator: "&") : [] {
            let pair = option.split(separator: "=", maxSplits: 1).map(String.init)
            guard pair.count == 2, ["endpoint", "region"].contains(pair[0]), options[pair[0]] == nil else { return nil }
            options[pair[0]] = pair[1]
        }
        let region = options["region"] ?? "us-east-1"
        guard region.utf8.allSatisfy({ S3Place.isLetterOrDigit($0) || $0 == 45 }) else { return nil }
        if let endpoint = options["endpoint"] {
            guard let host = S3Place.origin(endpoint) else { return nil }
            base = host + "/" + bucket
        } else {
            base = "https://\(bucket).s3.\(region).amazonaws.com"
        }
        self.bucket = bucket
        self.region = region
        prefix = folders.isEmpty ? "" : folders.joined(separator: "/") + "/"
    }

    public var description: String { "s3://\(bucket)/\(prefix)" }

    func url(of key: String) -> String { "\(base)/\(prefix)\(key)" }

    /// Scheme, host and port alone; a `/` at the end is left out.
    private static func origin(_ text: String) -> String? {
        let trimmed = text.hasSuffix("/") ? String(text.dropLast()) : text
        for scheme in ["http://", "https://"] where trimmed.hasPrefix(scheme) {
            let host = trimmed.dropFirst(scheme.count).utf8
            let isPlain = host.allSatisfy { isLetterOrDigit($0) || [45, 46, 58, 91, 93].contains($0) }
            return host.isEmpty || !isPlain ? nil : trimmed
        }
        return nil
    }

    private static func isBucket(_ text: String) -> Bool {
        (3...63).contains(text.utf8.count)
            && text.utf8.allSatisfy { (97...122).contains($0) || (48...57).contains($0) || $0 == 45 || $0 == 46 }
    }

    private static func isLetterOrDigit(_ byte: UInt8) -> Bool {
        (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte)
    }
}
