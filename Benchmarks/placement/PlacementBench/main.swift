import CargoScheduler
import CargoWire
import Glibc

// Placement at scale on one core: 10,000 hosts with 50 models each, a heartbeat each ten seconds, 1,000 requests a second.
let hostCount = 10_000
let modelsPerHost = 50
let seconds = 10
let names = (0..<2000).map { "publisher\($0 % 40)/model-\($0)" }

func offer(_ number: Int) -> HostCapabilities {
    var capabilities = HostCapabilities(kinds: ["process"])
    capabilities.models = (0..<modelsPerHost).map { index in
        ServedModel(
            id: names[(number * 37 + index * 41) % names.count], source: .cargo, operations: [.chat],
            presence: index < 4 ? .loaded : .stored, active: Int.random(in: 0...4), slots: 4)
    }
    return capabilities
}

var fleet = Fleet()
for number in 0..<hostCount { fleet.heard("host_\(number)", offer(number), nil, at: 0) }
let offers = (0..<hostCount).map { _ in offer(Int.random(in: 0..<hostCount)) }
let clock = ContinuousClock()
var places: [Double] = []
var (hot, possible) = (0, 0)
var beats = Duration.zero
for second in 0..<seconds {
    let now = Int64(second) * 1000
    for step in 0..<1000 {
        let number = second * 1000 + step
        let capabilities = offer(number)
        beats += clock.measure { fleet.heard("host_\(number)", capabilities, nil, at: now) }
        let need = Need(kind: "request", model: names[Int.random(in: 0..<names.count)])
        var placement = Placement(choices: [])
        let time = clock.measure { placement = fleet.place(need, at: now) }
        places.append(time / .milliseconds(1))
        let isPossible = fleet.hasFreeHot(need, at: now)
        if isPossible { possible += 1 }
        if isPossible, placement.choices.first?.isHot == true { hot += 1 }
        if let first = placement.choices.first { fleet.gave(first.host, model: need.model ?? "") }
    }
}
places.sort()
let (p50, p99) = (places[places.count / 2], places[places.count * 99 / 100])
let share = Double(hot) / Double(max(1, possible))
print("hosts \(hostCount), models of each \(modelsPerHost), placements \(places.count)")
print("placement ms: p50 \(p50), p99 \(p99), most \(places.last ?? 0)")
print("heartbeat ms: mean \(beats / .milliseconds(1) / Double(places.count))")
print("hot first where one was free: \(hot) of \(possible) (\(share * 100) %)")
if p99 > 2 || share < 0.99 {
    print("MISSED: placement p99 <= 2 ms, hot first >= 99 %")
    exit(1)
}
