import FoundationEssentials
import Synchronization
import Testing

@testable import CargoGateway

/// Who still gets room when a disk fills up.
@Suite struct DiskSpaceTests {
    private static let mebibyte: Int64 = 1 << 20

    @Test(arguments: [
        (free: Int64(64), new: true, running: true), (63, false, true), (32, false, true), (31, false, false), (0, false, false),
    ])
    func newWorkStopsBeforeRunningWork(_ row: (free: Int64, new: Bool, running: Bool)) {
        let disk = DiskSpace(reserve: 64 * Self.mebibyte) { row.free * Self.mebibyte }
        #expect(disk.admits(0, .newWork) == row.new && disk.admits(0, .runningWork) == row.running)
        #expect(!disk.admits(row.free * Self.mebibyte, .runningWork))
    }

    @Test func whatIsUnderWayCountsAsTaken() async throws {
        let disk = DiskSpace(reserve: 0) { 1_000_000 }
        try await disk.submitting(400_000) {
            // Twice its body and its rows: 808,192 bytes.
            await #expect(throws: GatewayError.diskFull) { try await disk.submitting(100_000) {} }
            try await disk.submitting(10_000) {}
        }
        try await disk.submitting(400_000) {}
    }

    @Test func itIsAskedEachTime() {
        let free = Mutex<Int64>(100)
        let disk = DiskSpace(reserve: 50) { free.withLock { $0 } }
        #expect(disk.admits(0, .newWork))
        free.withLock { $0 = 49 }
        #expect(!disk.admits(0, .newWork))
    }
}
