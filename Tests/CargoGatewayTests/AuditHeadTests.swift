import CargoArtifact
import CargoClient
import CargoSigning
import CargoWire
import FoundationEssentials
import NIOHTTP1
import Testing

/// The signed head of an audit trail, as it is handed out with results.
@Suite struct AuditHeadTests {
    private func ended(_ port: Port) async throws -> String {
        try await port.push()
        let host = try await port.host()
        let id = try await port.submit()
        #expect(try await port.get("/jobs/\(id)")["audit_head"] == .null)
        let claim = try await host.claim()
        #expect(try await host.complete(claim.id, claim.lease).status == 200)
        return id
    }

    @Test func aResultCarriesTheSignedHeadAndTheTrailFitsIt() async throws {
        try await withCoordinator { port in
            let id = try await ended(port)
            let head = try await port.get("/jobs/\(id)/result")["audit_head"]
            var audit = try JSONDecoder().decode(JobAudit.self, from: Data(try await port.get("/jobs/\(id)/audit").bytes))
            let key = try PublicKey(pem: try #require(audit.key))
            #expect(try audit.firstBreak() == nil)
            #expect(audit.objection(to: head, key: key) == nil)
            #expect(audit.objection(to: head, key: SigningKey().publicKey) != nil)
            // A coordinator that rewrites a row and chains everything behind it anew is found out by the head it gave before.
            audit.transitions[2].hash = String(repeating: "0", count: 64)
            #expect(audit.objection(to: head, key: key) != nil)
            audit.transitions.removeLast()
            #expect(audit.objection(to: head, key: key) != nil)
            audit.id = "01a1fb7b-0000-7000-8000-000000000000"
            #expect(audit.objection(to: head, key: key)?.contains("another job") == true)
        }
    }

    @Test func anAcknowledgementIsARowBehindTheHeadThatWasGiven() async throws {
        try await withCoordinator { port in
            let id = try await ended(port)
            let before = try await port.get("/jobs/\(id)")["audit_head"]
            let after = try await port.call(.POST, "/jobs/\(id)/ack")
            #expect(after.status == 200 && after["audit_head"] != before && after["status"].string == "complete")
            let audit = try JSONDecoder().decode(JobAudit.self, from: Data(try await port.get("/jobs/\(id)/audit").bytes))
            let key = try PublicKey(pem: try #require(audit.key))
            #expect(audit.transitions.count == 4)
            for head in [before, after["audit_head"]] { #expect(audit.objection(to: head, key: key) == nil) }
        }
    }

    @Test func metricsCountClaimsCommitsAndTheQueue() async throws {
        try await withCoordinator { port in
            let id = try await ended(port)
            _ = try await port.submit()
            let text = try await port.get("/metrics").text
            for line in [
                "longshore_jobs_queued 1", "longshore_leases 0", "longshore_claims_total 1", "longshore_leases_lost_total 0",
                "longshore_webhook_lag_seconds 0", "longshore_jobs_completed_total 1", "longshore_accounts 1",
            ] {
                #expect(text.contains("\n\(line)\n"), "\(line) of \(id): \(text)")
            }
            #expect(text.contains("longshore_commit_batch_bucket{le=\"1\"} "))
            // Every sample line is NAME[{le="…"}] NUMBER, and every name was declared.
            for line in text.split(separator: "\n") where !line.hasPrefix("#") {
                let parts = line.split(separator: " ")
                #expect(parts.count == 2 && Double(parts[1]) != nil, "\(line)")
            }
        }
    }

    @Test func metricsAreJSONForWhoAsksForJSON() async throws {
        try await withCoordinator { port in
            _ = try await ended(port)
            _ = try await port.submit()
            let answer = try await port.call(.GET, "/metrics", headers: [("Accept", "application/json")])
            #expect(answer.headers.first(name: "content-type") == "application/json")
            for (name, value) in [
                ("jobs_queued", 1), ("claims_total", 1), ("total_jobs_completed", 1), ("active_hosts", 1), ("total_users", 1),
            ] as [(String, Int64)] {
                #expect(answer[name] == .integer(value), "\(name) in \(answer.text)")
            }
            guard case .integer(let latency) = answer["avg_job_latency_ms"] else { throw TestFailure(answer.text) }
            #expect(latency >= 0)
            // What Prometheus sends names its own format.
            let scrape = try await port.call(
                .GET, "/metrics", headers: [("Accept", "application/openmetrics-text,text/plain;q=0.5,*/*")])
            #expect(scrape.text.hasPrefix("# HELP "))
        }
    }
}
