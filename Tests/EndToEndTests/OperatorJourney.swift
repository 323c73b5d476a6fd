import Foundation
import TestStage
import Testing

/// What an operator and a stranger's host in another language do.
@Suite(.serialized) struct OperatorJourney {
    let stage: Stage

    init() throws { stage = try Stage() }

    @Test func `the host of sixty lines of Python does a job over REST alone`() async throws {
        let script = Stage.repository.appending(path: "docs/host.py")
        let lines = try String(contentsOf: script, encoding: .utf8).split(separator: "\n", omittingEmptySubsequences: false)
        #expect(lines.count <= 61)
        let harbour = try await Harbour.open(stage)
        let host = try stage.start(["/usr/bin/python3", script.path, harbour.url, harbour.keyFile])
        let reference = try await harbour.publish("test/words", script: "true\n")
        try stage.write("one two three\n", to: "a.txt")
        try stage.write(String(repeating: "word ", count: 5000), to: "b.txt")
        let finished = try await stage.run(
            "longshore", "submit", reference, "--file", stage.path("a.txt"), "--file", stage.path("b.txt"), "--follow", "--wait",
            "--output", stage.path("got"))
        #expect(finished.code == 0, "\(finished.stderr) \(host.stderr)")
        #expect(finished.text == "a.txt: 3 words\nb.txt: 5000 words\n")
        let counts = JSON(try Data(contentsOf: URL(fileURLWithPath: stage.path("got/counts.json"))))
        #expect(counts["a.txt"]?.int == 3 && counts["b.txt"]?.int == 5000)
        await host.destroy()
        await harbour.close()
    }

    @Test func `a stop does not wait for connections that have not said what they want`() async throws {
        let harbour = try await Harbour.open(stage)
        let agent = try harbour.startAgent("one")
        try stage.write(
            """
            import socket, sys, time
            place = ("127.0.0.1", int(sys.argv[1]))
            begun = ["", "GET /hosts/tunnel HT", "GET /jobs HTTP/1.1\\r\\nHost: x\\r\\n", "POST /jobs HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 9\\r\\n\\r\\n{"]
            held = [socket.create_connection(place) for _ in begun]
            for connection, text in zip(held, begun): connection.sendall(text.encode())
            print("connected", flush=True)
            time.sleep(60)
            """, to: "hold.py")
        let port = try #require(harbour.url.split(separator: ":").last)
        let holder = try stage.start(["/usr/bin/python3", stage.path("hold.py"), String(port)])
        #expect(await eventually { String(decoding: holder.stdout, as: UTF8.self) == "connected\n" })
        harbour.coordinator.send(SIGTERM)
        let finished = await harbour.coordinator.finish()
        #expect(finished.code == 0, "\(finished.stderr)")
        await holder.destroy()
        await harbour.close(agent)
    }

    @Test func `logs without follow print what is there and end`() async throws {
        let harbour = try await Harbour.open(stage)
        let reference = try await harbour.publish("test/slow", script: "echo begun; sleep 60\n")
        let id = try await harbour.submit(reference)
        let waiting = try await stage.run("/usr/bin/timeout", "10", Stage.programs.appending(path: "longshore").path, "logs", id)
        #expect(waiting.code == 0 && waiting.text.isEmpty, "\(waiting.stderr)")
        let agent = try harbour.startAgent("one")
        let printed = await eventually { (try? await stage.run("longshore", "logs", id).text) == "begun\n" }
        #expect(printed)
        await harbour.close(agent)
    }

    @Test func `an audit trail that was changed after its head was given is found out`() async throws {
        let harbour = try await Harbour.open(stage)
        let agent = try harbour.startAgent("one")
        let reference = try await harbour.publish("test/done", script: "true\n")
        let submitted = try await stage.run("longshore", "submit", reference, "--wait", "--json")
        let id = try #require(JSON(submitted.stdout)["id"]?.string, "\(submitted.stderr)")
        let good = try await stage.run("longshore", "jobs", "audit", "--verify", id)
        #expect(good.code == 0, "\(good.stderr)")
        await harbour.close(agent)
        // The operator rewrites who ended the job, chains the trail anew, and points the job at the new head.
        try stage.write(
            """
            import hashlib, sqlite3, sys
            db = sqlite3.connect(sys.argv[1])
            words = ["queued", "provisioning", "processing", "complete", "error", "cancelled"]
            (job,) = db.execute("SELECT id FROM jobs").fetchone()
            text = job.hex()
            text = "-".join([text[:8], text[8:12], text[12:16], text[16:20], text[20:]])
            head = bytes(32)
            db.execute("UPDATE transitions SET actor = 'account:1' WHERE status = 3")
            for seq, at, actor, status, attempt, host, detail in db.execute(
                    "SELECT seq, at, actor, status, attempt, host, detail FROM transitions ORDER BY seq").fetchall():
                row = f"longshore.audit.v1\\n{text}\\n{seq}\\n{at}\\n{actor}\\n{words[status]}\\n{attempt}\\n{host or ''}\\n"
                head = hashlib.sha256(head + row.encode() + bytes(detail)).digest()
                db.execute("UPDATE transitions SET hash = ? WHERE seq = ?", (head, seq))
            db.execute("UPDATE jobs SET head = ?", (head,))
            db.commit()
            """, to: "rewrite.py")
        let rewrite = try await stage.run(
            "/usr/bin/python3", stage.path("rewrite.py"), stage.path("coordinator/jobs.sqlite"))
        try #require(rewrite.code == 0, "\(rewrite.stderr)")
        let again = try await harbour.crashAndRestart()
        let bad = try await stage.run("longshore", "jobs", "audit", "--verify", id)
        #expect(bad.code == 1 && bad.stderr.contains("not the trail that the coordinator signed before"), "\(bad.stderr)")
        await again.close()
    }

    @Test func `migrate and openapi need no server`() async throws {
        let first = try await stage.run("longshore-coordinator", "migrate", "--data", stage.path("data"))
        #expect(first.code == 0 && first.text.hasPrefix("applied migrations 1 to "), "\(first.stderr)")
        let second = try await stage.run("longshore-coordinator", "migrate", "--data", stage.path("data"))
        #expect(second.code == 0 && second.text.hasPrefix("nothing to do"), "\(second.stderr)")
        let document = try await stage.run("longshore-coordinator", "openapi")
        #expect(JSON(document.stdout)["openapi"]?.string == "3.1.0")
        let harbour = try await Harbour.open(stage)
        let busy = try await stage.run("longshore-coordinator", "migrate", "--data", stage.path("coordinator"))
        #expect(busy.code == 1 && busy.stderr.contains("stop that one first"), "\(busy.stderr)")
        await harbour.close()
    }
}
