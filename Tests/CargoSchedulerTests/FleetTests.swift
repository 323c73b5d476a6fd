import CargoArtifact
import CargoWire
import Testing

@testable import CargoScheduler

@Suite struct FleetTests {
    private func model(_ id: String, _ presence: ServedModel.Presence = .loaded, active: Int = 0, slots: Int = 4) -> ServedModel {
        ServedModel(id: id, source: .endpoint, operations: [.chat], presence: presence, active: active, slots: slots)
    }

    private func host(_ models: [ServedModel], circles: [String]? = nil, region: String? = nil) -> HostCapabilities {
        var capabilities = HostCapabilities(kinds: ["process"])
        capabilities.models = models
        capabilities.circles = circles
        capabilities.region = region
        return capabilities
    }

    private func ask(_ id: String = "m") -> Need { Need(kind: "request", model: id) }

    @Test func aHostThatHasTheModelInMemoryGoesFirst() {
        var fleet = Fleet()
        fleet.heard("cold", host([model("m", .stored)]), nil, at: 0)
        fleet.heard("hot", host([model("m", active: 3)]), nil, at: 0)
        fleet.heard("other", host([model("n")]), nil, at: 0)
        let placement = fleet.place(ask(), at: 0)
        #expect(placement.choices.first?.host == "hot" && placement.choices.first?.isHot == true)
        // A full one is left out, whatever it has in memory.
        fleet.heard("hot", host([model("m", active: 4)]), nil, at: 0)
        #expect(fleet.place(ask(), at: 0).choices.map(\.host) == ["cold"])
    }

    @Test func amongEqualsTheFreerTheCheaperAndTheFasterGoesFirst() {
        var fleet = Fleet()
        fleet.heard("busy", host([model("m", active: 3)]), nil, at: 0)
        fleet.heard("free", host([model("m")]), nil, at: 0)
        #expect(fleet.place(ask(), at: 0).choices.map(\.host) == ["free", "busy"])
        var report = HostReport()
        report.prices = ["_default": 3]
        fleet.heard("free", nil, report, at: 0)
        #expect(fleet.place(ask(), at: 0).choices.map(\.host) == ["busy", "free"])
        var need = ask()
        need.room = Room(memory: nil, vram: nil, gpus: nil, price: 2)
        #expect(fleet.place(need, at: 0).choices.map(\.host) == ["busy"])
        for _ in 0..<20 { fleet.observed("busy", model: "m", seconds: 5, at: 0) }
        #expect(fleet.place(ask(), at: 0).choices.map(\.host) == ["free", "busy"])
    }

    @Test func namesThatNobodyHasAnyMoreTakeNoRoom() {
        var fleet = Fleet()
        fleet.heard("steady", host([model("m"), model("n", .stored)]), nil, at: 0)
        // A host may call its models what it likes, others each time.
        for round in 0..<1000 {
            fleet.heard("wild", host((0..<20).map { model("\(round)/\($0)") }), nil, at: 0)
            if round % 10 == 0 { fleet.forget("wild") }
        }
        #expect(fleet.indexed.models <= 42 && fleet.indexed.hosts == 2, "\(fleet.indexed)")
        #expect(fleet.place(ask(), at: 0).choices.map(\.host) == ["steady"])
        #expect(fleet.place(ask("n"), at: 0).choices.map(\.host) == ["steady"])
        #expect(fleet.place(ask("999/7"), at: 0).choices.map(\.host) == ["wild"])
        #expect(fleet.place(ask("998/7"), at: 0).choices.isEmpty && !fleet.knows(model: "998/7"))
        fleet.forget("wild")
        fleet.heard("new", host([model("m", .stored), model("999/7")]), nil, at: 0)
        #expect(fleet.place(ask("999/7"), at: 0).choices.map(\.host) == ["new"])
        #expect(fleet.place(ask(), at: 0).choices.first?.host == "steady")
    }

    @Test func aHostThatFailsIsLeftAloneForAWhile() {
        var fleet = Fleet()
        fleet.heard("a", host([model("m"), model("n")]), nil, at: 0)
        for _ in 0..<3 { fleet.observed("a", model: "m", seconds: nil, at: 0) }
        #expect(fleet.place(ask(), at: 1).choices.isEmpty)
        // Its other model is not blamed.
        #expect(fleet.place(ask("n"), at: 1).choices.count == 1)
        fleet.heard("a", host([model("m"), model("n")]), nil, at: 10_000)
        #expect(fleet.place(ask(), at: 10_000).choices.count == 1)
        fleet.observed("a", model: "m", seconds: nil, at: 10_000)
        #expect(fleet.place(ask(), at: 29_999).choices.isEmpty)
        #expect(fleet.place(ask(), at: 30_000).choices.count == 1)
        fleet.observed("a", model: "m", seconds: 0.1, at: 30_000)
        fleet.observed("a", model: "m", seconds: nil, at: 30_000)
        #expect(fleet.place(ask(), at: 30_001).choices.count == 1)
    }

    @Test func everyFilterLeavesOutWhatItNames() {
        var fleet = Fleet()
        var full = host([model("m")], circles: ["g"], region: "zrh")
        full.maxContextTier = 2
        full.memory = ByteCount(8 << 30)
        var report = HostReport()
        report.freeMemory = ByteCount(4 << 30)
        report.freeVRAM = ByteCount(1 << 30)
        report.prices = ["m": 2]
        report.formats = ["gguf"]
        fleet.heard("h", full, report, at: 0)
        var need = ask()
        need.circles = ["g"]
        need.region = "zrh"
        need.tier = 2
        func room(memory: Int64 = 4 << 30, vram: Int64 = 1 << 30, gpus: Int = 1, price: Double = 2) -> Room? {
            Room(memory: memory, vram: vram, gpus: gpus, price: price)
        }
        need.room = room()
        need.format = "gguf"
        func left(_ change: (inout Need) -> Void, at now: Int64 = 0) -> Filter? {
            var changed = need
            change(&changed)
            return fleet.explain(changed, visible: { _ in true }, at: now).first?.leftOutBy
        }
        #expect(left { _ in } == nil)
        #expect(left { $0.circles = ["x"] } == .group)
        #expect(left({ _ in }, at: Fleet.silentAfter + 1) == .health)
        #expect(left { $0.avoided = ["h"] } == .avoided)
        #expect(left { $0.model = "n" } == .model)
        #expect(left { $0.tier = 3 } == .tier)
        #expect(left { $0.region = "fra" } == .region)
        #expect(left { $0.jurisdiction = "EU" } == .jurisdiction)
        #expect(left { $0.room = room(memory: 4 << 30 + 1) } == .memory)
        #expect(left { $0.room = room(vram: 1 << 30 + 1) } == .vram)
        #expect(left { $0.room = room(gpus: 2) } == .vram)
        #expect(left { $0.room = room(price: 1.9) } == .price)
        #expect(left { $0.format = "onnx" } == .format)
        #expect(left { ($0.kind, $0.model) = ("wasm", nil) } == .kind)
        #expect(left { ($0.kind, $0.model) = ("image", nil) } == .docker)
        #expect(fleet.explain(need, visible: { _ in false }, at: 0).isEmpty)
    }

    @Test func whatAHostNoLongerHasIsNotAskedOfIt() {
        var fleet = Fleet()
        for number in 0..<20 { fleet.heard("h\(number)", host((0..<10).map { model("m\(($0 + number) % 15)") }), nil, at: 0) }
        for number in 0..<20 where number % 2 == 0 { fleet.forget("h\(number)") }
        for number in 0..<20 where number % 4 == 1 { fleet.heard("h\(number)", host([model("m3", .stored)]), nil, at: 0) }
        for id in 0..<15 {
            for choice in fleet.place(ask("m\(id)"), at: 0).choices {
                let number = Int(choice.host.dropFirst()) ?? 0
                #expect(number % 2 == 1)
                if number % 4 == 1 { #expect(id == 3 && !choice.isHot) } else { #expect((id - number % 15 + 15) % 15 < 10) }
            }
        }
        fleet.heard("h1", host([]), nil, at: 0)
        #expect(fleet.explain(ask("m3"), visible: { $0 == "h1" }, at: 0).first?.leftOutBy == .model)
    }

    @Test func aFreeHotHostIsNearlyAlwaysFoundInALargeFleet() {
        var fleet = Fleet()
        var random = SystemRandomNumberGenerator()
        for number in 0..<1000 {
            let models = (0..<20).map { _ in
                model(
                    "m\(Int.random(in: 0..<100, using: &random))", Int.random(in: 0..<5, using: &random) == 0 ? .loaded : .stored,
                    active: Int.random(in: 0...4, using: &random))
            }
            fleet.heard("h\(number)", host(models), nil, at: 0)
        }
        var hot = 0
        for _ in 0..<1000 {
            let placement = fleet.place(ask("m\(Int.random(in: 0..<100, using: &random))"), at: 0)
            if placement.choices.first?.isHot == true { hot += 1 }
        }
        #expect(hot >= 990, "hot first in \(hot) of 1000")
    }
}
