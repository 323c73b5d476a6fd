public import CargoArtifact
public import CargoSigning
public import CargoWire
import Crypto
import FoundationEssentials

/// A job's transitions with the hash that chains each to the one before (`GET /jobs/{id}/audit`).
public struct JobAudit: Hashable, Sendable, Codable {
    /// One transition.
    public struct Row: Hashable, Sendable, Codable {
        public var sequence: Int64
        /// RFC 3339 with milliseconds, UTC.
        public var at: String
        public var actor: String
        public var status: JobStatus
        public var attempt: Int
        public var host: String?
        public var detail: JSONValue
        /// 64 hexadecimal digits.
        public var hash: String
    }

    public var id: String
    /// The last row's hash.
    public var head: String
    public var transitions: [Row]
    /// DSSE over `AuditHead`, for the last row.
    public var signedHead: JSONValue?
    /// PEM of the coordinator's key that signed it: worth what it is worth to have seen it before.
    public var key: String?
    /// The Ed25519 keys of the hosts that worked on it as the coordinator knows them, 32 bytes in base64, by the hosts' ids.
    public var hosts: [String: String]?

    enum CodingKeys: String, CodingKey {
        case id, head, transitions, key, hosts
        case signedHead = "signed_head"
    }

    /// Why a signed head does not fit the rows, as one sentence; nil when it does: signed by `key`, of this job, and the
    /// row that it names has its hash.
    public func objection(to signed: JSONValue, key: PublicKey) -> String? {
        do {
            let envelope = try DSSEEnvelope(json: Array(try wireEncoder().encode(signed)))
            let payload = try DSSE.verify(envelope, type: AuditHead.payloadType, keys: [key]).payload
            let head = try JSONDecoder().decode(AuditHead.self, from: Data(payload))
            guard head.job == id else { return "the signed head is of another job" }
            guard let row = transitions.first(where: { $0.sequence == head.sequence }) else {
                return "transition \(head.sequence), which was signed, is missing"
            }
            return row.hash == head.head ? nil : "transition \(head.sequence) is not the one that was signed"
        } catch {
            return "the signed head does not verify: \(error)"
        }
    }

    /// Computes the chain anew: the first row that does not follow from the one before; nil when it holds to the head.
    ///
    /// Every hash is SHA-256 over the hash before it (32 zero bytes at first) and
    /// `longshore.audit.v1\nID\nSEQUENCE\nMILLISECONDS\nACTOR\nSTATUS\nATTEMPT\nHOST\n` and the row's detail as JSON with
    /// sorted keys.
    public func firstBreak() throws -> Int64? {
        var previous = [UInt8](repeating: 0, count: 32)
        for (index, row) in transitions.enumerated() {
            guard row.sequence == Int64(index + 1), let milliseconds = JobAudit.milliseconds(row.at) else { return row.sequence }
            var hash = SHA256()
            hash.update(data: previous)
            let head =
                "longshore.audit.v1\n\(id)\n\(row.sequence)\n\(milliseconds)\n\(row.actor)\n\(row.status.rawValue)\n"
                + "\(row.attempt)\n\(row.host ?? "")\n"
            hash.update(data: Array(head.utf8))
            hash.update(data: try wireEncoder().encode(row.detail))
            let digest = hash.finalize()
            guard CargoArtifact.Digest(digest).hex == row.hash else { return row.sequence }
            previous = Array(digest)
        }
        return transitions.last?.hash == head ? nil : transitions.last?.sequence ?? 0
    }

    /// `2026-11-20T23:59:59.123Z` in milliseconds since 1970.
    private static func milliseconds(_ text: String) -> Int64? {
        guard text.utf8.count == 24, text.hasSuffix("Z"), let seconds = Timestamp.seconds(String(text.prefix(19)) + "Z"),
            let fraction = Int64(text.dropFirst(20).prefix(3))
        else { return nil }
        return seconds * 1000 + fraction
    }
}

extension CoordinatorClient {
    /// `GET /jobs/{id}/audit`.
    public func audit(_ job: String) async throws -> JobAudit {
        try await transport.json(.init(path: "/jobs/\(PercentEncoding.segment(job))/audit"))
    }
}
