import Foundation
import TestStage
import Testing

/// A host changes its identity key and stays the host that it was.
@Suite struct RotationJourney {
    @Test(.timeLimit(.minutes(2))) func `a rotated host keeps its id, and shows the new key`() async throws {
        let stage = try Stage()
        let harbour = try await Harbour.open(stage)
        func hosts() async throws -> [(id: String, fingerprint: String)] {
            let list = try await stage.run("longshore", "hosts", "list", "--json")
            return (JSON(list.stdout)["hosts"]?.array ?? []).map {
                ($0["id"]?.string ?? "", $0["fingerprint"]?.string ?? "")
            }
        }
        let first = try harbour.startAgent("island")
        let isKnown = try await eventually { try await hosts().count == 1 }
        try #require(isKnown, "\(first.stderr)")
        let before = try #require(try await hosts().first)
        let rotate = [
            "cargo-run", "agent", "--rotate", "--coordinator", harbour.url, "--api-key-file", harbour.keyFile, "--name", "island",
        ]
        let home = ["LONGSHORE_HOME": stage.path("home-island")]
        // Not under an agent that runs.
        let refused = try await stage.start(rotate, environment: home).finish()
        #expect(refused.code == 1 && refused.stderr.contains("stop it"), "\(refused.stderr)")
        await first.destroy()
        let rotated = try await stage.start(rotate, environment: home).finish()
        #expect(
            rotated.code == 0 && rotated.text.contains(before.id) && rotated.text.contains(before.fingerprint),
            "\(rotated.stderr)")
        let after = try await hosts()
        #expect(after.map(\.id) == [before.id] && after.first?.fingerprint != before.fingerprint, "\(after)")
        #expect(rotated.text.contains(after.first?.fingerprint ?? "-"))
        let again = try harbour.startAgent("island")
        let job = try await harbour.submit(try await harbour.publish("test/hello", script: "echo hello\n"))
        #expect(try await harbour.await(job, ["complete", "error"])["status"]?.string == "complete", "\(again.stderr)")
        #expect(try await hosts().map(\.id) == [before.id])
        await harbour.close(again)
    }
}
