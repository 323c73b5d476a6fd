import CargoQueue
import CargoWire
import FoundationEssentials
import SystemPackage
import Testing

/// Logs across crashes and full disks.
@Suite struct LogTests {
    private func queue(_ folder: TemporaryFolder) async throws -> JobQueue { try await JobQueue(folder: folder.path) }

    private func start(_ queue: JobQueue) async throws -> GrantedClaim {
        let job = NewJob(
            id: nil, account: 1, tier: 1, priority: 50, maxAttempts: 1, cargo: "acme/x:1.0.0", digest: nil,
            requirement: Requirement(kind: "process", tier: 1), spec: Data("{}".utf8), metadata: nil, files: [:],
            retention: nil, idempotency: nil)
        _ = try await queue.store.submit(job)
        let ask = ClaimAsk(host: "host-a", capabilities: HostCapabilities(kinds: ["process"]), claimID: nil)
        return try #require(try await queue.claim(ask, wait: 0))
    }

    private func beat(_ queue: JobQueue, _ claim: GrantedClaim, _ text: String, at offset: Int64) async throws -> Int64 {
        var beat = Heartbeat(lease: claim.lease)
        beat.logs = [LogChunk(stream: .stdout, offset: offset, data: text)]
        return try await queue.heartbeat(claim.job.key.id, beat).durableOffset
    }

    private func text(_ queue: JobQueue, _ claim: GrantedClaim) async throws -> String {
        var reader = LogReader()
        var bytes: [UInt8] = []
        while let piece = try await queue.logBytes(claim.job.key, attempt: 1, stream: nil, from: &reader) { bytes += piece }
        return String(decoding: bytes, as: UTF8.self)
    }

    private func segment(_ folder: TemporaryFolder) throws -> FilePath {
        let logs = folder.path.appending("logs")
        let name = try #require(
            try FileManager.default.subpathsOfDirectory(atPath: logs.string).first { $0.hasSuffix(".log") })
        return logs.appending(name)
    }

    /// What a power cut leaves of an append that was under way: half a head, half a body, or a body of zeros.
    @Test(arguments: ["half a head", "half a body", "zeros"])
    func aTornTailIsCutAtStartAndTheHostSendsItAgain(_ tear: String) async throws {
        let folder = try TemporaryFolder()
        var queue = try await queue(folder)
        let claim = try await start(queue)
        #expect(try await beat(queue, claim, "one\n", at: 0) == 4)
        let whole = try #require(FileManager.default.contents(atPath: try segment(folder).string))
        #expect(try await beat(queue, claim, "two\n", at: 4) == 8)
        queue.close()
        let path = try segment(folder)
        var torn = try #require(FileManager.default.contents(atPath: path.string))
        switch tear {
        case "half a head": torn = torn.prefix(whole.count + 7)
        case "half a body": torn = torn.dropLast(2)
        default: torn.replaceSubrange((torn.count - 4)..., with: [0, 0, 0, 0])
        }
        try torn.write(to: URL(filePath: path.string))
        queue = try await self.queue(folder)
        defer { queue.close() }
        #expect(try await text(queue, claim) == "one\n")
        #expect(FileManager.default.contents(atPath: path.string) == whole)
        // The host is told where the log ends, and goes on from there.
        #expect(try await beat(queue, claim, "late", at: 8) == 4)
        #expect(try await beat(queue, claim, "two\n", at: 4) == 8)
        #expect(try await text(queue, claim) == "one\ntwo\n")
    }
}
