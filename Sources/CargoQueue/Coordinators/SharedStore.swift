import CargoWire
import FoundationEssentials

/// A coordinator as the store knows it.
struct PeerRow: Hashable, Sendable {
    var id: String
    var url: String
    /// Since its last pulse, by the store's clock.
    var silentMilliseconds: Int64
}

/// Where a job stands, for those who read it: what changes when a reader has something to do.
struct JobMovement: Hashable, Sendable {
    var key: JobKey
    var sequence: Int64
    var status: JobStatus
    /// Of the last attempt, as `LogPart.text`.
    var home: String
}

/// What one coordinator has heard of a host, for the others.
struct HostNews: Sendable {
    var host: String
    var capabilities: HostCapabilities
    var report: HostReport?
    /// When it was heard, ago.
    var ageMilliseconds: Int64
}

/// A store that several coordinators share: how they find each other, and who keeps which log.
protocol SharedStore: Sendable {
    /// Moves this coordinator's pulse and answers everyone's.
    func pulse(_ id: String, url: String) async throws -> [PeerRow]
    /// Who keeps the log of an attempt; empty when there is no such attempt.
    func logParts(_ id: JobID, attempt: Int) async throws -> [LogPart]
    /// Makes `next` the last part of the log, if its parts are still `known` and the lease holds; answers what they are then.
    func takeLog(_ id: JobID, _ lease: Lease, known: [LogPart], next: LogPart) async throws -> [LogPart]
    /// Of some jobs those whose attempts are still kept: an expired job's logs go.
    func kept(_ ids: Set<JobID>) async throws -> Set<JobID>
    /// Where jobs stand, of at most 5,000.
    func movements(of keys: [JobKey]) async throws -> [JobMovement]
    /// Writes what was heard of hosts by a coordinator.
    func tell(_ news: [HostNews], from coordinator: String) async throws
    /// What other coordinators have heard lately; at most 20,000 hosts.
    func news(besides coordinator: String, heardWithin milliseconds: Int64) async throws -> [HostNews]
}
