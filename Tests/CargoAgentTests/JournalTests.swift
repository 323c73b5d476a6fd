import CargoClient
import CargoWire
import FoundationEssentials
import Glibc
import SystemPackage
import Testing

@testable import CargoAgent

/// What survives the agent.
@Suite final class JournalTests {
    private let root = FilePath("/tmp/longshore-journal-\(UUID().uuidString)")
    private let lease = Lease(generation: 1, epoch: 2, token: "t", host: "h")

    deinit { try? FileManager.default.removeItem(atPath: root.string) }

    @Test func `an outcome is there again after a restart, whole`() throws {
        let job = UUIDv7.make()
        let entry = try Journal(root: root).begin(.init(coordinator: "http://c", job: job, lease: lease))
        #expect(entry.outcome() == nil)
        var completion = Completion(lease: lease, exit: ExitReport(exitCode: 3), outputs: [])
        completion.logBytes = 4
        let log = [LogChunk(stream: .stdout, offset: 0, bytes: [0, 255, 1, 2])]
        try entry.write(.init(completion: completion, logStart: 0, log: log))
        let left = try Journal(root: root).left(for: "http://c")
        #expect(left.count == 1 && left.first?.claimed.job == job && left.first?.claimed.lease == lease)
        let outcome = try #require(left.first?.outcome())
        #expect(outcome.completion == completion && outcome.log == log)
        left.first?.remove()
        #expect(try Journal(root: root).left(for: "http://c").isEmpty)
    }

    @Test func `what belongs to another coordinator is left alone, what is torn is removed`() throws {
        let journal = try Journal(root: root)
        _ = try journal.begin(.init(coordinator: "http://other", job: UUIDv7.make(), lease: lease))
        try FileManager.default.createDirectory(atPath: root.appending("torn").string, withIntermediateDirectories: false)
        #expect(journal.left(for: "http://c").isEmpty)
        #expect(try FileManager.default.contentsOfDirectory(atPath: root.string).count == 1)
    }

    @Test(arguments: ["../../x", "", "a/b", "0190-not-a-uuid"])
    func `a job id that could leave the folder is refused`(id: String) throws {
        let journal = try Journal(root: root)
        #expect(throws: ClientError.self) { try journal.begin(.init(coordinator: "c", job: id, lease: lease)) }
    }
}
