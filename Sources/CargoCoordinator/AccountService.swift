import CargoQueue
import Logging
import ServiceLifecycle

/// Writes down what keys have used, and learns what other coordinators on the same store have changed of keys and hosts.
struct AccountService: Service {
    let queue: JobQueue
    /// Whether the store may have other coordinators.
    let isShared: Bool
    let logger: Logger
    /// How late a revocation made elsewhere takes effect at most.
    var interval = Duration.seconds(2)

    func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                // At once when another coordinator says so: a host may register there and ask here.
                _ = await queue.accountsChanged.wait(seconds: interval / .seconds(1))
                await round()
            }
        }
        await queue.usage.flush()
    }

    private func round() async {
        queue.settleEnded()
        await queue.usage.flush()
        do {
            try await queue.directory.flushLastUses()
            guard isShared else { return }
            try await queue.directory.refresh()
            try await queue.groups.refresh()
        } catch {
            logger.error("keys could not be kept up to date, it is tried again", metadata: ["error": "\(error)"])
        }
    }
}
