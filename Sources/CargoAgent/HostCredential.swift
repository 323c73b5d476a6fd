import CargoClient
import CargoFiles
import FoundationEssentials
import SystemPackage

/// What a paired host keeps: who it is at which coordinator. Its own token, never a key of an account (docs/rules.md 2).
struct HostCredential: Hashable, Sendable, Codable {
    var coordinator: String
    var id: String
    var token: String

    private static let name = "host.token"

    /// The credential for this coordinator, if the home holds one.
    static func load(from home: FilePath, coordinator: String) -> HostCredential? {
        guard let bytes = try? File.contents(of: home.appending(name), limit: 65536),
            let kept = try? JSONDecoder().decode(HostCredential.self, from: Data(bytes)), kept.coordinator == coordinator
        else { return nil }
        return kept
    }

    /// Readable by this user alone.
    func save(to home: FilePath) throws {
        let folder = try Folder.open(home, create: 0o700)
        try folder.writeDurably(HostCredential.name, Array(try JSONEncoder().encode(self)))
    }

    static func remove(from home: FilePath) { try? FileManager.default.removeItem(atPath: home.appending(name).string) }
}
