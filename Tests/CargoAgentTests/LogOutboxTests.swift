import CargoClient
import CargoWire
import FoundationEssentials
import Testing

@testable import CargoAgent

/// What a host holds of a log until the coordinator has it on disk.
@Suite struct LogOutboxTests {
    private func bytes(_ chunks: [LogChunk]) -> [UInt8] { chunks.flatMap(\.bytes) }

    @Test func `neighbours of one stream travel as one chunk, in the order they were written`() {
        var outbox = LogOutbox()
        for (stream, text) in [(LogChunk.Stream.stdout, "a"), (.stdout, "b"), (.stderr, "c"), (.stdout, "d")] {
            outbox.append(stream, Array(text.utf8))
        }
        let batch = outbox.nextBatch()
        #expect(batch.map(\.data) == ["ab", "c", "d"])
        #expect(batch.map(\.offset) == [0, 2, 3])
        #expect(!outbox.hasUnsent)
    }

    @Test func `a batch is at most a mebibyte and the next one follows without a gap`() {
        var outbox = LogOutbox()
        let all = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 / 7) }
        for start in stride(from: 0, to: all.count, by: 65_536) {
            outbox.append(.stdout, Array(all[start..<min(all.count, start + 65_536)]))
        }
        var got: [UInt8] = []
        while outbox.hasUnsent {
            let start = outbox.sent
            let batch = outbox.nextBatch()
            #expect(bytes(batch).count <= LogOutbox.maximumBatch && batch.first?.offset == Int64(got.count))
            got += bytes(batch)
            outbox.answered(batchFrom: start, durable: Int64(got.count))
        }
        #expect(got == all)
        #expect(outbox.isDurable && outbox.held == 0)
    }

    @Test func `a job that changes its stream at every byte fills neither memory nor a heartbeat`() throws {
        var outbox = LogOutbox()
        var written = 0
        while !outbox.isFull {
            outbox.append(written % 2 == 0 ? .stdout : .stderr, [UInt8(truncatingIfNeeded: written)])
            written += 1
        }
        #expect(written <= LogOutbox.maximumPieces)
        var got: [UInt8] = []
        while outbox.hasUnsent {
            let batch = outbox.nextBatch()
            #expect(batch.count <= LogOutbox.maximumChunks)
            got += bytes(batch)
        }
        #expect(got == (0..<written).map { UInt8(truncatingIfNeeded: $0) })
    }

    @Test func `a batch of control characters stays small on the wire`() throws {
        var outbox = LogOutbox()
        outbox.append(.stdout, [UInt8](repeating: 7, count: LogOutbox.maximumBatch))
        let batch = outbox.nextBatch()
        #expect(try JSONEncoder().encode(batch).count < 2 << 20)
        #expect(bytes(batch).count == LogOutbox.maximumBatch)
    }

    @Test func `a batch without an answer goes again, one that is durable does not`() {
        var outbox = LogOutbox()
        outbox.append(.stdout, Array("hello".utf8))
        _ = outbox.nextBatch()
        outbox.unanswered()
        #expect(bytes(outbox.nextBatch()) == Array("hello".utf8))
        outbox.answered(batchFrom: 0, durable: 3)
        outbox.unanswered()
        let rest = outbox.nextBatch()
        #expect(rest.first?.offset == 3 && bytes(rest) == Array("lo".utf8))
    }

    @Test func `bytes that the coordinator lost before they were on its disk are sent again`() {
        var outbox = LogOutbox()
        outbox.append(.stdout, Array("0123456789".utf8))
        _ = outbox.nextBatch()
        outbox.answered(batchFrom: 0, durable: 4)
        outbox.append(.stdout, Array("ab".utf8))
        let start = outbox.sent
        _ = outbox.nextBatch()
        // The coordinator restarted: it answers with less than the batch began at.
        outbox.answered(batchFrom: start, durable: 4)
        #expect(bytes(outbox.nextBatch()) == Array("456789ab".utf8))
    }

    @Test func `the job waits once the bound is held, and goes on when there is room`() {
        var outbox = LogOutbox()
        while !outbox.isFull { outbox.append(.stdout, [UInt8](repeating: 1, count: 65_536)) }
        #expect(outbox.held < Int64(LogOutbox.maximumHeld + 65_536))
        outbox.answered(batchFrom: 0, durable: outbox.end)
        #expect(!outbox.isFull)
    }

    @Test func `the tail for the journal is what is not durable, and goes on from there`() {
        var outbox = LogOutbox()
        outbox.append(.stdout, Array("durable".utf8))
        outbox.append(.stderr, Array("tail".utf8))
        _ = outbox.nextBatch()
        outbox.answered(batchFrom: 0, durable: 7)
        #expect(outbox.tail.map(\.data) == ["tail"])
        var again = LogOutbox(start: outbox.durable)
        for chunk in outbox.tail { again.append(chunk.stream, chunk.bytes) }
        #expect(again.nextBatch().first?.offset == 7)
    }

    @Test func `an answer beyond what was written is believed no further than that`() {
        var outbox = LogOutbox()
        outbox.append(.stdout, [1, 2, 3])
        _ = outbox.nextBatch()
        outbox.answered(batchFrom: 0, durable: .max)
        #expect(outbox.durable == 3)
        outbox.append(.stdout, [4])
        #expect(bytes(outbox.nextBatch()) == [4])
    }
}
