import CargoArtifact
import Testing

@testable import CargoSigning

@Suite struct DelegationTests {
    let root = Digest(of: Array("root".utf8))
    let anchor = SigningKey()
    let second = SigningKey(type: .p256)
    let release = SigningKey()
    let now: Int64 = 1_800_000_000

    private func rule(_ policy: TrustPolicy, _ signers: [SigningKey], _ delegations: [[UInt8]], name: String = "acme/x") throws
        -> String
    {
        let claims = ReleaseClaims(name: name, version: "1.0.0", counter: 1)
        do {
            let verified = try policy.verify(
                root: root, bundles: try signers.map { try $0.bundle(root: root, claims: claims) }, delegations: delegations,
                now: now)
            return verified.signers.allSatisfy { signers.map(\.publicKey).contains($0) } ? "accepted" : "wrong signers"
        } catch let refusal as Refusal { return refusal.rule }
    }

    private func delegation(
        to key: SigningKey, names: [String] = ["acme/*"], expires: Int64 = 1_800_000_001, by root: SigningKey? = nil
    ) throws -> [UInt8] {
        try Delegation(key: key.publicKey, names: names, expires: expires).signed(by: root ?? anchor)
    }

    private func policy(threshold: Int = 1, keys: [SigningKey] = [], roots: [SigningKey]) -> TrustPolicy {
        TrustPolicy(rules: [
            .init(names: ["acme/*"], keys: keys.map(\.publicKey), roots: roots.map(\.publicKey), threshold: threshold)
        ])
    }

    @Test func `a release key signs what its root delegated, and every refusal names the rule`() throws {
        let policy = policy(roots: [anchor])
        let good = try delegation(to: release)
        #expect(try rule(policy, [release], [good]) == "accepted")
        #expect(try rule(policy, [release], []) == "unknown-key")
        #expect(try rule(policy, [SigningKey()], [good]) == "unknown-key")
        #expect(try rule(policy, [release], [try delegation(to: release, by: SigningKey())]) == "unknown-key")
        #expect(try rule(policy, [release], [try delegation(to: release, expires: now)]) == "expired-delegation")
        #expect(try rule(policy, [release], [try delegation(to: release, names: ["acme/y", "other/*"])]) == "delegation-scope")
        #expect(try rule(policy, [release], [good], name: "other/x") == "no-rule")
        #expect(try rule(policy, [release], [try delegation(to: release, expires: now), good]) == "accepted")
        var revoked = policy
        revoked.revokedDigests = [try Delegation.digest(of: good)]
        #expect(try rule(revoked, [release], [good]) == "revoked-delegation")
        for key in [anchor, release] {
            revoked = policy
            revoked.revokedKeys = [key.publicKey.fingerprint]
            #expect(try rule(revoked, [release], [good]) == "revoked-key")
        }
        // The root itself signs delegations, not cargos; and a delegation is no chain.
        #expect(try rule(policy, [anchor], [good]) == "unknown-key")
        let further = SigningKey()
        #expect(try rule(policy, [further], [good, try delegation(to: further, by: release)]) == "unknown-key")
    }

    @Test func `all release keys of one root count once, and one release key of two roots counts once`() throws {
        let other = SigningKey()
        let both = [try delegation(to: release), try delegation(to: other)]
        let twoOfTwo = policy(threshold: 2, roots: [anchor, second])
        #expect(try rule(twoOfTwo, [release, other], both) == "threshold")
        #expect(try rule(twoOfTwo, [release], both + [try delegation(to: release, by: second)]) == "threshold")
        #expect(try rule(twoOfTwo, [release, other], both + [try delegation(to: other, by: second)]) == "accepted")
        #expect(try rule(twoOfTwo, [release, other], both + [try delegation(to: release, by: second)]) == "accepted")
        let mixed = policy(threshold: 2, keys: [release], roots: [anchor])
        #expect(try rule(mixed, [release], both) == "threshold")
        #expect(try rule(mixed, [release, other], both) == "accepted")
    }

    @Test func `a delegation that is not canonical, or of another payload type, says nothing`() throws {
        let policy = policy(roots: [anchor])
        let good = try delegation(to: release)
        let text = String(decoding: good, as: UTF8.self)
        #expect(try rule(policy, [release], [Array((text + " ").utf8)]) == "delegation")
        #expect(
            try rule(policy, [release], [Array(text.replacing("{\"payload\"", with: "{\"extra\":1,\"payload\"").utf8)])
                == "delegation")
        let key = Base64.encode(release.publicKey.der)
        for (body, type) in [
            (#"{"expires":"2099-01-01T00:00:00Z","key":"\#(key)","names":["acme/*"],"version":1}"#, MediaType.inTotoStatement),
            (#"{"expires":"2099-01-01T00:00:00Z","key":"\#(key)","names":["acme/*"],"version":2}"#, MediaType.delegation),
            (
                #"{"expires":"2099-01-01T00:00:00Z","key":"\#(key)","names":["acme/*"],"names":["*"],"version":1}"#,
                MediaType.delegation
            ),
            (#"{"expires":"2099-01-01T00:00:00Z","key":"\#(key)","names":[],"version":1}"#, MediaType.delegation),
            (#"{"expires":"never","key":"\#(key)","names":["acme/*"],"version":1}"#, MediaType.delegation),
        ] {
            let envelope = try DSSE.sign(payload: Array(body.utf8), type: type, key: anchor).json()
            #expect(try rule(policy, [release], [envelope]) != "accepted", "\(body)")
        }
        let control = #"{"expires":"2099-01-01T00:00:00Z","key":"\#(key)","names":["acme/*"],"version":1}"#
        let envelope = try DSSE.sign(payload: Array(control.utf8), type: MediaType.delegation, key: anchor).json()
        #expect(try rule(policy, [release], [envelope]) == "accepted")
    }
}
