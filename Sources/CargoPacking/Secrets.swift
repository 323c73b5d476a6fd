/// Files that belong to nobody else: `pack` names and refuses them unless it is asked for them (docs/rules.md 9).
enum Secrets {
    /// Why a name is suspicious; nil when it is not.
    static func reason(name: String) -> String? {
        let lower = name.lowercased()
        if [".git", ".hg", ".svn"].contains(lower) { return "a repository with its whole history" }
        if lower == ".env" || (lower.hasPrefix(".env.") && ![".env.example", ".env.sample", ".env.template"].contains(lower)) {
            return "environment secrets"
        }
        let credentials = [
            ".ssh", ".aws", ".gnupg", ".netrc", ".npmrc", ".pypirc", ".pgpass", ".git-credentials", ".dockercfg", ".docker",
            ".kube",
            ".azure", ".htpasswd",
        ]
        if credentials.contains(lower) { return "credentials" }
        if ["id_rsa", "id_dsa", "id_ecdsa", "id_ed25519"].contains(lower) { return "a private key" }
        if [".key", ".p12", ".pfx", ".jks", ".kdbx", ".keystore", ".ppk"].contains(where: lower.hasSuffix) {
            return "a private key"
        }
        return nil
    }

    /// Bytes at a file's start that are looked at.
    static let head = 64 << 10

    /// Whether a file's start holds a private key in PEM.
    static func isPrivateKey(_ head: [UInt8]) -> Bool {
        let marker = Array("PRIVATE KEY-----".utf8)
        guard head.count > marker.count, let first = head.first(where: { $0 > 32 }), first == UInt8(ascii: "-") else {
            return false
        }
        return head.indices.dropLast(marker.count - 1).contains { head[$0...].starts(with: marker) }
    }

    /// Left out without a word: what programs leave behind and no cargo needs.
    static func isLitter(_ name: String) -> Bool {
        ["__pycache__", ".DS_Store", ".cargoignore"].contains(name) || name.hasSuffix(".cargo")
    }
}
