import CargoArtifact
import CargoFiles
import SystemPackage
import Testing

@testable import CargoSigning

@Suite struct RevocationListTests {
    let root = Digest(of: Array("root".utf8))
    let owner = SigningKey()
    let release = SigningKey()
    let now: Int64 = 1_800_000_000

    private func withList<Value>(_ bytes: [UInt8]?, _ body: (FilePath) throws -> Value) throws -> Value {
        var generator = SystemRandomNumberGenerator()
        let name = "longshore-revocations-" + String(generator.next(), radix: 36)
        let parent = try Folder.open("/tmp")
        try parent.makeFolder(name)
        defer { try? parent.removeTree(name) }
        let folder = try parent.folder(name)
        if let bytes { try folder.writeDurably("list.json", bytes) }
        var policy = TrustPolicy(rules: [.init(names: ["acme/*"], keys: [release.publicKey])])
        policy.revocationSources = [.init(file: "list.json", keys: [owner.publicKey])]
        try folder.writeDurably("trust.json", policy.json())
        return try body(folder.path.appending("trust.json"))
    }

    private func rule(_ list: [UInt8]?, now: Int64? = nil) throws -> String {
        let policy = try withList(list) { try TrustPolicy(contentsOf: $0) }
        let bundle = try release.bundle(root: root, claims: ReleaseClaims(name: "acme/x", version: "1.0.0", counter: 1))
        do {
            _ = try policy.verify(root: root, bundles: [bundle], now: now ?? self.now)
            return "accepted"
        } catch let refusal as Refusal { return refusal.rule }
    }

    @Test func `a signed list revokes keys and digests, and a stale, missing or forged one closes everything`() throws {
        func signed(_ keys: Set<Digest> = [], _ digests: Set<Digest> = [], by key: SigningKey? = nil) throws -> [UInt8] {
            try RevocationList(expires: now + 10, keys: keys, digests: digests).signed(by: key ?? owner)
        }
        #expect(try rule(try signed()) == "accepted")
        #expect(try rule(try signed(), now: now + 9) == "accepted")
        #expect(try rule(try signed(), now: now + 10) == "stale-revocations")
        #expect(try rule(try signed([release.publicKey.fingerprint])) == "revoked-key")
        #expect(try rule(try signed([], [root])) == "revoked-digest")
        #expect(try rule(nil) == "revocations")
        #expect(try rule(try signed(by: release)) == "revocations")
        #expect(try rule([1, 2, 3]) == "revocations")
        let text = #"{"digests":[],"expires":"2099-01-01T00:00:00Z","keys":[],"version":1}"#
        for (body, type, expected) in [
            (text, MediaType.revocations, "accepted"), (text, MediaType.delegation, "revocations"),
            (text.replacing("\"keys\":[]", with: "\"keys\":[],\"keys\":[]"), MediaType.revocations, "revocations"),
            (text.replacing("}", with: ",\"more\":1}"), MediaType.revocations, "revocations"),
        ] {
            let envelope = try DSSE.sign(payload: Array(body.utf8), type: type, key: owner).json()
            #expect(try rule(envelope) == expected, "\(body)")
        }
    }

    @Test func `changing a trust file keeps its mode, roots and lists, also while a list is stale`() throws {
        try withList([0]) { (path: FilePath) throws in
            try TrustPolicy.change(path) { policy in
                policy.mode = .audit
                policy.rules.append(.init(names: ["b/*"], keys: [], roots: [owner.publicKey]))
            }
            try TrustPolicy.change(path) { $0.revokedDigests = [root] }
            let policy = try TrustPolicy(contentsOf: path)
            #expect(policy.mode == .audit && policy.revocationSources.count == 1 && policy.revokedDigests == [root])
            #expect(policy.rules.last?.roots == [owner.publicKey])
        }
        let plain = TrustPolicy(rules: [.init(names: ["acme/*"], keys: [release.publicKey])])
        let text = String(decoding: plain.json(), as: UTF8.self)
        #expect(!text.contains("mode") && !text.contains("roots") && !text.contains("revocations"))
    }
}
