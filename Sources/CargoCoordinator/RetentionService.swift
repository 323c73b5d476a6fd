import CargoArtifact
import CargoBlobs
import CargoFiles
import CargoQueue
import CargoRegistry
import CargoStore
import Logging
import ServiceLifecycle

/// Forgets what was kept long enough: rows and logs first, then the blobs that nothing names any more.
struct RetentionService: Service {
    let queue: JobQueue
    let blobs: any JobBlobs
    /// What the registry keeps, where job blobs may lie too.
    let store: BlobStore
    let registry: RegistryIndex
    let blobGuard: BlobGuard
    let logger: Logger
    /// Seconds between rounds.
    var interval = 60.0

    func run() async throws {
        await cancelWhenGracefulShutdown {
            var watch = ClockWatch()
            while !Task.isCancelled {
                if watch.isSteady(wall: queue.settings.clocks.wall(), uptime: queue.settings.clocks.uptime()) {
                    do {
                        try await round()
                    } catch {
                        logger.error("retention failed, it is tried again", metadata: ["error": "\(error)"])
                    }
                }
                try? await Task.sleep(for: .seconds(interval))
            }
        }
    }

    private func round() async throws {
        while !Task.isCancelled {
            let expired = try await queue.expire()
            for hex in expired.blobs { try await collect(hex) }
            if !expired.isFull { break }
        }
        try await queue.sweepLogs()
    }

    private func collect(_ hex: String) async throws {
        guard let digest = Digest(hex: hex) else { return }
        try await blobGuard.collecting {
            guard try await queue.store.usesBlob(hex) == false else { return }
            try await blocking {
                // A blob in the registry's own folder may be a cargo's too.
                if blobs.staging === store, try registry.names(digest) { return }
                try blobs.remove(digest)
            }
        }
    }
}

/// Notices that the wall clock leapt: what it calls old may be new, so nothing is forgotten for an hour.
struct ClockWatch {
    private var offset: Int64?
    private var pausedUntil: Uptime?

    /// - Returns: whether the clocks have run alike for an hour, or since the start.
    mutating func isSteady(wall: Timestamp, uptime: Uptime) -> Bool {
        let now = wall.milliseconds - uptime.milliseconds
        defer { offset = now }
        if let offset, abs(now - offset) > 60_000 { pausedUntil = uptime.advanced(bySeconds: 3600) }
        if let pausedUntil, uptime < pausedUntil { return false }
        pausedUntil = nil
        return true
    }
}
