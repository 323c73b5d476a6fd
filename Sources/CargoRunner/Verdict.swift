internal import CargoArtifact
internal import Synchronization

/// The limit that a job broke first, said by whoever watches it before the job is ended for it.
final class Verdict: Sendable {
    private let broken = Mutex<Refusal?>(nil)

    var limit: Refusal? { broken.withLock { $0 } }

    func set(_ limit: Refusal) { broken.withLock { $0 = $0 ?? limit } }
}
