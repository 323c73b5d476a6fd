import CargoQueue
import CargoTunnel
import CargoWire

/// Requests go to hosts before these ask for them: over a tunnel, where the coordinator knows that there is room.
extension Gateway {
    /// Gives the next request for a model to the best host that keeps a tunnel and has room for it. Whatever comes in between, the
    /// request waits for whoever claims it, as it would without this.
    func give(_ model: String, tier: Int, for principal: Principal) async throws {
        guard !tunnels.isGoingAway else { return }
        let choices = queue.scheduler.pick(
            model: model, tier: tier, audience: queue.groups.audience(of: principal.account),
            where: { tunnels.takesRequests($0) && queue.groups.mayUse($0, principal.account) })
        guard let host = choices.first else { return }
        try await give(model, to: host)
    }

    /// The same for a host that has room again.
    func give(_ model: String?, to host: String) async throws {
        guard let model, tunnels.takesRequests(host), let granted = try await queue.grant(of: model, to: host) else { return }
        // Whoever asked waits for the answer, not for this.
        Task { [tunnels, queue] in
            do {
                try await tunnels.give(JobSpec.claim(granted), job: granted.job.key.id.description, to: host)
            } catch {
                try? await queue.takeBack(granted)
            }
        }
    }
}
