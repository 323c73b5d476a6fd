public import CargoArtifact

/// A cargo whose signatures a policy accepted.
public struct VerifiedRelease: Hashable, Sendable {
    public let root: Digest
    public let claims: ReleaseClaims
    /// The distinct keys that counted.
    public let signers: [PublicKey]
}

extension TrustPolicy {
    /// Checks what lies beside a cargo, unverified, against this policy.
    ///
    /// `now` is seconds since 1970; `leastCounter` is the highest release counter seen of a name, for which a lower one is a
    /// rollback (nil: pinned digest, no check). Throws a `Refusal` whose rule says which check failed.
    public func verify(
        root: Digest, signatures: [SignatureArtifact], now: Int64 = Timestamp.now(),
        leastCounter: (String) -> Int64? = { _ in nil }
    ) throws -> VerifiedRelease {
        try verify(
            root: root, bundles: signatures.documents(.signature), delegations: signatures.documents(.delegation), now: now,
            leastCounter: leastCounter)
    }

    /// The same; `bundles` are Sigstore bundles as JSON, `delegations` DSSE envelopes as JSON.
    public func verify(
        root: Digest, bundles: [[UInt8]], delegations: [[UInt8]] = [], now: Int64 = Timestamp.now(),
        leastCounter: (String) -> Int64? = { _ in nil }
    ) throws -> VerifiedRelease {
        try checkRevocations(now: now)
        guard !isRevoked(digest: root) else {
            throw Refusal("revoked-digest", "\(root) was revoked; ask its publisher for a newer version")
        }
        guard !bundles.isEmpty else {
            throw Refusal("unsigned", "the cargo is not signed; sign it with `longshore sign FILE --key NAME`")
        }
        guard bundles.count + delegations.count <= CargoLayout.maximumSignatures else {
            throw Refusal("signature-format", "the cargo has more than \(CargoLayout.maximumSignatures) signatures")
        }
        var failure: Refusal?
        var delegated: [VerifiedDelegation] = []
        let roots = rules.flatMap(\.roots)
        for envelope in delegations {
            do { delegated.append(try VerifiedDelegation(envelope, roots: roots)) } catch { failure = failure ?? error }
        }
        var signers: [ReleaseClaims: [PublicKey]] = [:]
        let keys = rules.flatMap(\.keys) + delegated.map(\.delegation.key)
        for bundle in bundles {
            do {
                let envelope = try SigstoreBundle(json: bundle).dsseEnvelope
                let verified = try DSSE.verify(envelope, type: MediaType.inTotoStatement, keys: keys)
                let claims = try Statement.claims(in: verified.payload, about: root)
                signers[claims, default: []] += verified.signers
            } catch let refusal as Refusal {
                failure = failure ?? refusal
            }
        }
        var accepted: [VerifiedRelease] = []
        for (claims, keys) in signers {
            do {
                let counted = try accept(claims, signers: keys, delegated: delegated, now: now)
                if let least = leastCounter(claims.name), claims.counter < least {
                    throw Refusal(
                        "rollback",
                        "\(claims.name) \(claims.version) is release \(claims.counter), older than \(least) seen before; name its digest to have it"
                    )
                }
                accepted.append(VerifiedRelease(root: root, claims: claims, signers: counted))
            } catch let refusal as Refusal {
                failure = refusal
            }
        }
        guard let newest = accepted.max(by: { $0.claims.counter < $1.claims.counter }) else {
            throw failure ?? Refusal("unknown-key", "no trusted key signed this cargo")
        }
        return newest
    }

    /// The signers that count for these claims, if a rule accepts them.
    private func accept(
        _ claims: ReleaseClaims, signers: [PublicKey], delegated: [VerifiedDelegation], now: Int64
    ) throws -> [PublicKey] {
        if let expires = claims.expires, expires <= now {
            throw Refusal("expired-signature", "the signature expired at \(Timestamp.text(expires)); ask for a newer version")
        }
        let candidates = rules(for: claims.name)
        guard !candidates.isEmpty else {
            throw Refusal(
                "no-rule", "no rule speaks for '\(claims.name)'; `longshore key trust KEY.pub --for '\(claims.name)'` adds one")
        }
        var failure = Refusal("unknown-key", "no key that may sign '\(claims.name)' signed this cargo")
        for rule in candidates {
            let standings = Set(signers).sorted { $0.fingerprint < $1.fingerprint }.map {
                standing(of: $0, under: rule, for: claims.name, delegated: delegated, now: now)
            }
            let valid = standings.filter { !$0.counts.isEmpty }
            let refusals = standings.compactMap(\.refusal)
            if valid.isEmpty, refusals.isEmpty { continue }
            if let notAfter = rule.notAfter, notAfter <= now {
                failure = Refusal("expired-rule", "the rule for '\(claims.name)' ended at \(Timestamp.text(notAfter))")
                continue
            }
            let counted = Matching.size(valid.map(\.counts))
            if counted >= rule.threshold { return valid.map(\.signer) }
            failure =
                valid.isEmpty
                ? refusals[0]
                : Refusal("threshold", "'\(claims.name)' needs signatures of \(rule.threshold) keys, and \(counted) counted")
        }
        throw failure
    }

    /// What one valid signature is worth under one rule.
    private struct Standing {
        let signer: PublicKey
        /// The keys of the rule, or the roots, that it can stand for; it stands for one of them.
        var counts: [PublicKey] = []
        /// Why it stands for none.
        var refusal: Refusal?
    }

    private func standing(
        of signer: PublicKey, under rule: Rule, for name: String, delegated: [VerifiedDelegation], now: Int64
    ) -> Standing {
        var standing = Standing(signer: signer)
        if rule.keys.contains(signer) { standing.counts.append(signer) }
        for one in delegated where one.delegation.key == signer {
            let roots = one.roots.filter(rule.roots.contains)
            if roots.isEmpty { continue }
            let live = roots.filter { !isRevoked(key: $0) }
            if isRevoked(digest: one.digest) {
                standing.refusal = Refusal("revoked-delegation", "the delegation to the key \(signer.fingerprint) was revoked")
            } else if one.delegation.expires <= now {
                standing.refusal = Refusal(
                    "expired-delegation",
                    "the delegation to the key \(signer.fingerprint) ended at \(Timestamp.text(one.delegation.expires)); ask its publisher for a newer version"
                )
            } else if !one.delegation.covers(name) {
                standing.refusal = Refusal(
                    "delegation-scope",
                    "the key \(signer.fingerprint) may sign \(one.delegation.names.joined(separator: ", ")), not '\(name)'")
            } else if live.isEmpty {
                standing.refusal = Refusal("revoked-key", "the root key behind the key \(signer.fingerprint) was revoked")
            } else {
                standing.counts += live
            }
        }
        if isRevoked(key: signer), !standing.counts.isEmpty || standing.refusal != nil {
            standing.counts = []
            standing.refusal = Refusal("revoked-key", "the key \(signer.fingerprint) that signed this cargo was revoked")
        }
        return standing
    }
}

/// How many of some signatures can count at once when each counts for one of several keys and each key once: two
/// release keys of one root are one, and so is one release key of two roots.
private enum Matching {
    static func size(_ choices: [[PublicKey]]) -> Int {
        var taken: [PublicKey: Int] = [:]
        func place(_ index: Int, _ seen: inout Set<PublicKey>) -> Bool {
            for key in choices[index] where seen.insert(key).inserted {
                guard let other = taken[key] else {
                    taken[key] = index
                    return true
                }
                if place(other, &seen) {
                    taken[key] = index
                    return true
                }
            }
            return false
        }
        return choices.indices.count(where: { index in
            var seen: Set<PublicKey> = []
            return place(index, &seen)
        })
    }
}
