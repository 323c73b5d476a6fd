import CargoClient
import CargoWire
import Logging
import Synchronization

/// Asks for jobs while slots are free, one claim at a time, and starts each as a task of the agent's group.
struct ClaimLoop: Sendable {
    let session: HostSession
    let slots: Int
    let draining: Gate
    let delivery: Delivery
    let logger: Logger

    /// Returns once the agent drains and all its work ended. `beside` runs along, outside the slots.
    func run(
        beside other: @escaping @Sendable () async -> Void,
        _ work: @escaping @Sendable (Claim, ContinuousClock.Instant) async -> Void
    ) async {
        let free = FreeSlots(slots)
        // Discarding: nothing is kept of a finished job.
        await withDiscardingTaskGroup { group in
            group.addTask { await other() }
            while let slotCount = await free.take(unless: draining) {
                guard let (claim, at) = await next(free: slotCount) else {
                    free.giveBack()
                    continue
                }
                group.addTask {
                    await work(claim, at)
                    free.giveBack()
                }
            }
        }
    }

    /// The next job, with the instant from which its lease counts. Nil when the agent drains or nothing came.
    ///
    /// The claim's id stays the same over every retry, so an answer that was lost on the way loses no job.
    private func next(free: Int) async -> (Claim, ContinuousClock.Instant)? {
        var request = ClaimRequest(
            wait: Agent.longPoll, slots: free, capabilities: await session.offer.current(), claimID: UUIDv7.make())
        var backoff = Backoff()
        while !draining.isOpen, !Task.isCancelled {
            // The lease began at some time during the wait; the answer's arrival is when this host can know of it, and the
            // coordinator counts from the grant, which is at most one way of the network earlier.
            do {
                let claim = try await untilDraining { [request] in try await session.call { try await $0.claim(request) } }
                if let claim { return (claim, .now) }
                if draining.isOpen { break }
                return nil
            } catch {
                if draining.isOpen || Task.isCancelled { break }
                logger.notice("no claim: trying again", metadata: ["error": "\(error)"])
                await pause(backoff.next())
            }
        }
        // A job may have been granted to the claim that was just given up: it goes back.
        request.wait = 0
        if let claim = try? await session.call({ [request] in try await $0.claim(request) }) {
            await delivery.handBack(claim.job.id, claim.lease, because: "the host is shutting down and hands the job back")
        }
        return nil
    }

    private func pause(_ duration: Duration) async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { try? await Task.sleep(for: duration) }
            group.addTask { await draining.wait() }
            await group.next()
            group.cancelAll()
        }
    }

    private func untilDraining(_ operation: @escaping @Sendable () async throws -> Claim?) async throws -> Claim? {
        try await withThrowingTaskGroup(of: Claim?.self) { group in
            group.addTask { try await operation() }
            group.addTask {
                await draining.wait()
                return nil
            }
            defer { group.cancelAll() }
            return try await group.next() ?? nil
        }
    }
}

/// How many jobs more this host may take.
final class FreeSlots: Sendable {
    private let count: Mutex<Int>
    private let bell = Bell()

    init(_ count: Int) { self.count = Mutex(count) }

    /// Takes a slot, waiting for one; answers how many were free. Nil once the agent drains.
    func take(unless draining: Gate) async -> Int? {
        while !draining.isOpen, !Task.isCancelled {
            let free = count.withLock { count in
                let free = count
                if count > 0 { count -= 1 }
                return free
            }
            if free > 0 { return free }
            await withTaskGroup(of: Void.self) { group in
                group.addTask { await self.bell.wait() }
                group.addTask { await draining.wait() }
                await group.next()
                group.cancelAll()
            }
        }
        return nil
    }

    func giveBack() {
        count.withLock { $0 += 1 }
        bell.ring()
    }
}
