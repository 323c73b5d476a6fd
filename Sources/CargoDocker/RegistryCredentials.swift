internal import CargoArtifact
internal import CargoFiles
internal import FoundationEssentials
public import SystemPackage

/// The owner's logins as `docker login` left them in `config.json`, read only where the owner says so and never for
/// strangers' jobs (docs/rules.md 22).
public struct RegistryCredentials: Sendable {
    private struct ConfigFile: Decodable {
        struct Entry: Decodable {
            var auth: String?
            var username: String?
            var password: String?
            var identitytoken: String?
        }
        var auths: [String: Entry]?
    }

    /// What the header `X-Registry-Auth` carries (Engine API, "Authentication").
    private struct Login: Encodable {
        var username: String?
        var password: String?
        var identitytoken: String?
        var serveraddress: String
    }

    private let entries: [String: ConfigFile.Entry]

    /// No login at all.
    public static let anonymous = RegistryCredentials(entries: [:])

    private init(entries: [String: ConfigFile.Entry]) { self.entries = entries }

    /// Reads `config.json`, at most 1 MiB.
    public init(contentsOf path: FilePath) throws {
        let bytes = try File.contents(of: path, limit: 1 << 20)
        entries = try StrictJSON.decode(ConfigFile.self, from: bytes, limit: 1 << 20).auths ?? [:]
    }

    /// The header's value for a registry, base64url of JSON; nil when there is no login for it.
    func header(registry: String) -> String? {
        let names =
            registry == "docker.io"
            ? ["https://index.docker.io/v1/", "index.docker.io", "docker.io"] : [registry, "https://" + registry]
        guard let name = names.first(where: { entries[$0] != nil }), let entry = entries[name] else { return nil }
        var login = Login(
            username: entry.username, password: entry.password, identitytoken: entry.identitytoken, serveraddress: name)
        if let auth = entry.auth, let data = Data(base64Encoded: auth) {
            let text = String(decoding: data, as: UTF8.self)
            guard let colon = text.firstIndex(of: ":") else { return nil }
            login.username = String(text[..<colon])
            login.password = String(text[text.index(after: colon)...])
        }
        guard let json = try? JSONEncoder().encode(login) else { return nil }
        return String(json.base64EncodedString().map { $0 == "+" ? "-" : $0 == "/" ? "_" : $0 })
    }
}
