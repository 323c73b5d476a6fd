import CargoClient
import CargoEndpoints
import CargoWire
import Logging
import Synchronization

/// Offers this host's models to the coordinator and answers the requests that come, as many at once as the models have slots.
///
/// Requests take no job slots. Several claims wait at once, so that requests that come together do not wait for each other;
/// never more than could be answered at once.
struct Serving: Sendable {
    /// Claims that wait at the coordinator at most.
    static let mostClaims = 8
    /// Requests that are answered at once at most, whatever the models say.
    static let mostRequests = 256
    /// Seconds that one claim waits: a model that comes or goes is known at the coordinator after that.
    static let longPoll = 10.0
    /// The same while a model is full.
    static let shortPoll = 0.25

    let session: HostSession
    let identity: HostIdentity
    let service: any ModelService
    /// What comes past the claims.
    let forwarded: ForwardedWork
    let given: GivenRequests
    let room: ServingRoom
    let draining: Gate
    let drainDeadline: Gate
    let delivery: Delivery
    let logger: Logger

    /// Returns once the agent drains and all requests are answered.
    func run() async {
        var announced = ContinuousClock.now - .seconds(Serving.longPoll)
        await withDiscardingTaskGroup { group in
            group.addTask {
                await draining.wait()
                given.close()
                room.bell.ring()
            }
            group.addTask { await answerGiven() }
            while !draining.isOpen, !Task.isCancelled {
                let offered = await offered(room)
                let direct = forwarded.byModel
                let free = offered.reduce(0) { $0 + max(0, $1.slots - $1.active - (direct[$1.id] ?? 0)) }
                if room.take(free: free) {
                    announced = .now
                    group.addTask { await claimAndAnswer(offered, room) }
                    continue
                }
                // A host that is full still says what it serves.
                let due = announced + .seconds(Serving.longPoll)
                if !room.isClaiming, ContinuousClock.now >= due {
                    announced = .now
                    _ = await claim(offered, wait: 0)
                }
                await room.bell.wait(until: room.isClaiming ? .now + .seconds(1) : min(due, .now + .seconds(1)))
            }
        }
    }

    /// Answers what the coordinator gives unasked.
    private func answerGiven() async {
        await withDiscardingTaskGroup { group in
            for await (claim, at) in given.claims {
                group.addTask { await answer(claim, at) }
            }
        }
    }

    /// The room for it is taken.
    private func answer(_ claim: Claim, _ at: ContinuousClock.Instant) async {
        guard let model = claim.job.request?.model else { return }
        // The slot is another's as soon as the model has answered, not when that is reported.
        let slot = TakenSlot(model, of: room)
        await Answering(
            session: session, identity: identity, service: service, drainDeadline: drainDeadline, logger: logger,
            answered: slot.free
        ).run(claim, claimedAt: at)
        slot.free()
    }

    /// The models with the requests that this host knows of itself, without those that the coordinator counts.
    private func offered(_ room: ServingRoom) async -> [ServedModel] {
        let (active, direct) = (room.active, forwarded.byModel)
        return await service.models().prefix(256).map { model in
            var model = model
            model.active = max(model.active - (direct[model.id] ?? 0), active[model.id] ?? 0)
            return model
        }
    }

    private func claimAndAnswer(_ offered: [ServedModel], _ room: ServingRoom) async {
        // A claim says how busy each model is as it is made: one that was made while a model was full would leave requests for it
        // unseen for as long as it waits.
        let isFull = offered.contains { $0.active >= $0.slots }
        let claim = await claim(offered, wait: isFull ? Serving.shortPoll : Serving.longPoll)
        guard let (claim, at) = claim, let model = claim.job.request?.model else { return room.cameBack() }
        if draining.isOpen {
            room.cameBack()
            return await delivery.handBack(
                claim.job.id, claim.lease, because: "the host is shutting down and hands the request back")
        }
        room.began(model)
        await answer(claim, at)
    }

    /// The claim's id stays the same over every retry, so an answer that was lost on the way loses no request.
    private func claim(_ offered: [ServedModel], wait: Double) async -> (Claim, ContinuousClock.Instant)? {
        var capabilities = await session.offer.current()
        capabilities.kinds = []
        capabilities.models = offered
        let request = ClaimRequest(wait: wait, slots: 1, capabilities: capabilities, claimID: UUIDv7.make())
        var backoff = Backoff()
        while !draining.isOpen, !Task.isCancelled {
            do {
                guard let claim = try await session.call({ try await $0.claim(request) }) else { return nil }
                return (claim, .now)
            } catch {
                if wait == 0 { return nil }
                logger.notice("no claim of requests: trying again", metadata: ["error": "\(error)"])
                try? await Task.sleep(for: backoff.next())
            }
        }
        return nil
    }
}

/// How many claims wait and which requests are being answered.
final class ServingRoom: Sendable {
    private struct State {
        var claims = 0
        /// Requests by model.
        var active: [String: Int] = [:]
        var total = 0
    }

    private let state = Mutex(State())
    let bell = Bell()

    var active: [String: Int] { state.withLock { $0.active } }
    var isClaiming: Bool { state.withLock { $0.claims > 0 } }

    /// Takes the right to one claim where so many requests more could be answered.
    func take(free: Int) -> Bool {
        state.withLock { state in
            guard state.claims < min(free, Serving.mostClaims), state.total + state.claims < Serving.mostRequests else {
                return false
            }
            state.claims += 1
            return true
        }
    }

    /// A claim came back with nothing.
    func cameBack() {
        state.withLock { $0.claims -= 1 }
        bell.ring()
    }

    func began(_ model: String) {
        state.withLock { state in
            state.claims -= 1
            state.total += 1
            state.active[model, default: 0] += 1
        }
        bell.ring()
    }

    /// Takes a slot for a request that was not claimed.
    func takeGiven(_ model: String, most slots: Int) -> Bool {
        state.withLock { state in
            guard state.active[model] ?? 0 < slots, state.total < Serving.mostRequests else { return false }
            state.total += 1
            state.active[model, default: 0] += 1
            return true
        }
    }

    func ended(_ model: String) {
        state.withLock { state in
            state.total -= 1
            let left = (state.active[model] ?? 1) - 1
            state.active[model] = left > 0 ? left : nil
        }
        bell.ring()
    }
}

/// A slot of a model for one request, given back once.
private final class TakenSlot: Sendable {
    private let room: ServingRoom
    private let model: String
    private let isFree = Atomic(false)

    init(_ model: String, of room: ServingRoom) {
        self.model = model
        self.room = room
    }

    func free() {
        if !isFree.exchange(true, ordering: .relaxed) { room.ended(model) }
    }
}
