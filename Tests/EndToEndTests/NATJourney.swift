import Foundation
import TestStage
import Testing

/// Hosts that nobody can reach from outside: needs root, `ip`, `iptables` and network namespaces, which scripts/setup installs.
@Suite struct NATJourney {
    @Test(.timeLimit(.minutes(5)), .enabled(if: getuid() == 0, "network namespaces need root"))
    func `two hosts behind NAT serve, and a link cut for 20 s loses nothing`() async throws {
        let stage = try Stage()
        let script = Stage.repository.appending(path: "scripts/nat").path
        let run = try await stage.run("/bin/bash", script, Stage.programs.path)
        #expect(run.code == 0, "\(run.text)\(run.stderr)")
    }
}
