import CargoQueue
import Logging
import ServiceLifecycle

/// Keeps this coordinator known to the others on its store, and what they know known to it.
struct PeerService: Service {
    let queue: JobQueue
    let client: PeerClient
    let logger: Logger

    func run() async throws {
        await cancelWhenGracefulShutdown {
            var isWell = true
            while !Task.isCancelled {
                do {
                    try await queue.share()
                    isWell = true
                } catch {
                    if isWell, !Task.isCancelled {
                        logger.error(
                            "the store could not be asked about the other coordinators, it is tried again",
                            metadata: ["error": "\(error)"])
                    }
                    isWell = false
                }
                try? await Task.sleep(for: .seconds(JobQueue.sharingSeconds))
            }
        }
        try await client.close()
    }
}
