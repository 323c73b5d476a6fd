import Foundation
import TestStage
import Testing

/// Every call, a tunnel and a pull over TLS, with an authority that is made for the test.
@Suite(.serialized) struct SecureJourney {
    let stage: Stage

    init() throws { stage = try Stage() }

    private func openssl(_ arguments: String...) async throws {
        let made = try await stage.start(["/usr/bin/openssl"] + arguments).finish()
        #expect(made.code == 0, "\(made.stderr)")
    }

    @Test(.timeLimit(.minutes(3))) func `a job runs over TLS, and an authority that is not named is not trusted`() async throws {
        try await openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
            "/CN=test ca",
            "-keyout", stage.path("ca.key"), "-out", stage.path("ca.pem"))
        try await openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost",
            "-keyout", stage.path("server.key"), "-out", stage.path("server.csr"))
        try stage.write("subjectAltName=DNS:localhost\n", to: "names")
        try await openssl(
            "x509", "-req", "-in", stage.path("server.csr"), "-CA", stage.path("ca.pem"), "-CAkey", stage.path("ca.key"),
            "-CAcreateserial", "-days", "2", "-extfile", stage.path("names"), "-out", stage.path("server.pem"))
        let coordinator = try stage.start([
            "longshore-coordinator", "serve", "--data", stage.path("data"), "--listen", "127.0.0.1:0",
            "--tls-cert", stage.path("server.pem"), "--tls-key", stage.path("server.key"),
        ])
        var port: String?
        _ = await eventually {
            let output = String(decoding: coordinator.stdout, as: UTF8.self) + coordinator.stderr
            port = output.firstMatch(of: /listening on https:\/\/127.0.0.1:([0-9]+)/).map { String($0.1) }
            return port != nil || !coordinator.isRunning
        }
        let url = "https://localhost:\(try #require(port, "\(coordinator.stderr)"))"
        let trusting = ["SSL_CERT_FILE": stage.path("ca.pem")]
        func longshore(_ arguments: String...) async throws -> Finished {
            let finished = try await stage.start(["longshore"] + arguments, environment: trusting).finish()
            #expect(finished.code == 0, "\(arguments): \(finished.stderr)")
            return finished
        }
        _ = try await longshore("login", url, "--api-key-file", stage.path("data/admin.key"))
        _ = try await longshore("key", "create", "test")
        _ = try await longshore("key", "trust", stage.path("config/keys/test.pub"), "--for", "test/*")
        let source = try stage.cargo("test/secure", script: "echo over-tls\n")
        _ = try await longshore("pack", source, "--key", "test", "-o", stage.path("secure.cargo"))
        _ = try await longshore("push", stage.path("secure.cargo"), "test/secure:1.0.0")
        let agent = try stage.start(
            [
                "cargo-run", "agent", "--coordinator", url, "--api-key-file", stage.path("data/admin.key"), "--name", "one",
                "--ca", stage.path("ca.pem"), "--no-scan",
            ], environment: ["LONGSHORE_HOME": stage.path("home-one")])
        let finished = try await longshore("submit", "test/secure:1.0.0", "--wait", "--follow")
        #expect(finished.text == "over-tls\n", "\(finished.stderr) \(agent.stderr)")
        #expect(await eventually { coordinator.stderr.contains("a host's tunnel is open") }, "\(agent.stderr)")
        let stranger = try await stage.run("longshore", "jobs")
        #expect(stranger.code != 0 && stranger.text.isEmpty, "\(stranger.text) \(stranger.stderr)")
        // The operator's own commands find their server by its folder.
        let key = try await stage.run(
            "longshore-coordinator", "admin", "key", "create", "--data", stage.path("data"), "--scope", "read")
        #expect(key.code == 0, "\(key.stderr)")
        await agent.destroy()
        await coordinator.destroy()
    }
}
