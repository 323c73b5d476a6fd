import CargoArtifact
import Testing

@testable import CargoSigning

@Suite struct DSSETests {
    @Test(arguments: KeyType.allCases) func signsAndVerifiesAndKeysSurviveTheirFiles(_ type: KeyType) throws {
        let key = try SigningKey(pem: SigningKey(type: type).pem)
        let other = SigningKey(type: type)
        let envelope = try DSSEEnvelope(json: try DSSE.sign(payload: [1, 2, 3], type: "a/b", key: key).json())
        let publicKey = try PublicKey(pem: key.publicKey.pem)
        #expect(publicKey == key.publicKey)
        let verified = try DSSE.verify(envelope, type: "a/b", keys: [other.publicKey, publicKey, publicKey])
        #expect(verified.payload == [1, 2, 3] && verified.signers == [publicKey])
        #expect(throws: Refusal.self) { try DSSE.verify(envelope, type: "a/c", keys: [publicKey]) }
        #expect(throws: Refusal.self) { try DSSE.verify(envelope, type: "a/b", keys: [other.publicKey]) }
        var changed = envelope
        changed.payload = "AQIE"
        #expect(throws: Refusal.self) { try DSSE.verify(changed, type: "a/b", keys: [publicKey]) }
        changed = envelope
        changed.payloadType = "a/c"
        #expect(throws: Refusal.self) { try DSSE.verify(changed, type: "a/c", keys: [publicKey]) }
    }

    @Test func encodesAsTheSpecificationsExampleSays() {
        let encoded = DSSE.preAuthenticationEncoding(type: "http://example.com/HelloWorld", payload: Array("hello world".utf8))
        #expect(String(decoding: encoded, as: UTF8.self) == "DSSEv1 29 http://example.com/HelloWorld 11 hello world")
    }

    @Test func refusesSecondEncodingsAndSmallPointsAsKeys() {
        let p: [UInt8] = [0xED] + [UInt8](repeating: 0xFF, count: 30) + [0x7F]
        let zero = [UInt8](repeating: 0, count: 32)
        let one: [UInt8] = [1] + [UInt8](repeating: 0, count: 31)
        for raw in [p, zero, one, one.dropLast() + [0x80], Array(zero.dropLast())] {
            #expect(throws: KeyFailure.self) { try PublicKey(ed25519: raw) }
        }
    }

    @Test func writesTimesAndReadsThemBack() {
        for seconds: Int64 in [0, 951_782_400, 1_763_683_199, 4_102_444_800, 68_256_000] {
            #expect(Timestamp.seconds(Timestamp.text(seconds)) == seconds)
        }
        #expect(Timestamp.seconds("2026-11-21T00:00:00Z") == 1_795_219_200)
        for text in ["2026-02-29T00:00:00Z", "2026-11-21T00:00:00+00:00", "2026-13-01T00:00:00Z", "2026-11-21 00:00:00Z", ""] {
            #expect(Timestamp.seconds(text) == nil)
        }
    }
}

@Suite struct TrustPolicyTests {
    let root = Digest(of: Array("root".utf8))
    let one = SigningKey()
    let two = SigningKey(type: .p256)
    let three = SigningKey()
    let now: Int64 = 1_800_000_000

    private func claims(_ name: String = "acme/x", counter: Int64 = 5, expires: Int64? = nil) -> ReleaseClaims {
        ReleaseClaims(name: name, version: "1.0.0", counter: counter, expires: expires)
    }

    private func rule(
        _ policy: TrustPolicy, _ bundles: [[UInt8]], root: Digest? = nil, seen: Int64? = nil
    ) -> String {
        do {
            _ = try policy.verify(root: root ?? self.root, bundles: bundles, now: now, leastCounter: { _ in seen })
            return "accepted"
        } catch let refusal as Refusal { return refusal.rule } catch { return "\(error)" }
    }

    @Test func acceptsOnlyWhatARuleAllowsAndNamesTheRuleThatRefused() throws {
        let policy = TrustPolicy(rules: [.init(names: ["acme/*"], keys: [one.publicKey])])
        let good = try one.bundle(root: root, claims: claims())
        #expect(rule(policy, [good]) == "accepted")
        #expect(rule(policy, []) == "unsigned")
        #expect(rule(TrustPolicy(), [good]) == "unknown-key")
        #expect(rule(policy, [try three.bundle(root: root, claims: claims())]) == "unknown-key")
        #expect(rule(policy, [try one.bundle(root: root, claims: claims("other/x"))]) == "no-rule")
        #expect(rule(policy, [good], root: Digest(of: [1])) == "signature-digest")
        #expect(rule(policy, [try one.bundle(root: root, claims: claims(expires: now))]) == "expired-signature")
        #expect(rule(policy, [try one.bundle(root: root, claims: claims(expires: now + 1))]) == "accepted")
        #expect(rule(policy, [good], seen: 5) == "accepted")
        #expect(rule(policy, [good], seen: 6) == "rollback")
        #expect(rule(TrustPolicy(rules: policy.rules, revokedKeys: [one.publicKey.fingerprint]), [good]) == "revoked-key")
        #expect(rule(TrustPolicy(rules: policy.rules, revokedDigests: [root]), [good]) == "revoked-digest")
        let ended = TrustPolicy(rules: [.init(names: ["acme/*"], keys: [one.publicKey], notAfter: now)])
        #expect(rule(ended, [good]) == "expired-rule")
    }

    @Test func countsDistinctKeysForAThreshold() throws {
        let policy = TrustPolicy(rules: [.init(names: ["acme/x"], keys: [one.publicKey, two.publicKey], threshold: 2)])
        let first = try one.bundle(root: root, claims: claims())
        let second = try two.bundle(root: root, claims: claims())
        #expect(rule(policy, [first]) == "threshold")
        #expect(rule(policy, [first, try one.bundle(root: root, claims: claims())]) == "threshold")
        #expect(rule(policy, [first, try two.bundle(root: root, claims: claims(counter: 6))]) == "threshold")
        #expect(rule(policy, [first, second]) == "accepted")
    }

    @Test func letsTheNarrowestRuleSpeakAlone() throws {
        let policy = TrustPolicy(rules: [
            .init(names: ["*"], keys: [one.publicKey]), .init(names: ["acme/*"], keys: [two.publicKey]),
            .init(names: ["acme/x"], keys: [three.publicKey]),
        ])
        func outcome(_ key: SigningKey, _ name: String) throws -> String {
            rule(policy, [try key.bundle(root: root, claims: claims(name))])
        }
        #expect(try outcome(three, "acme/x") == "accepted")
        #expect(try outcome(two, "acme/x") == "unknown-key")
        #expect(try outcome(two, "acme/y") == "accepted")
        #expect(try outcome(one, "acme/y") == "unknown-key")
        #expect(try outcome(one, "other/y") == "accepted")
    }

    @Test func readsBackWhatItWrites() throws {
        let policy = TrustPolicy(
            rules: [.init(names: ["acme/*", "b/c"], keys: [one.publicKey, two.publicKey], threshold: 2, notAfter: now)],
            revokedKeys: [three.publicKey.fingerprint], revokedDigests: [root])
        #expect(try TrustPolicy(json: policy.json()) == policy)
    }

    @Test(arguments: [
        "{}", #"{"version":2}"#, #"{"version":1,"rule":[]}"#, #"{"version":1,"version":1}"#,
        #"{"version":1,"rules":[{"names":["acme/*"],"keys":[]}]}"#, #"{"version":1,"rules":[{"names":["A/*"],"keys":["x"]}]}"#,
        #"{"version":1,"rules":{}}"#, #"{"version":1,"mode":"off"}"#, #"{"version":1,"revocations":[{"file":"x","keys":[]}]}"#,
        #"{"version":1,"revoked":{"keys":["sha256:1"]}}"#,
    ])
    func refusesATrustFileThatIsNotStrictlyRight(_ text: String) {
        #expect(throws: TrustFailure.self) { try TrustPolicy(json: Array(text.utf8)) }
    }

    @Test func refusesAThresholdThatDistinctKeysCannotReach() throws {
        var policy = TrustPolicy(rules: [.init(names: ["acme/*"], keys: [one.publicKey, one.publicKey], threshold: 2)])
        #expect(throws: TrustFailure.self) { try TrustPolicy(json: policy.json()) }
        policy.rules[0].keys[1] = two.publicKey
        _ = try TrustPolicy(json: policy.json())
    }
}
