/// The last row of a job's audit trail as the coordinator signs it and hands it out with results (docs/rules.md 18): who keeps
/// it can show later that a row up to it was changed.
public struct AuditHead: Hashable, Sendable, Codable {
    public static let payloadType = "application/vnd.longshore.audit-head.v1+json"

    public var job: String
    /// Of the row.
    public var sequence: Int64
    /// The row's hash, 64 hexadecimal digits.
    public var head: String

    public init(job: String, sequence: Int64, head: String) {
        self.job = job
        self.sequence = sequence
        self.head = head
    }
}
