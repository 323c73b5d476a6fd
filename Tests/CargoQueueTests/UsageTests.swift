import CargoWire
import FoundationEssentials
import Testing

@testable import CargoQueue

@Suite struct UsageTests {
    @Test func aBucketLetsInWhatAMinuteAllowsAndRefillsEvenly() {
        var gate = RateGate()
        func ask(_ second: Int64) -> Double? {
            gate.admit(requestsPerMinute: 6, tokensPerMinute: nil, now: Uptime(milliseconds: second * 1000))
        }
        for _ in 0..<6 { #expect(ask(0) == nil) }
        #expect(ask(0) == 10)
        #expect(ask(5) == 5)
        #expect(ask(10) == nil)
        #expect(ask(10) == 10)
        // An idle hour saves up one minute's worth.
        for _ in 0..<6 { #expect(ask(3600) == nil) }
        #expect(ask(3600) != nil)
    }

    @Test func tokensArePaidAfterwardsAndADebtIsWaitedOff() {
        var gate = RateGate()
        func ask(_ second: Int64) -> Double? {
            gate.admit(requestsPerMinute: nil, tokensPerMinute: 600, now: Uptime(milliseconds: second * 1000))
        }
        #expect(ask(0) == nil)
        gate.spend(tokens: 899)
        #expect(ask(0) == 30)
        #expect(ask(30) == nil)
    }

    @Test func quantilesAreAtMostNinePercentTooHigh() {
        var sketch = LatencySketch()
        #expect(sketch.quantile(0.5) == 0)
        for value in 1...1000 { sketch.add(milliseconds: Double(value)) }
        for (share, exact) in [(0.5, 500.0), (0.95, 950), (0.99, 990)] {
            let found = sketch.quantile(share)
            #expect(found >= exact - 1 && found <= exact * 1.091, "\(share): \(found)")
        }
    }

    @Test(arguments: StoreKind.allCases)
    func usageAddsUpOverFlushesAndRestarts(_ kind: StoreKind) async throws {
        let bench = try await StoreBench(kind)
        let principal = Principal(account: 1, keyID: "key_a", scopes: [.write], host: nil)
        for _ in 0..<2 {
            let meter = UsageMeter(store: bench.store, clocks: bench.clocks.clocks)
            for _ in 0..<3 {
                meter.record(
                    principal, model: "acme/tiny", promptTokens: 10, completionTokens: 5, milliseconds: 100, failed: false)
            }
            meter.record(principal, model: "other|name", promptTokens: 0, completionTokens: 0, milliseconds: 1, failed: true)
            await meter.flush()
            try await bench.restart()
        }
        let meter = UsageMeter(store: bench.store, clocks: bench.clocks.clocks)
        meter.record(principal, model: "acme/tiny", promptTokens: 1, completionTokens: 1, milliseconds: 100, failed: false)
        let today = bench.clocks.clocks.wall().milliseconds / 86_400_000
        let report = try await meter.report(account: 1, days: today...today)
        #expect(report.map(\.model) == ["acme/tiny", "other|name"])
        #expect(report.first?.requests == 7 && report.first?.promptTokens == 61 && report.first?.completionTokens == 31)
        #expect(report.last?.requests == 2 && report.last?.failed == 2)
        #expect(try await meter.report(account: 2, days: today...today).isEmpty)
        #expect(try await meter.report(account: 1, days: today - 1...today - 1).isEmpty)
    }

    @Test(arguments: StoreKind.allCases)
    func aDailyBoundHoldsAcrossARestart(_ kind: StoreKind) async throws {
        let bench = try await StoreBench(kind)
        var policy = KeyPolicy()
        policy.tokensPerDay = 100
        let principal = Principal(account: 1, keyID: "key_a", scopes: [.write], host: nil, policy: policy)
        let first = UsageMeter(store: bench.store, clocks: bench.clocks.clocks)
        _ = try await first.admit(principal)
        first.record(principal, model: "m", promptTokens: 60, completionTokens: 60, milliseconds: 1, failed: false)
        await #expect(throws: UsageMeter.Exceeded.self) { try await first.admit(principal) }
        await first.flush()
        try await bench.restart()
        let second = UsageMeter(store: bench.store, clocks: bench.clocks.clocks)
        await #expect(throws: UsageMeter.Exceeded.self) { try await second.admit(principal) }
        bench.clocks.stall(seconds: 86_400)
        _ = try await second.admit(principal)
    }

    @Test func whatRequestsUnderWayMayTakeIsHeldBackFromTheBounds() async throws {
        let bench = try await StoreBench(.sqlite)
        var policy = KeyPolicy()
        policy.tokensPerDay = 1000
        let principal = Principal(account: 1, keyID: "key_a", scopes: [.write], host: nil, policy: policy)
        let meter = UsageMeter(store: bench.store, clocks: bench.clocks.clocks)
        // Fifty at once: as many as one after the other could have.
        let holds = try await withThrowingTaskGroup(of: UsageMeter.Hold?.self) { group in
            for _ in 0..<50 { group.addTask { try? await meter.admit(principal, expecting: 100) } }
            return try await group.reduce(into: []) { $0 += [$1].compactMap(\.self) }
        }
        #expect(holds.count == 10)
        await #expect(throws: UsageMeter.Exceeded.self) { try await meter.admit(principal, expecting: 1) }
        // Nothing came of one, another took less.
        meter.release(holds[0])
        meter.record(
            principal, model: "m", promptTokens: 10, completionTokens: 10, milliseconds: 1, failed: false, hold: holds[1])
        #expect(try await meter.admit(principal, expecting: 180) != nil)
        await #expect(throws: UsageMeter.Exceeded.self) { try await meter.admit(principal, expecting: 1) }
        // Whatever became of them, in an hour they are over.
        bench.clocks.stall(seconds: 3601)
        #expect(try await meter.admit(principal, expecting: 1) != nil)
    }

    @Test(arguments: StoreKind.allCases)
    func whatAKeySpendsWithOthersCountsHereSoon(_ kind: StoreKind) async throws {
        let bench = try await StoreBench(kind)
        var policy = KeyPolicy()
        policy.tokensPerDay = 100
        let principal = Principal(account: 1, keyID: "key_a", scopes: [.write], host: nil, policy: policy)
        let here = UsageMeter(store: bench.store, clocks: bench.clocks.clocks)
        let there = UsageMeter(store: bench.store, clocks: bench.clocks.clocks)
        _ = try await here.admit(principal)
        there.record(principal, model: "m", promptTokens: 60, completionTokens: 60, milliseconds: 1, failed: false)
        await there.flush()
        bench.clocks.stall(seconds: 6)
        await #expect(throws: UsageMeter.Exceeded.self) { try await here.admit(principal) }
    }

    @Test func namesOfModelsThatClientsInventAreBounded() async throws {
        let bench = try await StoreBench(.sqlite)
        let principal = Principal(account: 1, keyID: "key_a", scopes: [.write], host: nil)
        let meter = UsageMeter(store: bench.store, clocks: bench.clocks.clocks)
        for number in 0..<1000 {
            meter.record(principal, model: "m\(number)", promptTokens: 0, completionTokens: 0, milliseconds: 1, failed: true)
        }
        let today = bench.clocks.clocks.wall().milliseconds / 86_400_000
        let report = try await meter.report(account: 1, days: today...today)
        #expect(report.count == 201 && report.contains { $0.model == "(other)" && $0.requests == 800 })
    }

    @Test(arguments: StoreKind.allCases)
    func aSmallRecordChangesInOneTransaction(_ kind: StoreKind) async throws {
        let bench = try await StoreBench(kind)
        let store = bench.store
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<50 {
                group.addTask {
                    try await store.change("count", "a", account: 1) { old in
                        let value = try old.map { try JSONDecoder().decode(Int.self, from: $0) } ?? 0
                        return try JSONEncoder().encode(value + 1)
                    }
                }
            }
            try await group.waitForAll()
        }
        let records = try await store.records("count", account: 1, from: "", until: nil)
        #expect(records.map(\.value) == [Data("50".utf8)])
        #expect(try await store.records("count", account: 2, from: "", until: nil).isEmpty)
        #expect(try await store.records("count", account: nil, from: "", until: "a").isEmpty)
        try await store.change("count", "a", account: 1) { _ in nil }
        #expect(try await store.records("count", account: 1, from: "", until: nil).isEmpty)
    }
}
