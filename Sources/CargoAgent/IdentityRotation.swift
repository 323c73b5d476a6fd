import CargoArtifact
import CargoClient
import CargoFiles
import CargoSigning
import CargoWire
import FoundationEssentials
import SystemPackage

/// Gives this host a new identity key, signed by the old one (docs/rules.md 2): it stays the host that it was, with its groups
/// and its tokens' place, and outcomes signed before stay verifiable under the key that they name.
public enum IdentityRotation {
    private static let next = "host.key.next"
    private static let note = "rotation.json"
    static let type = "application/vnd.longshore.host-rotation.v1+json"

    /// SHA-256 of both public keys, as the coordinator shows them.
    public struct Rotated: Hashable, Sendable {
        public var host: String
        public var former: String
        public var fingerprint: String
    }

    /// Which host a rotation was begun for: a crash leaves the next key and this.
    private struct Begun: Codable {
        var host: String
    }

    private struct Statement: Encodable {
        var host: String
        var publicKey: String

        enum CodingKeys: String, CodingKey {
            case host
            case publicKey = "public_key"
        }
    }

    /// No agent may run in this home meanwhile.
    public static func run(_ configuration: AgentConfiguration) async throws -> Rotated {
        let home = try Folder.open(configuration.home, create: 0o700)
        let lock = try Folder.open(configuration.home.appending("agent"), create: 0o700)
        guard try lock.tryLock(.exclusive) else {
            throw ClientError(
                status: 0, code: "agent_runs", message: "an agent uses \(configuration.home): stop it, then rotate its identity")
        }
        defer { withExtendedLifetime(lock) {} }
        let path = configuration.home.appending("host.key")
        guard FileManager.default.fileExists(atPath: path.string) else {
            throw ClientError(status: 0, code: "no_identity", message: "this host has no identity yet; its first start makes one")
        }
        let old = try HostIdentity(at: path)
        var new = try HostIdentity(at: configuration.home.appending(next))
        let account = configuration.coordinator
        let kept = HostCredential.load(from: configuration.home, coordinator: account.url)
        func register(_ identity: HostIdentity) async throws -> RegisteredHost {
            try await account.register(
                identity.registration(
                    name: configuration.name, slots: configuration.slots, capabilities: HostCapabilities(kinds: []), at: Date()))
        }
        func adopt(_ host: String) throws -> Rotated {
            let bytes = try File.contents(of: configuration.home.appending(next), limit: 65536)
            try home.writeDurably("host.key", bytes)
            for name in [next, note] { _ = try? home.remove(name) }
            return Rotated(host: host, former: old.fingerprint, fingerprint: new.fingerprint)
        }
        // A rotation that was cut off may have arrived: then the coordinator knows the new key already.
        if account.hasToken, let bytes = try? File.contents(of: configuration.home.appending(note), limit: 65536),
            let begun = try? JSONDecoder().decode(Begun.self, from: Data(bytes))
        {
            if try await register(new).id == begun.host { return try adopt(begun.host) }
            for name in [next, note] { _ = try? home.remove(name) }
            new = try HostIdentity(at: configuration.home.appending(next))
        }
        let host: RegisteredHost
        if account.hasToken {
            host = try await register(old)
        } else if let kept {
            host = RegisteredHost(id: kept.id, name: configuration.name, token: kept.token)
        } else {
            throw ClientError(
                status: 0, code: "no_key",
                message: "this host has no credentials at \(account.url): give --api-key-file, or pair it first")
        }
        try home.writeDurably(note, Array(try JSONEncoder().encode(Begun(host: host.id))))
        let statement = try CanonicalJSON.encode(Statement(host: host.id, publicKey: new.publicKey))
        let proof = try old.sign(statement, beside: new, type: type)
        do {
            var rotation = HostRotation(publicKey: new.publicKey, proof: proof)
            rotation.sealing = try new.sealingStatement(at: Date())
            let fresh = try await account.with(token: host.token).rotateHost(rotation)
            if kept != nil {
                try HostCredential(coordinator: account.url, id: fresh.id, token: fresh.token).save(to: configuration.home)
            }
        } catch let error as ClientError where !error.isTransient {
            for name in [next, note] { _ = try? home.remove(name) }
            throw error
        }
        return try adopt(host.id)
    }
}
