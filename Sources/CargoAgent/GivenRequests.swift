import CargoEndpoints
import CargoWire
import Synchronization

/// Requests that the coordinator gives this host unasked, on their way from the tunnel to whoever answers requests.
final class GivenRequests: Sendable {
    private let service: (any ModelService)?
    private let forwarded: ForwardedWork
    private let room: ServingRoom
    private let draining: Gate
    /// Bounded by the room that was taken for each.
    let claims: AsyncStream<(Claim, ContinuousClock.Instant)>
    private let taken: AsyncStream<(Claim, ContinuousClock.Instant)>.Continuation

    init(_ service: (any ModelService)?, forwarded: ForwardedWork, room: ServingRoom, draining: Gate) {
        self.service = service
        self.forwarded = forwarded
        self.room = room
        self.draining = draining
        (claims, taken) = AsyncStream.makeStream(bufferingPolicy: .bufferingOldest(Serving.mostRequests))
    }

    /// Takes a request, where its model has a free slot.
    func take(_ claim: Claim) async -> Bool {
        let now = ContinuousClock.now
        guard let name = claim.job.request?.model, !draining.isOpen,
            let model = await service?.models().first(where: { $0.id == name })
        else { return false }
        let direct = forwarded.byModel[name] ?? 0
        guard room.takeGiven(name, most: model.slots - direct) else { return false }
        guard case .enqueued = taken.yield((claim, now)) else {
            room.ended(name)
            return false
        }
        return true
    }

    /// Nothing more is taken; what was, is answered.
    func close() { taken.finish() }
}
