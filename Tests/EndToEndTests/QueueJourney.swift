import Foundation
import TestStage
import Testing

/// From a submit to its result through coordinator and agent, with crashes in between.
@Suite(.serialized) struct QueueJourney {
    let stage: Stage

    init() throws { stage = try Stage() }

    @Test func `exit codes come through the queue as they come through cargo-run`() async throws {
        let harbour = try await Harbour.open(stage)
        let agent = try harbour.startAgent("one")
        let reference = try await harbour.publish("test/ends", script: "eval \"$1\"\n")
        for (script, more, code) in [
            ("exit 0", [], Int32(0)), ("exit 3", [], 3), ("kill -9 $$", [], 137), ("sleep 60", ["--timeout", "1"], 124),
        ] {
            let command = ["longshore", "submit", reference, "--wait"] + more + ["--", script]
            let finished = try await stage.start(command).finish()
            #expect(finished.code == code, "\(script): \(finished.stderr)")
        }
        await harbour.close(agent)
    }

    @Test func `input goes in, logs come live, outputs come back with their digests`() async throws {
        let harbour = try await Harbour.open(stage)
        let agent = try harbour.startAgent("one")
        let reference = try await harbour.publish(
            "test/echo",
            script: "cat $CARGO_INPUT/words.txt; echo on-stderr >&2; wc -w < $CARGO_INPUT/words.txt > $CARGO_OUTPUT/count.txt\n")
        try stage.write("one two three\n", to: "words.txt")
        let finished = try await stage.run(
            "longshore", "submit", reference, "--file", stage.path("words.txt"), "--follow", "--wait", "--output",
            stage.path("got"))
        #expect(finished.code == 0, "\(finished.stderr)")
        #expect(finished.text == "one two three\n")
        #expect(finished.stderr.contains("on-stderr"))
        #expect(try String(contentsOfFile: stage.path("got/count.txt"), encoding: .utf8) == "3\n")
        await harbour.close(agent)
    }

    @Test func `a hundred thousand lines arrive in order, also when the reader is killed halfway`() async throws {
        let harbour = try await Harbour.open(stage)
        let agent = try harbour.startAgent("one")
        let reference = try await harbour.publish("test/lines", script: "seq 100000\n")
        let expected = Data((1...100_000).map { "\($0)\n" }.joined().utf8)
        let id = try await harbour.submit(reference)
        let reader = try stage.start(["longshore", "logs", "-f", id])
        _ = await eventually { reader.stdout.count > 100_000 || !reader.isRunning }
        await reader.destroy()
        let half = reader.stdout
        #expect(expected.starts(with: half))
        let whole = try await stage.run("longshore", "logs", "-f", id)
        #expect(whole.code == 0, "\(whole.stderr)")
        #expect(whole.stdout == expected)
        await harbour.close(agent)
    }

    @Test func `a reader shows its last event id and misses nothing`() async throws {
        let harbour = try await Harbour.open(stage)
        let agent = try harbour.startAgent("one")
        let reference = try await harbour.publish("test/events", script: "for i in 1 2 3 4 5; do echo line $i; sleep 0.1; done\n")
        let id = try await harbour.submit(reference)
        let key = try String(contentsOfFile: harbour.keyFile, encoding: .utf8).trimmingCharacters(in: .whitespacesAndNewlines)
        let curl = ["/usr/bin/curl", "-sN", "-H", "Authorization: Bearer \(key)", "\(harbour.url)/jobs/\(id)/events"]
        let all = try await stage.start(curl).finish()
        let events = Self.events(all.text)
        #expect(events.last?.data.contains("\"complete\"") == true, "\(all.text)")
        for (index, event) in events.enumerated() where index + 1 < events.count {
            let rest = try await stage.start(curl + ["-H", "Last-Event-ID: \(event.id)"]).finish()
            let log = Self.events(rest.text).filter { $0.name == "log" }.map(Self.text).joined()
            let missing = events[(index + 1)...].filter { $0.name == "log" }.map(Self.text).joined()
            #expect(log == missing, "after \(event.id)")
            let states = Self.events(rest.text).filter { $0.name == "status" }.count
            #expect(states == events[(index + 1)...].count { $0.name == "status" }, "after \(event.id)")
        }
        await harbour.close(agent)
    }

    @Test func `a killed agent's job runs again after the lease and completes once`() async throws {
        let harbour = try await Harbour.open(stage, leaseSeconds: 3)
        let first = try harbour.startAgent("first")
        let reference = try await harbour.publish("test/slow", script: "echo begin; sleep 2; echo end\n")
        let id = try await harbour.submit(reference)
        _ = try await harbour.await(id, ["processing"])
        await first.destroy()
        let second = try harbour.startAgent("second")
        let job = try await harbour.await(id, ["complete", "error"], within: 60)
        #expect(job["status"]?.string == "complete", "\(job)")
        #expect(job["attempt"]?.int == 2)
        let logs = try await stage.run("longshore", "logs", id)
        #expect(logs.text == "begin\nend\n")
        await harbour.close(second)
    }

    @Test func `a late report under a lost lease is answered 409`() async throws {
        let harbour = try await Harbour.open(stage, leaseSeconds: 1)
        let reference = try await harbour.publish("test/late", script: "true\n")
        let id = try await harbour.submit(reference)
        let key = try String(contentsOfFile: harbour.keyFile, encoding: .utf8).trimmingCharacters(in: .whitespacesAndNewlines)
        func post(_ path: String, _ body: String) async throws -> (status: String, body: JSON) {
            let finished = try await stage.run(
                "/usr/bin/curl", "-s", "-w", "\n%{http_code}", "-H", "Authorization: Bearer \(key)", "-H",
                "Content-Type: application/json", "-d", body, harbour.url + path)
            let lines = finished.text.split(separator: "\n", omittingEmptySubsequences: false)
            return (String(lines.last ?? ""), JSON(Data(lines.dropLast().joined(separator: "\n").utf8)))
        }
        let host = try await post("/hosts", #"{"name":"plain-script"}"#)
        #expect(host.status.hasPrefix("20"), "\(host)")
        let claim = #"{"wait":5,"slots":1,"capabilities":{"kinds":["process"]},"claim_id":"CLAIM"}"#
        let first = try await post("/hosts/next-job", claim.replacing("CLAIM", with: "a"))
        #expect(first.body["job"]?["id"]?.string == id, "\(first)")
        let lost = try #require(first.body["lease"])
        // The lease runs out; the job is claimed again.
        var second = (status: "", body: JSON(Data()))
        let again = try await eventually(within: 20) {
            second = try await post("/hosts/next-job", claim.replacing("CLAIM", with: UUID().uuidString))
            return second.status == "200"
        }
        #expect(again)
        func lease(_ json: JSON) -> String {
            """
            {"generation":\(json["generation"]?.int ?? 0),"epoch":\(json["epoch"]?.int ?? 0),\
            "token":"\(json["token"]?.string ?? "")","host":"\(json["host"]?.string ?? "")"}
            """
        }
        let late = try await post("/jobs/\(id)/complete", #"{"lease":\#(lease(lost)),"exit_code":0,"outputs":[]}"#)
        #expect(late.status == "409" && late.body["code"]?.string == "lease_lost", "\(late)")
        let beat = try await post("/jobs/\(id)/heartbeat", #"{"lease":\#(lease(lost))}"#)
        #expect(beat.status == "409", "\(beat)")
        let current = try #require(second.body["lease"])
        let good = try await post("/jobs/\(id)/complete", #"{"lease":\#(lease(current)),"exit_code":0,"outputs":[]}"#)
        #expect(good.status == "200", "\(good)")
        #expect(try await harbour.job(id)["status"]?.string == "complete")
        await harbour.close()
    }

    @Test func `queued and running jobs outlive a killed coordinator`() async throws {
        var harbour = try await Harbour.open(stage)
        let agent = try harbour.startAgent("one", slots: 1)
        let reference = try await harbour.publish("test/patient", script: "echo begin; sleep 3; echo end\n")
        let running = try await harbour.submit(reference)
        let queued = try await harbour.submit(reference)
        _ = try await harbour.await(running, ["processing"])
        harbour = try await harbour.crashAndRestart()
        for id in [running, queued] {
            let job = try await harbour.await(id, ["complete", "error"])
            #expect(job["status"]?.string == "complete" && job["attempt"]?.int == 1, "\(job)")
            #expect(try await stage.run("longshore", "logs", id).text == "begin\nend\n")
        }
        await harbour.close(agent)
    }

    @Test func `a cancelled job ends, queued or running`() async throws {
        let harbour = try await Harbour.open(stage)
        let reference = try await harbour.publish("test/long", script: "echo up; sleep 100\n")
        let queued = try await harbour.submit(reference)
        #expect(try await stage.run("longshore", "cancel", queued).code == 0)
        _ = try await harbour.await(queued, ["cancelled"])
        let agent = try harbour.startAgent("one")
        let running = try await harbour.submit(reference)
        _ = try await harbour.await(running, ["processing"])
        #expect(try await stage.run("longshore", "cancel", running).code == 0)
        _ = try await harbour.await(running, ["cancelled"], within: 45)
        await harbour.close(agent)
    }

    private struct Event {
        var id = ""
        var name = ""
        var data = ""
    }

    /// Server-sent events as the HTML standard parses them, section 9.2.6.
    private static func events(_ text: String) -> [Event] {
        text.split(separator: "\n\n").compactMap { block in
            var event = Event()
            for line in block.split(separator: "\n") where !line.hasPrefix(":") {
                if line.hasPrefix("id:") { event.id = line.dropFirst(3).trimmingCharacters(in: .whitespaces) }
                if line.hasPrefix("event:") { event.name = line.dropFirst(6).trimmingCharacters(in: .whitespaces) }
                if line.hasPrefix("data:") { event.data += line.dropFirst(5).trimmingCharacters(in: .whitespaces) }
            }
            return event.data.isEmpty ? nil : event
        }
    }

    private static func text(_ event: Event) -> String { JSON(Data(event.data.utf8))["data"]?.string ?? "" }
}
