import CargoWire
import Testing

@testable import CargoQueue

/// Thousands of hosts that wait, and what they serve.
@Suite struct WaitingHostTests {
    private static func host(serving models: [String], active: Int = 0) -> HostCapabilities {
        var capabilities = HostCapabilities(kinds: ["process"])
        capabilities.models = models.map {
            ServedModel(id: $0, source: .cargo, operations: [.chat], presence: .loaded, active: active, slots: 1)
        }
        return capabilities
    }

    /// What a bell has heard so far.
    private static func heard(_ bell: Doorbell) async -> RingCause { await bell.wait(seconds: 0) }

    @Test func `a job wakes one host that it fits, in the order in which they came, also when others have left`() async {
        let waiters = ClaimWaiters()
        let bells = (0..<1000).map { _ in Doorbell() }
        let numbers = bells.enumerated().map { index, bell in
            waiters.enter(bell, "h\(index)", Self.host(serving: ["m\(index % 10)", "rare\(index)"]))
        }
        for number in numbers.dropLast(60) { #expect(waiters.leave(number)) }
        #expect(!waiters.leave(numbers[0]))
        let request = { Requirement(model: $0, tier: 1) }
        waiters.wake(request("m3"))
        waiters.wake(request("m3"))
        waiters.wake(request("rare999"))
        waiters.wake(request("rare1"))
        waiters.wake(request("no/such"))
        waiters.wake(Requirement(kind: "process", tier: 1))
        waiters.wakeAny()
        var woken: [Int] = []
        for (index, bell) in bells.enumerated() where await Self.heard(bell).contains(.work) { woken.append(index) }
        #expect(woken == [940, 941, 943, 953, 999])
        for index in woken { #expect(!waiters.leave(numbers[index])) }
    }

    @Test func `who waits looks seldom where many wait`() {
        let waiters = ClaimWaiters()
        #expect(waiters.patience == 2)
        let numbers = (0..<5000).map { waiters.enter(Doorbell(), "h\($0)", Self.host(serving: [])) }
        #expect(waiters.patience == 10)
        for number in numbers.shuffled() { #expect(waiters.leave(number)) }
        #expect(waiters.patience == 2)
    }

    @Test func `the hosts of a model are found by its name, and lost when they serve it no more`() {
        let pace = Pace()
        let now = ManualClocks().clocks.uptime()
        for index in 0..<100 { pace.saw("h\(index)", Self.host(serving: ["m\(index % 10)", "all"]), at: now) }
        func servers(_ model: String, at time: Uptime) -> Set<String> {
            Set(pace.servers(of: model, at: time) { _, _ in false }.map(\.host))
        }
        #expect(servers("m3", at: now) == Set((0..<10).map { "h\($0 * 10 + 3)" }))
        #expect(pace.servers(of: "all", at: now) { _, _ in true }.count == 1)
        pace.saw("h3", Self.host(serving: ["all"]), at: now)
        pace.forget("h13")
        #expect(servers("m3", at: now).count == 8 && servers("all", at: now).count == 99)
        // Whoever has not asked for 45 s serves nothing.
        let later = now.advanced(bySeconds: 46)
        pace.saw("h23", Self.host(serving: ["m3"]), at: later)
        #expect(servers("m3", at: later) == ["h23"] && servers("all", at: later).isEmpty)
    }

    @Test func `what a host says again is kept once`() throws {
        let board = HostBoard(clocks: ManualClocks().clocks)
        let models = Self.host(serving: (0..<50).map { "publisher/model-\($0)" }).models
        func place(_ list: [ServedModel]?) -> UnsafeRawPointer? { list?.withUnsafeBytes { $0.baseAddress } }
        board.saw("h", capabilities: Self.host(serving: (0..<50).map { "publisher/model-\($0)" }))
        var report = HostReport()
        report.models = Self.host(serving: (0..<50).map { "publisher/model-\($0)" }).models
        let seen = board.saw("h", report: report)
        #expect(seen.report?.models == models && place(seen.report?.models) == place(seen.capabilities.models))
        let again = board.saw("h", capabilities: Self.host(serving: (0..<50).map { "publisher/model-\($0)" }))
        #expect(place(again.capabilities.models) == place(seen.capabilities.models))
        let other = board.saw("h", capabilities: Self.host(serving: (0..<50).map { "publisher/model-\($0)" }, active: 1))
        #expect(other.capabilities.models?.first?.active == 1)
    }
}
