import CargoArtifact
import CargoSigning
import CargoWire
import FoundationEssentials
import SystemPackage
import Testing

@testable import CargoAgent

@Suite struct HostIdentityTests {
    @Test func `a registration proves that its sender holds the key, and the key stays`() throws {
        let folder = FilePath("/tmp/longshore-identity-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(atPath: folder.string) }
        let identity = try HostIdentity(at: folder.appending("host.key"))
        let registration = try identity.registration(
            name: "quay", slots: 2, capabilities: HostCapabilities(kinds: ["process"]), at: Date(timeIntervalSince1970: 0))
        let key = try #require(registration.publicKey.flatMap { Data(base64Encoded: $0) })
        let proof = try #require(registration.proof)
        let envelope = try DSSEEnvelope(json: CanonicalJSON.encode(proof))
        let verified = try DSSE.verify(
            envelope, type: "application/vnd.longshore.host-registration.v1+json", keys: [try PublicKey(ed25519: Array(key))])
        let payload = try JSONDecoder().decode(JSONValue.self, from: Data(verified.payload))
        #expect(
            payload
                == .object([
                    "name": .string("quay"), "public_key": .string(registration.publicKey ?? ""),
                    "at": .string("1970-01-01T00:00:00Z"),
                ]))
        #expect(try HostIdentity(at: folder.appending("host.key")).publicKey == registration.publicKey)
    }
}
