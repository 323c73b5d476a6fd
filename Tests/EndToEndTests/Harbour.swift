import Foundation
import TestStage
import Testing

/// A coordinator with its agents on loopback, in the folder of one test.
final class Harbour: Sendable {
    let stage: Stage
    let url: String
    let keyFile: String
    let coordinator: RunningProgram

    private init(stage: Stage, url: String, coordinator: RunningProgram) {
        self.stage = stage
        self.url = url
        self.coordinator = coordinator
        keyFile = stage.path("coordinator/admin.key")
    }

    /// Starts a coordinator, logs in, and makes a publisher's key that is trusted for `test/*`.
    static func open(_ stage: Stage, leaseSeconds: Int = 30, listen: String = "127.0.0.1:0") async throws -> Harbour {
        let harbour = try await launch(stage, leaseSeconds: leaseSeconds, listen: listen)
        let login = try await stage.run("longshore", "login", harbour.url, "--api-key-file", harbour.keyFile)
        try #require(login.code == 0, "\(login.stderr)")
        if !FileManager.default.fileExists(atPath: stage.path("config/keys/test.pub")) {
            let create = try await stage.run("longshore", "key", "create", "test")
            try #require(create.code == 0, "\(create.stderr)")
            let trust = try await stage.run("longshore", "key", "trust", stage.path("config/keys/test.pub"), "--for", "test/*")
            try #require(trust.code == 0, "\(trust.stderr)")
        }
        return harbour
    }

    private static func launch(_ stage: Stage, leaseSeconds: Int, listen: String) async throws -> Harbour {
        let coordinator = try stage.start([
            "longshore-coordinator", "serve", "--data", stage.path("coordinator"), "--listen", listen,
            "--lease-seconds", "\(leaseSeconds)",
        ])
        var address: String?
        _ = await eventually {
            let output = String(decoding: coordinator.stdout, as: UTF8.self) + coordinator.stderr
            address = output.firstMatch(of: /listening on (http:\/\/[0-9.:]+)/).map { String($0.1) }
            return address != nil || !coordinator.isRunning
        }
        let url = try #require(address, "the coordinator did not start: \(coordinator.stderr)")
        return Harbour(stage: stage, url: url, coordinator: coordinator)
    }

    /// Kills the coordinator with SIGKILL and starts another on the same data and port.
    func crashAndRestart(leaseSeconds: Int = 30) async throws -> Harbour {
        await coordinator.destroy()
        return try await Harbour.launch(stage, leaseSeconds: leaseSeconds, listen: String(url.dropFirst("http://".count)))
    }

    func startAgent(_ name: String, slots: Int = 2) throws -> RunningProgram {
        try stage.start(
            [
                "cargo-run", "agent", "--coordinator", url, "--api-key-file", keyFile, "--name", name, "--slots", "\(slots)",
            ], environment: ["LONGSHORE_HOME": stage.path("home-" + name)])
    }

    /// Packs, signs and pushes a cargo; returns its reference.
    func publish(_ name: String, script: String, yaml: String = "") async throws -> String {
        let source = try stage.cargo(name, script: script, yaml: yaml)
        let archive = stage.path(name.replacing("/", with: "-") + ".cargo")
        let pack = try await stage.run("longshore", "pack", source, "--key", "test", "-o", archive)
        try #require(pack.code == 0, "\(pack.stderr)")
        let push = try await stage.run("longshore", "push", archive, name + ":1.0.0")
        try #require(push.code == 0, "\(push.stderr)")
        return name + ":1.0.0"
    }

    /// Submits without waiting; returns the job's id.
    func submit(_ reference: String, _ more: String...) async throws -> String {
        let finished = try await stage.start(["longshore", "submit", reference, "--json"] + more).finish()
        try #require(finished.code == 0, "\(finished.stderr)")
        return try #require(JSON(finished.stdout)["id"]?.string)
    }

    func job(_ id: String) async throws -> JSON {
        let finished = try await stage.run("longshore", "jobs", "show", id, "--json")
        try #require(finished.code == 0, "\(finished.stderr)")
        return JSON(finished.stdout)
    }

    /// Waits until the job is in one of the states.
    func await(_ id: String, _ states: Set<String>, within seconds: Double = 60) async throws -> JSON {
        var last = JSON(Data())
        let reached = try await eventually(within: seconds) {
            last = try await job(id)
            return states.contains(last["status"]?.string ?? "")
        }
        try #require(reached, "job \(id) stays at \(last)")
        return last
    }

    func close(_ agents: RunningProgram...) async {
        for agent in agents { await agent.destroy() }
        await coordinator.destroy()
    }
}
