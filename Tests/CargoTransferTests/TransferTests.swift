import CargoArtifact
import CargoFiles
import Foundation
import Synchronization
import SystemPackage
import Testing

@testable import CargoTransfer

/// Whole transfers over loopback, against a server in a process of its own.
@Suite(.enabled(if: Transfer.isAvailable, "needs libcurl"))
struct TransferTests {
    @Test func pullSurvivesThreeKillsOfTheServerAndADamagedChunk() async throws {
        // Real sizes: 32 pieces of 16 MiB, so that one piece again is 3 % of the whole.
        let harbour = try Harbour(size: 512 << 20, pieceSize: 16 << 20)
        let manners = BlobServer.Manners(dieAfter: 140 << 20, damageOnce: 333 << 20)
        let server = try await BlobServer(harbour.blob, manners: manners, folder: harbour.root)
        async let revived: Void = server.reviveUntil(lives: 4)
        let report = try await harbour.fetch(harbour.request(server.url))
        try await revived
        try harbour.expectPublished()
        #expect(report.damaged == 1)
        #expect(report.retries >= 3)
        let ratio = Double(report.transferred) / Double(harbour.size)
        #expect(ratio <= 1.05, "transferred \(report.transferred) of \(harbour.size): \(ratio)")
        print("transferred \(report.transferred) of \(harbour.size) bytes: \(ratio), retries \(report.retries)")
    }

    @Test func aKilledPullGoesOnWhereItWas() async throws {
        let harbour = try Harbour(size: 24 << 20, pieceSize: 4 << 20)
        let server = try await BlobServer(harbour.blob, manners: .init(holdAfter: 12 << 20), folder: harbour.root)
        let request = harbour.request(server.url)
        let names = Transfer.names(of: harbour.digest)
        // A copy of both files in the middle of the transfer is what a kill at that moment leaves.
        let after = harbour.root.appending(path: "after")
        try FileManager.default.createDirectory(at: after, withIntermediateDirectories: true)
        let copied = Mutex(false)
        try await harbour.fetch(request, options: harbour.unhurried) { progress in
            guard progress.received > 8 << 20,
                copied.withLock({ done in
                    defer { done = true }; return !done
                })
            else { return }
            // The journal first: it never says more than the partial file has.
            for name in [names.journal, names.partial] {
                try? FileManager.default.copyItem(
                    at: harbour.root.appending(path: "in/\(name)"), to: after.appending(path: name))
            }
            server.release()
        }
        try harbour.expectPublished()
        let folder = try Folder.open(FilePath(after.path))
        let report = try await harbour.fetch(request, in: folder)
        #expect(report.resumed > 4 << 20)
        #expect(report.resumed + report.transferred == harbour.size)
        #expect(try folder.entries() == ["published"])
        #expect(FileManager.default.contentsEqual(atPath: harbour.blob.path, andPath: after.appending(path: "published").path))
    }

    @Test func aCancelledPullKeepsWhatItHas() async throws {
        let harbour = try Harbour(size: 8 << 20, pieceSize: 1 << 20)
        let slow = try await BlobServer(harbour.blob, manners: .init(holdAfter: 3 << 20), folder: harbour.root)
        let (stream, continuation) = AsyncStream.makeStream(of: Void.self)
        let task = Task {
            try await harbour.fetch(harbour.request(slow.url), options: harbour.unhurried) {
                if $0.received > 2 << 20 { continuation.yield() }
            }
        }
        for await _ in stream { break }
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
        #expect(harbour.left.count == 2)
        slow.release()
        let report = try await harbour.fetch(harbour.request(slow.url))
        #expect(report.resumed > 1 << 20)
        #expect(report.resumed + report.transferred == harbour.size)
        try harbour.expectPublished()
    }

    @Test func damageOnDiskBetweenTwoTriesIsRepaired() async throws {
        let harbour = try Harbour(size: 2 << 20)
        let names = Transfer.names(of: harbour.digest)
        let server = try await BlobServer(harbour.blob, folder: harbour.root)
        try await harbour.fetch(harbour.request(server.url))
        // The whole file as an unfinished try would have left it, one byte wrong.
        try harbour.partials.rename("published", to: names.partial)
        let file = try harbour.partials.open(names.partial, .readWrite)
        try file.write([try file.bytes(at: 700_000, count: 1)[0] ^ 1], at: 700_000)
        var journal = try TransferJournal(
            names.journal, in: harbour.partials, size: harbour.size, pieceSize: harbour.pieceSize, hasPartial: true)
        for piece in 0..<8 { try journal.note(piece, UInt32(harbour.pieceSize), isWhole: true) }
        let report = try await harbour.fetch(harbour.request(server.url))
        #expect(report.resumed == harbour.size)
        #expect(report.transferred == harbour.pieceSize)
        try harbour.expectPublished()
    }

    @Test func aBlobThatStaysDamagedIsRefusedAndNothingIsKept() async throws {
        for chunks in [true, false] {
            let harbour = try Harbour(size: 1 << 20)
            let server = try await BlobServer(harbour.blob, manners: .init(damageAlways: 300_000), folder: harbour.root)
            let refusal = await #expect(throws: Refusal.self) {
                try await harbour.fetch(harbour.request(server.url, chunks: chunks))
            }
            #expect(refusal?.rule == "digest-mismatch")
            #expect(harbour.left == [])
        }
    }

    @Test func damageWithoutSumsIsFoundByTheWholeDigest() async throws {
        let harbour = try Harbour(size: 1 << 20)
        let server = try await BlobServer(harbour.blob, manners: .init(damageOnce: 300_000), folder: harbour.root)
        let report = try await harbour.fetch(harbour.request(server.url, chunks: false))
        #expect(report.transferred == 2 * harbour.size)
        try harbour.expectPublished()
    }

    @Test func sumsNeverStandInForTheWholeDigest() async throws {
        let harbour = try Harbour(size: 1 << 20)
        let server = try await BlobServer(harbour.blob, folder: harbour.root)
        var request = harbour.request(server.url)
        request.digest = CargoArtifact.Digest(of: Array("other".utf8))
        let refusal = await #expect(throws: Refusal.self) { try await harbour.fetch(request) }
        #expect(refusal?.rule == "digest-mismatch")
        #expect(harbour.left == [])
    }

    @Test func aStalledConnectionIsGivenUpAndTriedAgain() async throws {
        let harbour = try Harbour(size: 1 << 20, pieceSize: 1 << 20)
        let server = try await BlobServer(harbour.blob, manners: .init(stallOnce: true), folder: harbour.root)
        let report = try await harbour.fetch(harbour.request(server.url))
        #expect(report.retries == 1)
        #expect(report.transferred == harbour.size)
        try harbour.expectPublished()
    }

    @Test func aServerWithoutRangesIsReadOnce() async throws {
        let harbour = try Harbour(size: 3 << 20)
        let server = try await BlobServer(harbour.blob, manners: .init(ranges: false), folder: harbour.root)
        let report = try await harbour.fetch(harbour.request(server.url))
        #expect(report.transferred == harbour.size)
        #expect(server.requests.count == 1)
        try harbour.expectPublished()
    }

    @Test func aFailingServerIsAskedAgain() async throws {
        for status in [429, 500, 503] {
            let harbour = try Harbour(size: 300_000)
            let server = try await BlobServer(harbour.blob, manners: .init(failFirst: (status, 3)), folder: harbour.root)
            #expect(try await harbour.fetch(harbour.request(server.url)).retries == 3)
            try harbour.expectPublished()
        }
    }

    @Test func aMissingBlobFailsAtOnce() async throws {
        for status in [401, 403, 404] {
            let harbour = try Harbour(size: 300_000)
            let server = try await BlobServer(harbour.blob, manners: .init(failFirst: (status, 99)), folder: harbour.root)
            let failure = await #expect(throws: TransferFailure.self) { try await harbour.fetch(harbour.request(server.url)) }
            #expect(failure?.status == status)
            #expect(server.requests.count == 1)
        }
    }

    @Test func patienceEnds() async throws {
        let harbour = try Harbour(size: 300_000)
        var options = harbour.options
        options.patience = .milliseconds(100)
        // Nobody listens on port 1.
        let failure = await #expect(throws: TransferFailure.self) {
            try await harbour.fetch(harbour.request("http://127.0.0.1:1/x"), options: options)
        }
        #expect(failure?.code == .outOfPatience)
    }

    @Test func anotherSizeIsRefused() async throws {
        for ranges in [true, false] {
            let harbour = try Harbour(size: 300_000)
            let server = try await BlobServer(
                harbour.blob, manners: .init(ranges: ranges, pretend: 7), folder: harbour.root)
            let failure = await #expect(throws: TransferFailure.self) { try await harbour.fetch(harbour.request(server.url)) }
            #expect(failure?.code == .answer)
        }
    }

    @Test func theTokenNeverLeavesItsOrigin() async throws {
        let harbour = try Harbour(size: 2 << 20)
        let storage = try await BlobServer(harbour.blob, folder: harbour.root)
        let registry = try await BlobServer(harbour.blob, manners: .init(redirect: storage.url), folder: harbour.root)
        try await harbour.fetch(harbour.request(registry.url, bearer: "secret"))
        try harbour.expectPublished()
        #expect(registry.requests.allSatisfy { $0.hasSuffix(" Bearer secret") })
        #expect(storage.requests.count >= 8)
        #expect(storage.requests.allSatisfy { $0.hasSuffix(" None") })
    }

    @Test func redirectsAreBoundedAndLeadNowhereElse() async throws {
        let harbour = try Harbour(size: 300_000)
        for target in ["http://127.0.0.1:1/loop", "file:///etc/passwd", "http://169.254.169.254/latest", "ftp://127.0.0.1/x"] {
            var manners = BlobServer.Manners(redirect: target)
            if target.hasSuffix("loop") { manners.redirect = "/blob" }
            let server = try await BlobServer(harbour.blob, manners: manners, folder: harbour.root)
            let failure = await #expect(throws: TransferFailure.self) { try await harbour.fetch(harbour.request(server.url)) }
            #expect(failure?.code == .answer || failure?.code == .connection, "\(target): \(String(describing: failure))")
            #expect(server.requests.count <= Redirect.most + 1)
        }
        for url in ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://user:word@127.0.0.1/x", ""] {
            await #expect(throws: TransferFailure.self) { try await harbour.fetch(harbour.request(url)) }
        }
    }

    @Test func manyPullsOfOneBlobJoinIntoOne() async throws {
        let harbour = try Harbour(size: 6 << 20, pieceSize: 1 << 20)
        let server = try await BlobServer(harbour.blob, manners: .init(holdAfter: 3 << 20), folder: harbour.root)
        let request = harbour.request(server.url)
        let arrivals = Arrivals()
        let reports = try await withThrowingTaskGroup(of: TransferReport.self) { group in
            for index in 0..<20 {
                group.addTask {
                    try await harbour.fetch(request, options: harbour.unhurried) { _ in
                        // Whoever fetches and whoever waits hears of progress: when all have, all are here.
                        if arrivals.note(index) == 20 { server.release() }
                    }
                }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(reports.filter { !$0.joined }.count == 1)
        #expect(reports.reduce(0) { $0 + $1.transferred } == harbour.size)
        #expect(server.requests.count == 6)
        try harbour.expectPublished()
    }

    @Test func whoWaitsTakesOverWhenTheFirstGivesUp() async throws {
        let harbour = try Harbour(size: 4 << 20, pieceSize: 1 << 20)
        let server = try await BlobServer(harbour.blob, manners: .init(holdAfter: 2 << 20), folder: harbour.root)
        let request = harbour.request(server.url)
        let (stream, continuation) = AsyncStream.makeStream(of: Void.self)
        let first = Task {
            try await harbour.fetch(request, options: harbour.unhurried) { if $0.received > 1 << 20 { continuation.yield() } }
        }
        for await _ in stream { break }
        let second = Task { try await harbour.fetch(request) }
        first.cancel()
        _ = await first.result
        server.release()
        let report = try await second.value
        #expect(!report.joined)
        #expect(report.resumed > 1 << 19)
        #expect(report.resumed + report.transferred == harbour.size)
        try harbour.expectPublished()
    }

    @Test func anEmptyBlobNeedsNoServer() async throws {
        let harbour = try Harbour(size: 0)
        let report = try await harbour.fetch(harbour.request("http://127.0.0.1:1/x"))
        #expect(report.transferred == 0)
        try harbour.expectPublished()
    }

    @Test func progressEndsAtTheWhole() async throws {
        let harbour = try Harbour(size: 4 << 20, pieceSize: 1 << 20)
        let server = try await BlobServer(harbour.blob, manners: .init(rate: 2 << 20), folder: harbour.root)
        let seen = Mutex<[TransferProgress]>([])
        var options = harbour.options
        options.connections = 1
        try await harbour.fetch(harbour.request(server.url), options: options) { progress in
            seen.withLock { $0.append(progress) }
        }
        let all = seen.withLock { $0 }
        #expect(all.last?.received == harbour.size)
        #expect(all.map(\.received) == all.map(\.received).sorted())
        #expect(all.contains { ($0.bytesPerSecond ?? 0) > 500_000 && ($0.secondsLeft ?? 99) < 10 })
    }
}

/// Who has been heard of.
private final class Arrivals: Sendable {
    private let seen = Mutex<Set<Int>>([])

    /// How many different ones have been, this one too.
    func note(_ index: Int) -> Int {
        seen.withLock {
            $0.insert(index)
            return $0.count
        }
    }
}
