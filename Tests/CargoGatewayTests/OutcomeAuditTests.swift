import CargoArtifact
import CargoClient
import CargoSigning
import CargoWire
import FoundationEssentials
import Testing

/// What a host signed at the end of an attempt, held against the trail that the coordinator shows.
@Suite struct OutcomeAuditTests {
    private static let job = "01a1fb7b-0000-7000-8000-000000000000"
    private static let cargo = Digest(of: Array("cargo".utf8)).description
    private let key = SigningKey()

    private func outcome(_ change: (inout SignedOutcome) -> Void = { _ in }) throws -> SignedOutcome {
        var claimed = ClaimedJob(id: Self.job, attempt: 2, tier: 1, priority: 50)
        claimed.digest = Self.cargo
        var completion = Completion(
            lease: Lease(generation: 1, epoch: 2, token: "t", host: "host"),
            exit: ExitReport(exitCode: 0, wallSeconds: 1),
            outputs: [OutputFile(path: "answers.jsonl", size: 3, sha256: String(repeating: "a", count: 64))])
        completion.logSHA256 = String(repeating: "b", count: 64)
        let engine = EngineRecord(
            name: "longshore/llama-cpp", version: "1.0.0", digest: Digest(of: Array("engine".utf8)).description,
            model: Self.cargo, programs: [.init(name: "llama-server", build: "CUDA", digest: nil)])
        var outcome = try SignedOutcome(completion, of: claimed, coordinator: "http://c", engine: engine)
        change(&outcome)
        return outcome
    }

    /// The trail of a job with this outcome in its last row.
    private func audit(
        _ outcome: SignedOutcome, signer: SigningKey? = nil, _ change: (inout JobAudit) -> Void = { _ in }
    ) throws -> JobAudit {
        let envelope = try DSSE.sign(
            payload: try CanonicalJSON.encode(outcome), type: SignedOutcome.payloadType, key: signer ?? key)
        let signed = try StrictJSON.parse(try envelope.json(), limit: 1 << 20)
        let outputs: JSONValue = .array([
            .object([
                "path": .string("answers.jsonl"), "size": .integer(3), "sha256": .string(String(repeating: "a", count: 64)),
            ])
        ])
        func row(_ sequence: Int64, _ status: String, _ host: JSONValue, _ detail: [String: JSONValue]) -> JSONValue {
            .object([
                "sequence": .integer(sequence), "at": .string("2026-11-21T00:00:00.000Z"), "actor": .string("x"),
                "status": .string(status), "attempt": .integer(2), "host": host, "detail": .object(detail),
                "hash": .string(""),
            ])
        }
        let trail: JSONValue = .object([
            "id": .string(Self.job), "head": .string(""),
            "transitions": .array([
                row(1, "queued", .null, ["digest": .string(Self.cargo)]),
                row(
                    2, "complete", .string("host"),
                    ["outcome": signed, "outputs": outputs, "log_sha256": .string(String(repeating: "b", count: 64))]),
            ]),
            "hosts": .object(["host": .string(Data(key.publicKey.ed25519 ?? []).base64EncodedString())]),
        ])
        var audit = try JSONDecoder().decode(JobAudit.self, from: Data(CanonicalJSON.encode(trail)))
        change(&audit)
        return audit
    }

    @Test func anHonestOutcomeHoldsAndNamesItsEngine() throws {
        let attested = try audit(try outcome()).attestedOutcomes()
        #expect(attested.map(\.sequence) == [2])
        #expect(attested.first?.outcome.engine?.name == "longshore/llama-cpp")
        #expect(attested.first?.fingerprint == Digest(of: key.publicKey.ed25519 ?? []).hex)
    }

    @Test func anOutcomeOfAnotherJobHostCargoOutputLogOrEngineIsNamed() throws {
        let lies: [(String, @Sendable (inout SignedOutcome) -> Void)] = [
            ("another job", { $0.job = "01a1fb7b-0000-7000-8000-000000000001" }), ("another job", { $0.attempt = 1 }),
            ("another host", { $0.host = "other" }),
            ("another cargo", { $0.cargo = "sha256:" + String(repeating: "0", count: 64) }),
            ("outputs", { $0.outputs[0].size = 4 }), ("outputs", { $0.outputs = [] }), ("log", { $0.logSHA256 = "c" }),
            ("ran another cargo", { $0.engine?.model = "sha256:" + String(repeating: "1", count: 64) }),
            ("by digest", { $0.engine?.digest = "latest" }),
        ]
        for (word, lie) in lies {
            #expect("\(word)") {
                try audit(try outcome(lie)).attestedOutcomes()
            } throws: {
                ($0 as? JobAudit.Objection)?.reason.contains(word) == true
            }
        }
    }

    @Test func aSignatureOfAnotherKeyOrOfAHostThatNobodyKnowsDoesNotHold() throws {
        #expect(throws: JobAudit.Objection.self) { try audit(try outcome(), signer: SigningKey()).attestedOutcomes() }
        #expect(throws: JobAudit.Objection.self) { try audit(try outcome()) { $0.hosts = nil }.attestedOutcomes() }
        #expect(throws: JobAudit.Objection.self) {
            try audit(try outcome()) { $0.transitions[1].host = "other" }.attestedOutcomes()
        }
    }

    @Test func aTrailWithoutSignedOutcomesHasNothingToHold() throws {
        let trail = try audit(try outcome()) { $0.transitions.removeLast() }
        #expect(try trail.attestedOutcomes().isEmpty)
    }
}
