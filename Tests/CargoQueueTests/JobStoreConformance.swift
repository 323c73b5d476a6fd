import CargoArtifact
import CargoQueue
import CargoScheduler
import CargoWire
import FoundationEssentials
import Synchronization
import Testing

/// What every job store must do, whatever keeps its rows.
@Suite struct JobStoreConformance {
    @Test(arguments: StoreKind.allCases)
    func aSubmittedJobIsThereAfterARestart(_ kind: StoreKind) async throws {
        let bench = try await StoreBench(kind)
        let job = try await bench.submit().job
        try await bench.restart()
        #expect(try await bench.status(job.key) == .queued)
        let claim = try #require(try await bench.claim())
        #expect(claim.job.key == job.key)
        #expect(claim.spec == Data(#"{"tier":1}"#.utf8))
    }

    @Test(arguments: StoreKind.allCases)
    func aJobIsGivenToOneHostOnly(_ kind: StoreKind) async throws {
        let bench = try await StoreBench(kind)
        _ = try await bench.submit()
        async let first = bench.claim("host-a")
        async let second = bench.claim("host-b")
        let claims = try await [first, second].compactMap { $0 }
        #expect(claims.count == 1)
    }

    @Test(arguments: StoreKind.allCases)
    func aRequestGoesToAHostWithAFreeSlotOfItsModelAndIsNotTriedAgainOnceItIsAnswered(_ kind: StoreKind) async throws {
        let bench = try await StoreBench(kind)
        func submit() async throws -> JobKey {
            try await bench.store.submit(
                NewJob(
                    id: nil, account: 1, tier: 1, priority: 50, maxAttempts: 3, cargo: "acme/tiny", digest: nil,
                    requirement: Requirement(model: "acme/tiny", tier: 1), spec: Data(#"{"tier":1}"#.utf8), metadata: nil,
                    files: [:], retention: nil, idempotency: nil)
            ).job.key
        }
        func claim(_ host: String, _ model: String = "acme/tiny", active: Int = 0) async throws -> GrantedClaim? {
            var capabilities = HostCapabilities(kinds: [])
            capabilities.models = [ServedModel(id: model, source: .endpoint, operations: [.chat], active: active, slots: 1)]
            return try await bench.store.claim(ClaimAsk(host: host, capabilities: capabilities, claimID: nil))
        }
        let key = try await submit()
        let unfit = [try await bench.claim(), try await claim("host-a", "acme/other"), try await claim("host-a", active: 1)]
        #expect(unfit.allSatisfy { $0 == nil })
        try await bench.restart()
        // Before it began to answer, another host is asked at once.
        let first = try #require(try await claim("host-a"))
        let gone = JobError(code: "model_unavailable", message: "gone")
        _ = try await bench.store.report(key.id, first.lease, .failed(gone, retryable: true), AttemptEnd())
        let second = try #require(try await claim("host-b"))
        var end = AttemptEnd()
        end.answer = AnswerHead(status: 200, contentType: "application/json")
        end.usage = ModelUsage(promptTokens: 1, completionTokens: 2)
        _ = try await bench.store.report(key.id, second.lease, .started, AttemptEnd())
        _ = try await bench.store.report(key.id, second.lease, .finished(ExitReport(exitCode: 0), error: nil), end)
        let last = try #require(try await bench.store.transitions(of: key, after: 0, limit: 10).last)
        let detail = try JSONDecoder().decode(TransitionDetail.self, from: last.detail)
        #expect(last.status == .complete && detail.answer == end.answer && detail.usage == end.usage)
        // Once it began, losing the host ends it.
        let begun = try await submit()
        let lost = try #require(try await claim("host-a"))
        _ = try await bench.store.report(begun.id, lost.lease, .started, AttemptEnd())
        try await bench.clocks.advance(seconds: 40, of: bench.store)
        #expect(try await bench.status(begun) == .error)
        #expect(try await bench.store.job(begun).1.error?.code == "host_lost")
    }

    @Test(arguments: StoreKind.allCases)
    func aJobGoesOnlyToAHostWithRoomForIt(_ kind: StoreKind) async throws {
        let bench = try await StoreBench(kind)
        let room = Room(memory: 4 << 30, vram: 8 << 30, gpus: 1, price: 2)
        let key = try await bench.store.submit(
            NewJob(
                id: nil, account: 1, tier: 1, priority: 50, maxAttempts: 1, cargo: "acme/x:1.0.0", digest: "sha256:00",
                requirement: Requirement(kind: "process", tier: 1, room: room), spec: Data(#"{"tier":1}"#.utf8), metadata: nil,
                files: [:], retention: nil, idempotency: nil)
        ).job.key
        try await bench.restart()
        func claim(memory: Int64 = 4, vram: Int64 = 8, price: Double = 2) async throws -> GrantedClaim? {
            var capabilities = HostCapabilities(kinds: ["process"])
            var report = HostReport()
            (report.freeMemory, report.freeVRAM) = (ByteCount(memory << 30), ByteCount(vram << 30))
            report.prices = ["_default": price]
            capabilities.report = report
            return try await bench.store.claim(ClaimAsk(host: "host-a", capabilities: capabilities, claimID: nil))
        }
        let unfit = [try await claim(memory: 3), try await claim(vram: 7), try await claim(price: 2.1), try await bench.claim()]
        #expect(unfit.allSatisfy { $0 == nil })
        #expect(try await claim()?.job.key == key)
        #expect(try await bench.store.job(key).0.requirement.room == room)
    }

    @Test(arguments: StoreKind.allCases)
    func theSameClaimIDGivesTheSameClaim(_ kind: StoreKind) async throws {
        let bench = try await StoreBench(kind)
        _ = try await bench.submit()
        _ = try await bench.submit()
        let first = try #require(try await bench.claim(claimID: "c1"))
        let again = try #require(try await bench.claim(claimID: "c1"))
        #expect(again.lease == first.lease)
        #expect(again.job.key == first.job.key)
        try await bench.restart()
        let afterRestart = try #require(try await bench.claim(claimID: "c1"))
        #expect(afterRestart.lease == first.lease)
        // Another host's equal id is another claim.
        let other = try #require(try await bench.claim("host-b", claimID: "c1"))
        #expect(other.job.key != first.job.key)
    }

    @Test(arguments: StoreKind.allCases)
    func aRepeatedClaimHasItsFullTime(_ kind: StoreKind) async throws {
        let bench = try await StoreBench(kind)
        let key = try await bench.submit().job.key
        _ = try #require(try await bench.claim(claimID: "c1"))
        try await bench.clocks.advance(seconds: 25, of: bench.store)
        let again = try #require(try await bench.claim(claimID: "c1"))
        try await bench.clocks.advance(seconds: 25, of: bench.store)
        #expect(try await bench.status(key) == .provisioning)
        #expect(try await bench.complete(again).state.status == .complete)
    }

    @Test(arguments: StoreKind.allCases)
    func whatExpiresLeavesOnlyItsAuditTrail(_ kind: StoreKind) async throws {
        let bench = try await StoreBench(kind)
        try await bench.restart { $0.retentionSeconds = 100 }
        let key = try await bench.submit().job.key
        let waiting = try await bench.submit().job.key
        let claim = try #require(try await bench.claim())
        let output = OutputFile(path: "a", size: 3, sha256: String(repeating: "a", count: 64))
        try await bench.store.stage(output, for: key.id, claim.lease)
        _ = try await bench.complete(claim, outputs: [output])
        try await bench.store.share(key, tokenHash: Data([1]), until: Timestamp(milliseconds: .max))
        #expect(try await bench.store.shared(Data([1])) == key)
        #expect(try await bench.store.expire(limit: 10).jobs.isEmpty)
        bench.clocks.setWall(forwardBy: 101)
        #expect(try await bench.store.usesBlob(output.sha256))
        let expired = try await bench.store.expire(limit: 10)
        #expect(expired.jobs.map(\.key) == [key] && expired.blobs == [output.sha256])
        #expect(try await bench.store.usesBlob(output.sha256) == false)
        #expect(try await bench.store.shared(Data([1])) == nil)
        #expect(try await bench.store.job(key).1.outputs.isEmpty)
        let rows = try await bench.store.transitions(of: key, after: 0, limit: 10)
        #expect(rows.count == 3 && AuditChain.firstBreak(in: rows, of: key.id) == nil)
        // What waits or runs never expires.
        #expect(try await bench.status(waiting) == .queued)
        #expect(try #require(try await bench.claim()).job.key == waiting)
    }

    @Test(arguments: StoreKind.allCases)
    func whoSubmitsTwiceIsServedInThatOrder(_ kind: StoreKind) async throws {
        let bench = try await StoreBench(kind)
        var submitted: [JobKey] = []
        for _ in 0..<20 { submitted.append(try await bench.submit().job.key) }
        try await bench.restart()
        for key in submitted { #expect(try await bench.claim()?.job.key == key) }
    }

    @Test(arguments: StoreKind.allCases)
    func anAcknowledgementIsOneRowAndBringsTheEndOfRetentionForward(_ kind: StoreKind) async throws {
        let bench = try await StoreBench(kind)
        let key = try await bench.submit().job.key
        await #expect(throws: StoreError.wrongState(.queued)) {
            _ = try await bench.store.acknowledge(key, actor: "account:1")
        }
        _ = try await bench.complete(try #require(try await bench.claim()))
        let ended = try await bench.store.job(key).0.finishedAt
        bench.clocks.setWall(forwardBy: 10)
        for _ in 0..<2 { _ = try await bench.store.acknowledge(key, actor: "account:1") }
        let rows = try await bench.store.transitions(of: key, after: 0, limit: 10)
        #expect(rows.map(\.status) == [.queued, .provisioning, .complete, .complete])
        #expect(rows.last?.actor == "account:1" && AuditChain.firstBreak(in: rows, of: key.id) == nil)
        let (record, result, _) = try await bench.store.job(key)
        #expect(record.finishedAt == ended && result.exit?.exitCode == 0)
        #expect(try await bench.store.expire(limit: 10).jobs.isEmpty)
        bench.clocks.setWall(forwardBy: 3601)
        #expect(try await bench.store.expire(limit: 10).jobs.map(\.key) == [key])
    }

    @Test(arguments: StoreKind.allCases)
    func theOldestJobThatCouldRunIsKnown(_ kind: StoreKind) async throws {
        let bench = try await StoreBench(kind)
        #expect(try await bench.store.counts().oldest == nil)
        let first = try await bench.submit().job
        bench.clocks.setWall(forwardBy: 5)
        _ = try await bench.submit(account: 2, priority: 90)
        #expect(try await bench.store.counts() == StoreCounts(queued: 2, leases: 0, oldest: first.createdAt))
        #expect(try await bench.claim()?.job.key.account == 2)
        #expect(try await bench.claim()?.job.key == first.key)
        #expect(try await bench.store.counts() == StoreCounts(queued: 0, leases: 2))
    }

    /// The test's PostgreSQL stands alone.
    @Test(arguments: StoreKind.allCases)
    func aDatabaseWithoutASynchronousReplicaIsWarnedOf(_ kind: StoreKind) async throws {
        let bench = try await StoreBench(kind)
        #expect(try await bench.store.warnings().count == (kind == .postgres ? 1 : 0))
    }

    @Test(arguments: StoreKind.allCases)
    func aSecretIsMadeOnce(_ kind: StoreKind) async throws {
        let bench = try await StoreBench(kind)
        #expect(try await bench.store.secret("a", making: "first") == "first")
        #expect(try await bench.store.secret("a", making: "second") == "first")
        try await bench.restart()
        #expect(try await bench.store.secret("a", making: "third") == "first")
        #expect(try await bench.store.secret("b", making: "other") == "other")
    }

    @Test(arguments: StoreKind.allCases)
    func aShareOpensOneJobUntilItEndsOrIsRevoked(_ kind: StoreKind) async throws {
        let bench = try await StoreBench(kind)
        let key = try await bench.submit().job.key
        let now = bench.clocks.clocks.wall()
        try await bench.store.share(key, tokenHash: Data([1]), until: now.advanced(bySeconds: 60))
        try await bench.store.share(key, tokenHash: Data([2]), until: now.advanced(bySeconds: 600))
        await #expect(throws: StoreError.notFound) {
            try await bench.store.share(JobKey(account: 2, id: key.id), tokenHash: Data([3]), until: now)
        }
        bench.clocks.setWall(forwardBy: 61)
        #expect(try await bench.store.shared(Data([1])) == nil)
        #expect(try await bench.store.shared(Data([2])) == key)
        try await bench.store.unshare(key)
        #expect(try await bench.store.shared(Data([2])) == nil)
    }

    @Test(arguments: StoreKind.allCases)
    func theQueueSaysWhatWaitsOfOneAccount(_ kind: StoreKind) async throws {
        let bench = try await StoreBench(kind)
        _ = try await bench.submit(account: 1)
        bench.clocks.setWall(forwardBy: 1)
        let second = try await bench.submit(account: 1).job.key
        bench.clocks.setWall(forwardBy: 1)
        _ = try await bench.submit(account: 1, priority: 90)
        _ = try await bench.submit(account: 2)
        let view = try await bench.store.queueView(of: 1, job: second.id)
        #expect(view.groups.map(\.count) == [3])
        #expect(view.position == 2)
        await #expect(throws: StoreError.notFound) { _ = try await bench.store.queueView(of: 2, job: second.id) }
    }

    @Test(arguments: StoreKind.allCases)
    func everyPartOfTheLeaseIsMatched(_ kind: StoreKind) async throws {
        let bench = try await StoreBench(kind)
        _ = try await bench.submit()
        let claim = try #require(try await bench.claim())
        let id = claim.job.key.id
        for change in [
            { (lease: inout Lease) in lease.generation += 1 }, { $0.epoch += 1 }, { $0.epoch -= 1 },
            { $0.token = String(repeating: "0", count: 32) }, { $0.host = "host-b" },
        ] {
            var forged = claim.lease
            change(&forged)
            await #expect(throws: StoreError.leaseLost) { _ = try await bench.store.renew(id, forged) }
            await #expect(throws: StoreError.leaseLost) { _ = try await bench.store.holder(id, forged) }
            await #expect(throws: StoreError.leaseLost) {
                try await bench.store.stage(OutputFile(path: "x", size: 0, sha256: ""), for: id, forged)
            }
            await #expect(throws: StoreError.leaseLost) {
                _ = try await bench.store.report(id, forged, .finished(ExitReport(exitCode: 0), error: nil), AttemptEnd())
            }
        }
        // The lease of one job is none of another.
        let other = try await bench.submit().job
        await #expect(throws: StoreError.leaseLost) { _ = try await bench.store.renew(other.key.id, claim.lease) }
        #expect(try await bench.complete(claim).state.status == .complete)
    }

    @Test(arguments: StoreKind.allCases)
    func aSilentHostLosesItsJobAndItsLateReport(_ kind: StoreKind) async throws {
        let bench = try await StoreBench(kind)
        let key = try await bench.submit().job.key
        let lost = try #require(try await bench.claim("host-a"))
        try await bench.clocks.advance(seconds: 29, of: bench.store)
        #expect(try await bench.status(key) == .provisioning)
        try await bench.clocks.advance(seconds: 5, of: bench.store)
        #expect(try await bench.status(key) == .queued)
        #expect(bench.sealed.withLock { Set($0) } == [key.id])
        let next = try #require(try await bench.claim("host-b"))
        #expect(next.job.state.attempt == 2)
        await #expect(throws: StoreError.leaseLost) { _ = try await bench.complete(lost) }
        #expect(try await bench.complete(next).state.status == .complete)
        await #expect(throws: StoreError.leaseLost) { _ = try await bench.complete(lost) }
    }

    @Test(arguments: StoreKind.allCases)
    func heartbeatsKeepALease(_ kind: StoreKind) async throws {
        let bench = try await StoreBench(kind)
        let key = try await bench.submit().job.key
        let claim = try #require(try await bench.claim())
        for _ in 0..<6 {
            try await bench.clocks.advance(seconds: 20, of: bench.store)
            #expect(try await bench.store.renew(key.id, claim.lease) == false)
        }
        #expect(try await bench.status(key) == .provisioning)
    }

    @Test(arguments: StoreKind.allCases)
    func aRestartGivesEveryLeaseItsFullTimeAgain(_ kind: StoreKind) async throws {
        let bench = try await StoreBench(kind)
        let key = try await bench.submit().job.key
        let claim = try #require(try await bench.claim())
        try await bench.clocks.advance(seconds: 25, of: bench.store)
        bench.clocks.stall(seconds: 3600)
        try await bench.restart()
        try await bench.clocks.advance(seconds: 25, of: bench.store)
        #expect(try await bench.status(key) == .provisioning)
        #expect(try await bench.complete(claim).state.status == .complete)
    }

    @Test(arguments: StoreKind.allCases)
    func aStoppedCoordinatorTakesNoLeaseAway(_ kind: StoreKind) async throws {
        let bench = try await StoreBench(kind)
        var claims: [GrantedClaim] = []
        for index in 0..<50 {
            _ = try await bench.submit()
            claims.append(try #require(try await bench.claim("host-\(index)")))
        }
        try await bench.clocks.advance(seconds: 5, of: bench.store)
        bench.clocks.stall(seconds: 60)
        try await bench.store.tick()
        try await bench.clocks.advance(seconds: 20, of: bench.store)
        for claim in claims {
            #expect(try await bench.complete(claim).state.attempt == 1)
        }
    }

    @Test(arguments: StoreKind.allCases)
    func theWallClockMayLeapWithoutEndingALease(_ kind: StoreKind) async throws {
        let bench = try await StoreBench(kind)
        let key = try await bench.submit().job.key
        _ = try #require(try await bench.claim())
        bench.clocks.setWall(forwardBy: 3600)
        try await bench.store.tick()
        bench.clocks.setWall(forwardBy: -7200)
        try await bench.clocks.advance(seconds: 10, of: bench.store)
        #expect(try await bench.status(key) == .provisioning)
    }

    @Test(arguments: StoreKind.allCases)
    func theThirdLostHostMakesADeadLetterThatCanBeReplayed(_ kind: StoreKind) async throws {
        let bench = try await StoreBench(kind)
        let key = try await bench.submit().job.key
        for host in ["host-a", "host-b", "host-c"] {
            _ = try #require(try await bench.claim(host))
            try await bench.clocks.advance(seconds: 34, of: bench.store)
        }
        let (record, result, _) = try await bench.store.job(key)
        #expect(record.state.status == .error)
        #expect(result.error?.code == "poison")
        _ = try await bench.store.replay(key, actor: "account:1")
        let claim = try #require(try await bench.claim("host-d"))
        #expect(claim.job.state.attempt == 4)
        #expect(try await bench.complete(claim).state.status == .complete)
    }

    @Test(arguments: StoreKind.allCases)
    func aLostHostIsAvoidedWhileAnotherIsThere(_ kind: StoreKind) async throws {
        let bench = try await StoreBench(kind)
        _ = try await bench.submit()
        _ = try #require(try await bench.claim("host-a"))
        try await bench.clocks.advance(seconds: 32, of: bench.store)
        // host-b asks, so it is known, but nothing waits yet.
        #expect(try await bench.claim("host-b") == nil)
        try await bench.clocks.advance(seconds: 2, of: bench.store)
        #expect(try await bench.claim("host-a") == nil)
        // Once host-b has stopped asking, host-a is better than none.
        try await bench.clocks.advance(seconds: 6, of: bench.store)
        #expect(try await bench.claim("host-a") != nil)
    }

    @Test(arguments: StoreKind.allCases)
    func ownFailuresAreTriedAgainAfterABackoffUpToTheJobsAttempts(_ kind: StoreKind) async throws {
        let bench = try await StoreBench(kind)
        let key = try await bench.submit(attempts: 2).job.key
        let first = try #require(try await bench.claim())
        #expect(try await bench.complete(first, exitCode: 3).state.status == .queued)
        #expect(try await bench.claim() == nil)
        try await bench.clocks.advance(seconds: 2, of: bench.store)
        let second = try #require(try await bench.claim())
        #expect(try await bench.complete(second, exitCode: 3).state.status == .error)
        let (record, result, _) = try await bench.store.job(key)
        #expect(record.state.attempt == 2)
        #expect(result.error?.code == "exit_nonzero")
        #expect(result.exit?.exitCode == 3)
    }

    @Test(arguments: StoreKind.allCases)
    func theSameCompletionIsAnsweredAsTheFirstTime(_ kind: StoreKind) async throws {
        let bench = try await StoreBench(kind)
        _ = try await bench.submit(attempts: 2)
        let first = try #require(try await bench.claim())
        #expect(try await bench.complete(first, exitCode: 1).state.status == .queued)
        try await bench.clocks.advance(seconds: 2, of: bench.store)
        let second = try #require(try await bench.claim())
        #expect(try await bench.complete(first, exitCode: 1).state.status == .queued)
        #expect(try await bench.complete(second).state.status == .complete)
        try await bench.restart()
        #expect(try await bench.complete(second).state.status == .complete)
        #expect(try await bench.complete(first, exitCode: 1).state.status == .queued)
    }

    @Test(arguments: StoreKind.allCases)
    func aQueuedJobIsCancelledAtOnceAndARunningOneIsTold(_ kind: StoreKind) async throws {
        let bench = try await StoreBench(kind)
        let waiting = try await bench.submit().job.key
        #expect(try await bench.store.cancel(waiting, actor: "account:1").state.status == .cancelled)
        #expect(try await bench.claim() == nil)
        let running = try await bench.submit().job.key
        let claim = try #require(try await bench.claim())
        #expect(try await bench.store.cancel(running, actor: "account:1").state.status == .provisioning)
        #expect(try await bench.store.renew(running.id, claim.lease) == true)
        try await bench.restart()
        #expect(try await bench.store.renew(running.id, claim.lease) == true)
        #expect(try await bench.complete(claim).state.status == .cancelled)
        // Cancelling what ended is no error and changes nothing.
        #expect(try await bench.store.cancel(running, actor: "account:1").state.status == .cancelled)
    }

    @Test(arguments: StoreKind.allCases)
    func aCancelledJobWhoseHostIsLostIsCancelled(_ kind: StoreKind) async throws {
        let bench = try await StoreBench(kind)
        let key = try await bench.submit().job.key
        _ = try #require(try await bench.claim())
        _ = try await bench.store.cancel(key, actor: "account:1")
        try await bench.clocks.advance(seconds: 34, of: bench.store)
        #expect(try await bench.status(key) == .cancelled)
    }

    @Test(arguments: StoreKind.allCases)
    func anIdempotencyKeyGivesTheSameJobOrAConflict(_ kind: StoreKind) async throws {
        let bench = try await StoreBench(kind)
        let first = try await bench.submit(key: "k", body: "a")
        let again = try await bench.submit(key: "k", body: "a")
        #expect(again.repeated && again.job.key == first.job.key)
        await #expect(throws: StoreError.idempotencyConflict) { _ = try await bench.submit(key: "k", body: "b") }
        // Another account's equal key is another key.
        let other = try await bench.submit(account: 2, key: "k", body: "b")
        #expect(other.job.key.id != first.job.key.id)
        #expect(try await bench.store.counts().queued == 2)
    }

    @Test(arguments: StoreKind.allCases)
    func aClientsOwnIDIsTakenOnce(_ kind: StoreKind) async throws {
        let bench = try await StoreBench(kind)
        let id = JobID(at: .now())
        #expect(try await bench.submit(id: id).job.key.id == id)
        await #expect(throws: StoreError.idTaken) { _ = try await bench.submit(id: id) }
    }

    @Test(arguments: StoreKind.allCases)
    func anotherAccountSeesNothing(_ kind: StoreKind) async throws {
        let bench = try await StoreBench(kind)
        let key = try await bench.submit(account: 1).job.key
        let foreign = JobKey(account: 2, id: key.id)
        await #expect(throws: StoreError.notFound) { _ = try await bench.store.job(foreign) }
        await #expect(throws: StoreError.notFound) { _ = try await bench.store.cancel(foreign, actor: "account:2") }
        #expect(try await bench.store.transitions(of: foreign, after: 0, limit: 10).isEmpty)
        #expect(try await bench.store.jobs(of: 2, status: nil, before: nil, limit: 10).isEmpty)
    }

    @Test(arguments: StoreKind.allCases)
    func accountsTakeTurnsAndPrioritiesGoFirst(_ kind: StoreKind) async throws {
        let bench = try await StoreBench(kind)
        for _ in 0..<6 { _ = try await bench.submit(account: 1) }
        for _ in 0..<3 { _ = try await bench.submit(account: 2) }
        let urgent = try await bench.submit(account: 1, priority: 90).job.key
        #expect(try #require(try await bench.claim()).job.key == urgent)
        var order: [Int64] = []
        while let claim = try await bench.claim() { order.append(claim.job.key.account) }
        // The urgent claim was a turn of account 1; from then on they alternate while both have jobs.
        #expect(order.prefix(5).filter { $0 == 2 }.count >= 2)
        #expect(order.count == 9)
    }

    @Test(arguments: StoreKind.allCases)
    func aHostGetsOnlyTiersThatItTakes(_ kind: StoreKind) async throws {
        let bench = try await StoreBench(kind)
        _ = try await bench.submit(tier: 3)
        #expect(try await bench.claim(maxTier: 2) == nil)
        #expect(try await bench.claim(maxTier: 3) != nil)
    }

    @Test(arguments: StoreKind.allCases)
    func outputsCountOnlyWhenTheyWereUploadedUnderTheLease(_ kind: StoreKind) async throws {
        let bench = try await StoreBench(kind)
        let key = try await bench.submit().job.key
        let claim = try #require(try await bench.claim())
        let output = OutputFile(path: "a/b", size: 3, sha256: String(repeating: "a", count: 64))
        await #expect(throws: StoreError.outputsMissing(["a/b"])) { _ = try await bench.complete(claim, outputs: [output]) }
        try await bench.store.stage(output, for: key.id, claim.lease)
        var larger = output
        larger.size = 4
        await #expect(throws: StoreError.outputsMissing(["a/b"])) { _ = try await bench.complete(claim, outputs: [larger]) }
        #expect(try await bench.store.job(key).1.outputs.isEmpty)
        _ = try await bench.complete(claim, outputs: [output])
        #expect(try await bench.store.job(key).1.outputs == [output])
    }

    @Test(arguments: StoreKind.allCases)
    func everyTransitionIsChainedToTheOneBefore(_ kind: StoreKind) async throws {
        let bench = try await StoreBench(kind)
        let key = try await bench.submit(attempts: 2).job.key
        let first = try #require(try await bench.claim("host-a"))
        _ = try await bench.store.report(key.id, first.lease, .started, AttemptEnd())
        _ = try await bench.complete(first, exitCode: 1)
        try await bench.clocks.advance(seconds: 3, of: bench.store)
        let second = try #require(try await bench.claim("host-b"))
        _ = try await bench.complete(second)
        let rows = try await bench.store.transitions(of: key, after: 0, limit: 100)
        #expect(rows.map(\.status) == [.queued, .provisioning, .processing, .queued, .provisioning, .complete])
        #expect(rows.map(\.sequence) == [1, 2, 3, 4, 5, 6])
        #expect(AuditChain.firstBreak(in: rows, of: key.id) == nil)
        for index in rows.indices {
            var forged = rows
            forged[index].actor = "host:forged"
            #expect(AuditChain.firstBreak(in: forged, of: key.id) == rows[index].sequence)
        }
        #expect(try await bench.store.job(key).0.head == rows.last?.hash)
        #expect(try await bench.store.transitions(of: key, after: 4, limit: 1).map(\.sequence) == [5])
    }

    @Test(arguments: StoreKind.allCases)
    func aClaimThatWasNotDeliveredCountsNothing(_ kind: StoreKind) async throws {
        let bench = try await StoreBench(kind)
        let key = try await bench.submit().job.key
        for _ in 0..<5 {
            let claim = try #require(try await bench.claim())
            try await bench.store.undelivered(claim)
        }
        let record = try await bench.store.job(key).0
        #expect(record.state.status == .queued)
        #expect(record.state.losses == 0 && record.state.failures == 0)
    }

    @Test(arguments: StoreKind.allCases)
    func anAccountsQuotaRefusesOnlyItsOwnJobs(_ kind: StoreKind) async throws {
        let bench = try await StoreBench(kind)
        try await bench.restart { $0.queuedPerAccount = 2 }
        _ = try await bench.submit(account: 1)
        _ = try await bench.submit(account: 1)
        await #expect(throws: StoreError.quotaExceeded(2)) { _ = try await bench.submit(account: 1) }
        _ = try await bench.submit(account: 2)
    }

    @Test(arguments: StoreKind.allCases)
    func anAccountsQuotaOfBytesRefusesOnlyItsOwnAndIsFreedByRetention(_ kind: StoreKind) async throws {
        let bench = try await StoreBench(kind)
        let tight: @Sendable (inout StoreSettings) -> Void = { ($0.bytesPerAccount, $0.retentionSeconds) = (3000, 100) }
        try await bench.restart(tight)
        for _ in 0..<2 { _ = try await bench.submit(account: 1) }
        await #expect(throws: StoreError.byteQuotaExceeded(3000)) { _ = try await bench.submit(account: 1) }
        _ = try await bench.submit(account: 2)
        await #expect(throws: StoreError.byteQuotaExceeded(3000)) {
            try await bench.store.addUpload(Upload(id: "u", size: 2000, sha256: String(repeating: "a", count: 64)), account: 2)
        }
        #expect(try await bench.store.upload("u", account: 2) == nil)
        // A restart has not forgotten.
        try await bench.clocks.advance(seconds: 2, of: bench.store)
        try await bench.restart(tight)
        await #expect(throws: StoreError.byteQuotaExceeded(3000)) { _ = try await bench.submit(account: 1) }
        // An accepted job's outputs and log are kept, and counted.
        let claim = try #require(try await bench.claim())
        let output = OutputFile(path: "a", size: 5000, sha256: String(repeating: "b", count: 64))
        try await bench.store.stage(output, for: claim.job.key.id, claim.lease)
        let end = AttemptEnd(outputs: [output], logBytes: 100, logSHA256: "00")
        _ = try await bench.store.report(claim.job.key.id, claim.lease, .finished(ExitReport(exitCode: 0), error: nil), end)
        bench.clocks.setWall(forwardBy: 101)
        #expect(try await bench.store.expire(limit: 10).jobs.map(\.key) == [claim.job.key])
        try bench.store.admit(3000 - 1034, account: claim.job.key.account)
        #expect(throws: StoreError.byteQuotaExceeded(3000)) {
            try bench.store.admit(3000 - 1033, account: claim.job.key.account)
        }
    }

    @Test(arguments: StoreKind.allCases)
    func manySubmitsAndClaimsAtOnceLoseNothing(_ kind: StoreKind) async throws {
        let bench = try await StoreBench(kind)
        let keys = try await withThrowingTaskGroup(of: JobKey.self) { group in
            for _ in 0..<200 { group.addTask { try await bench.submit().job.key } }
            return try await group.reduce(into: Set<JobKey>()) { $0.insert($1) }
        }
        #expect(keys.count == 200)
        let done = try await withThrowingTaskGroup(of: [JobKey].self) { group in
            for host in 0..<8 {
                group.addTask {
                    var done: [JobKey] = []
                    while let claim = try await bench.claim("host-\(host)") {
                        _ = try await bench.complete(claim)
                        done.append(claim.job.key)
                    }
                    return done
                }
            }
            return try await group.reduce(into: []) { $0 += $1 }
        }
        #expect(done.count == 200 && Set(done) == keys)
    }

    @Test(arguments: StoreKind.allCases)
    func aHostWithTheSameKeyKeepsItsID(_ kind: StoreKind) async throws {
        let bench = try await StoreBench(kind)
        let directory = try await Directory(store: bench.store)
        let admin = try await directory.createKey(name: "admin", scopes: [.admin], account: "default")
        let principal = try #require(directory.authenticate(admin.token))
        let registration = HostRegistration(name: "h", publicKey: "AAAA")
        let first = try await directory.registerHost(registration, by: principal)
        let second = try await directory.registerHost(registration, by: principal)
        #expect(first.id == second.id && first.token != second.token)
        try await bench.restart()
        let reopened = try await Directory(store: bench.store)
        #expect(reopened.authenticate(second.token)?.host == first.id)
        #expect(reopened.authenticate(first.token) == nil && directory.authenticate(first.token) == nil)
        #expect(reopened.authenticate(admin.token)?.may(.publish) == true)
        #expect(reopened.authenticate("ls_" + String(repeating: "0", count: 64)) == nil)
    }
}
