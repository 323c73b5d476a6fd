import FoundationEssentials
import Testing

/// Ten thousand histories under faults; `LONGSHORE_SIMULATION_SEED` replays one.
@Suite struct SimulationTests {
    @Test func everyAcknowledgedJobEndsExactlyOnceInTenThousandHistories() async throws {
        if let text = ProcessInfo.processInfo.environment["LONGSHORE_SIMULATION_SEED"], let seed = UInt64(text) {
            var simulation = Simulation(seed: seed)
            try simulation.run()
            return
        }
        let steps = try await withThrowingTaskGroup(of: Int.self) { group in
            for part in 0..<20 {
                group.addTask {
                    try (0..<500).reduce(0) { sum, index in
                        var simulation = Simulation(seed: UInt64(part * 500 + index))
                        try simulation.run()
                        return sum + simulation.steps
                    }
                }
            }
            return try await group.reduce(0, +)
        }
        // Histories in which nothing happens would prove nothing.
        #expect(steps > 10_000 * 100)
    }

    /// The same eyes on broken rules: a simulator that finds nothing there could not find anything.
    @Test(arguments: [Simulation.Sabotage.forgetsTheToken, .losesCommits, .keepsDeadlineShort])
    func aBrokenRuleIsFound(_ sabotage: Simulation.Sabotage) {
        let found = (0..<500).contains { seed in
            var simulation = Simulation(seed: UInt64(seed), sabotage: sabotage)
            do {
                try simulation.run()
                return false
            } catch {
                return true
            }
        }
        #expect(found)
    }
}
