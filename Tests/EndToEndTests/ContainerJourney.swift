import Foundation
import TestStage
import Testing

/// Jobs by image name through coordinator, agent and a real dockerd of the test's own.
@Suite(.serialized, .timeLimit(.minutes(4))) struct ContainerJourney {
    let stage: Stage

    init() throws { stage = try Stage() }

    /// Everything as a user starts it; containers are on for images named `toolbox`.
    struct Port {
        let harbour: Harbour
        let engine: ContainerEngine
        let stage: Stage

        static func open(_ stage: Stage, leaseSeconds: Int = 30) async throws -> Port {
            let port = Port(
                harbour: try await Harbour.open(stage, leaseSeconds: leaseSeconds), engine: try ContainerEngine(), stage: stage)
            try await port.engine.ready()
            let made = try await stage.run(
                "/bin/sh", "-ec",
                """
                mkdir -p image/bin image/tmp
                cp /bin/busybox image/bin/busybox
                for tool in sh true sleep cat echo seq id; do ln -s busybox image/bin/$tool; done
                tar -C image -c . | docker -H "$0" import - toolbox:1
                """, port.engine.address)
            try #require(made.code == 0, "\(made.stderr)")
            return port
        }

        func docker(_ arguments: String...) async throws -> Finished {
            try await stage.start(["/usr/bin/docker", "-H", engine.address] + arguments).finish()
        }

        func startAgent(_ name: String, _ more: String...) throws -> RunningProgram {
            try stage.start(
                [
                    "cargo-run", "agent", "--coordinator", harbour.url, "--api-key-file", harbour.keyFile, "--name", name,
                    "--slots", "2", "--allow-image", "local:toolbox:*",
                ] + more, environment: ["LONGSHORE_HOME": stage.path("home-" + name), "DOCKER_HOST": engine.address])
        }

        func submit(_ command: String, _ options: String...) async throws -> String {
            let finished = try await stage.start(
                ["longshore", "submit", "--image", "toolbox:1", "--json"] + options + ["--", "sh", "-c", command]
            ).finish()
            try #require(finished.code == 0, "\(finished.stderr)")
            return try #require(JSON(finished.stdout)["id"]?.string)
        }

        func close(_ agents: RunningProgram...) async {
            for agent in agents { await agent.destroy() }
            await harbour.close()
        }
    }

    @Test func `files go in, logs come live, the exit code and the outputs come back`() async throws {
        let port = try await Port.open(stage)
        let agent = try port.startAgent("one")
        try stage.write("cat /job/input/words.txt; echo on-stderr >&2; echo made > /job/output/made.txt; exit 3\n", to: "main.sh")
        try stage.write("one two three\n", to: "words.txt")
        let finished = try await stage.run(
            "longshore", "submit", "--image", "toolbox:1", "--file", stage.path("main.sh"), "--file", stage.path("words.txt"),
            "--follow", "--wait", "--output", stage.path("got"), "--", "sh", "/job/input/main.sh")
        #expect(finished.code == 3, "\(finished.stderr)")
        #expect(finished.text == "one two three\n")
        #expect(finished.stderr.contains("on-stderr"))
        #expect(try String(contentsOfFile: stage.path("got/made.txt"), encoding: .utf8) == "made\n")
        await port.close(agent)
    }

    @Test func `a container that speaks in JSON lines gets one object and its lines become events of the job`() async throws {
        let port = try await Port.open(stage)
        let agent = try port.startAgent("one")
        try stage.write(
            """
            name: test/speaker
            version: 1.0.0
            kind: container
            image: {bundled: image}
            command: [sh, main.sh]
            interface: stdio-jsonl
            """, to: "speaker/cargo.yaml")
        try stage.write(
            #"""
            read -r line
            words=${line#*\"words\":}; words=${words%%[!0-9]*}
            echo '{"type":"status","message":"begins"}'
            i=0
            while [ $i -lt "$words" ]; do i=$((i + 1)); echo "{\"type\":\"token\",\"content\":\"w$i \"}"; done
            echo "{\"type\":\"progress\",\"step\":$i,\"total\":$words}"
            echo plain words
            echo '{"type":"image","format":"png","data":"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="}'
            echo '{"type":"done"}'

            """#, to: "speaker/main.sh")
        try await stage.run("/bin/cp", "-r", stage.path("image"), stage.path("speaker/image")).orFail("cp")
        let archive = stage.path("speaker.cargo")
        try await stage.run("longshore", "pack", stage.path("speaker"), "--key", "test", "-o", archive).orFail("pack")
        try await stage.run("longshore", "push", archive, "test/speaker:1.0.0").orFail("push")
        let id = try await port.harbour.submit("test/speaker:1.0.0", "--param", "words=3")
        _ = try await port.harbour.await(id, ["complete", "error"], within: 120)
        let key = try String(contentsOfFile: port.harbour.keyFile, encoding: .utf8)
            .trimmingCharacters(in: .whitespacesAndNewlines)
        let stream = try await stage.run(
            "/usr/bin/curl", "-sN", "-H", "Authorization: Bearer \(key)", port.harbour.url + "/jobs/\(id)/events")
        let events = SentEvent.parse(stream.text)
        let said = events.filter { $0.name == "output" }.map { JSON(Data($0.data.utf8)) }
        #expect(said.compactMap { $0["content"]?.string }.joined() == "w1 w2 w3 ", "\(stream.text) \(agent.stderr)")
        #expect(
            said.compactMap { $0["type"]?.string } == [
                "status", "token", "token", "token", "progress", "malformed", "image", "done",
            ])
        #expect(try await stage.run("longshore", "logs", id).text.contains("plain words"))
        let got = try await stage.run("longshore", "outputs", id, "-o", stage.path("got"))
        #expect(got.code == 0, "\(got.stderr)")
        #expect(try Data(contentsOf: URL(filePath: stage.path("got/image-1.png"))).starts(with: [0x89, 0x50, 0x4E, 0x47]))
        await port.close(agent)
    }

    @Test func `each way to end has its own word`() async throws {
        let port = try await Port.open(stage)
        let agent = try port.startAgent("one")
        let ends: [(command: String, options: [String], word: String?, code: Int32)] = [
            ("true", [], nil, 0), ("kill -9 $$", [], "signalled", 137), ("exit 137", [], "exit_nonzero", 137),
            ("x=aaaaaaaaaaaaaaaa; while true; do x=$x$x; done", ["--memory", "32MiB"], "oom_killed", 137),
            ("sleep 60", ["--timeout", "1"], "timed_out", 124),
        ]
        for end in ends {
            let finished = try await stage.start(
                ["longshore", "submit", "--image", "toolbox:1", "--wait", "--json"] + end.options + [
                    "--", "sh", "-c", end.command,
                ]
            ).finish()
            #expect(finished.code == end.code, "\(end.command): \(finished.text) \(finished.stderr)")
            #expect(JSON(finished.stdout)["error"]?["code"]?.string == end.word, "\(end.command): \(finished.text)")
        }
        let absent = try await stage.run(
            "longshore", "submit", "--image", "toolbox:1", "--wait", "--json", "--", "no-such-program")
        #expect(absent.code == 127, "\(absent.stderr)")
        #expect(JSON(absent.stdout)["error"]?["code"]?.string == "command_not_found")
        let strange = try await stage.run("longshore", "submit", "--image", "other:1", "--wait", "--json", "--", "true")
        #expect(JSON(strange.stdout)["error"]?["code"]?.string == "image_refused", "\(strange.text)")
        #expect(try await port.docker("ps", "-aq").text == "")
        await port.close(agent)
    }

    @Test func `a cancelled container job ends within its grace and leaves no container`() async throws {
        let port = try await Port.open(stage, leaseSeconds: 3)
        let agent = try port.startAgent("one")
        let id = try await port.submit("echo on; sleep 600")
        _ = try await port.harbour.await(id, ["processing"])
        #expect(try await stage.run("longshore", "jobs", "cancel", id).code == 0)
        let job = try await port.harbour.await(id, ["cancelled", "error", "complete"], within: 30)
        #expect(job["status"]?.string == "cancelled", "\(job)")
        #expect(try await eventually { try await port.docker("ps", "-aq").text == "" })
        await port.close(agent)
    }

    @Test func `jobs of a killed agent are tried again and no container of them stays`() async throws {
        let port = try await Port.open(stage, leaseSeconds: 3)
        var ids: [String] = []
        for number in 0..<6 { ids.append(try await port.submit("sleep 0.\(3 + number); echo end", "--attempts", "3")) }
        for _ in 0..<4 {
            let agent = try port.startAgent("one")
            let lifetime = Double.random(in: 0.2...1.6)
            let end = ContinuousClock.now.advanced(by: .seconds(lifetime))
            _ = await eventually(within: 5) { ContinuousClock.now > end }
            await agent.destroy()
        }
        // Two lost hosts in a row are luck here: a job that was lost three times is a dead letter by the rules.
        let agent = try port.startAgent("one")
        for id in ids {
            let job = try await port.harbour.await(id, ["complete", "error"], within: 60)
            let isDeadLetter = job["error"]?["code"]?.string == "poison" || job["error"]?["code"]?.string == "host_lost"
            #expect(job["status"]?.string == "complete" || isDeadLetter, "\(job)")
        }
        #expect(try await eventually { try await port.docker("ps", "-aq").text == "" })
        await port.close(agent)
    }

    @Test func `a job whose engine is killed and started again is tried again`() async throws {
        let port = try await Port.open(stage)
        let agent = try port.startAgent("one")
        let id = try await port.submit("echo on; sleep 3; echo end", "--attempts", "1")
        _ = try await port.harbour.await(id, ["processing"])
        #expect(await eventually { (try? await port.docker("ps", "-q").text) != "" })
        kill(try #require(port.engine.processID), SIGKILL)
        let job = try await port.harbour.await(id, ["complete", "error"], within: 90)
        #expect(job["status"]?.string == "complete" && job["attempt"]?.int == 2, "\(job)")
        #expect(try await stage.run("longshore", "logs", id).text == "on\nend\n")
        await port.close(agent)
    }
}
