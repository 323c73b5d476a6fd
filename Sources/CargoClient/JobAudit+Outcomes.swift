internal import CargoArtifact
internal import CargoSigning
public import CargoWire
internal import FoundationEssentials

extension JobAudit {
    /// What a host signed at the end of an attempt (docs/rules.md 3), held against the trail.
    public struct Attested: Hashable, Sendable {
        /// Of the transition.
        public var sequence: Int64
        public var outcome: SignedOutcome
        /// SHA-256 of the key that signed it, as `longshore hosts` shows it.
        public var fingerprint: String
    }

    /// Why an outcome does not hold.
    public struct Objection: Error, Hashable, Sendable, CustomStringConvertible {
        public var sequence: Int64
        public var reason: String

        public var description: String { "the outcome of transition \(sequence) does not hold: \(reason)" }
    }

    /// The signed outcomes of all attempts: each signed by the key of the host that the row names, of this job and attempt, and
    /// with the cargo, the outputs and the log that the row has. Throws `Objection` for the first that is not.
    public func attestedOutcomes() throws -> [Attested] {
        try transitions.compactMap { row in
            guard case .object(let detail) = row.detail, let envelope = detail["outcome"] else { return nil }
            do {
                return try attested(envelope, detail, row)
            } catch let objection as Objection {
                throw objection
            } catch {
                throw Objection(sequence: row.sequence, reason: "\(error)")
            }
        }
    }

    private func attested(_ signed: JSONValue, _ detail: [String: JSONValue], _ row: Row) throws -> Attested {
        func unless(_ holds: Bool, _ reason: String) throws {
            guard holds else { throw Objection(sequence: row.sequence, reason: reason) }
        }
        guard let host = row.host, let raw = hosts?[host].flatMap({ Data(base64Encoded: $0) }) else {
            throw Objection(sequence: row.sequence, reason: "the coordinator names no key of its host")
        }
        let key = try PublicKey(ed25519: [UInt8](raw))
        let envelope = try DSSEEnvelope(json: Array(try wireEncoder().encode(signed)))
        let payload: [UInt8]
        do {
            payload = try DSSE.verify(envelope, type: SignedOutcome.payloadType, keys: [key]).payload
        } catch let refusal as Refusal where refusal.rule == "unknown-key" {
            throw Objection(sequence: row.sequence, reason: "the key that its host has now did not sign it")
        }
        let outcome: SignedOutcome = try StrictJSON.decode(from: payload, limit: CargoLayout.maximumDocument)
        try unless(outcome.job == id && outcome.attempt == row.attempt, "it is of another job or attempt")
        try unless(outcome.host == host, "it is of another host")
        let asked = transitions.first.flatMap { first -> String? in
            guard case .object(let fields) = first.detail, case .string(let digest)? = fields["digest"] else { return nil }
            return digest
        }
        try unless(asked == nil || outcome.cargo == asked, "it is of another cargo than the one that was submitted")
        let outputs = try detail["outputs"].map {
            try JSONDecoder().decode([OutputFile].self, from: try wireEncoder().encode($0))
        }
        try unless(outputs ?? [] == outcome.outputs, "its outputs are not those that were stored")
        if case .string(let log)? = detail["log_sha256"], let said = outcome.logSHA256 {
            try unless(said == log, "its log is not the one that was stored")
        }
        if let engine = outcome.engine {
            try unless(Digest(engine.digest) != nil, "it names no engine by digest")
            try unless(engine.model == outcome.cargo, "its engine ran another cargo")
        }
        return Attested(sequence: row.sequence, outcome: outcome, fingerprint: Digest(of: [UInt8](raw)).hex)
    }
}
