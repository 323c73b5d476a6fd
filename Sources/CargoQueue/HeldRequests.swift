import CargoWire
import Synchronization

/// The leases under which hosts answer requests to models now: as many as hosts hold, in memory only.
final class HeldRequests: Sendable {
    private let leases = Mutex<[JobID: Lease]>([:])

    func begin(_ id: JobID, _ lease: Lease) { leases.withLock { $0[id] = lease } }

    func end(_ id: JobID) { leases.withLock { _ = $0.removeValue(forKey: id) } }

    func all(of host: String) -> [JobID: Lease] { leases.withLock { $0.filter { $0.value.host == host } } }
}
