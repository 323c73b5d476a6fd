import Testing

@testable import CargoEngines

@Suite struct WarmPoolTests {
    /// A pool with instances that become ready at once and stop when told.
    private struct World {
        var pool: WarmPool
        var now = 0.0
        var admitted: [UInt64: Int] = [:]
        var refused: [UInt64: WarmPool.Refused] = [:]
        var started: [(number: Int, key: WarmPool.Key)] = []
        var stopped: [Int] = []
        var next: UInt64 = 1
        /// Whether loads are finished by hand.
        var holdsLoads = false

        init(memory: Int64, vram: [Int64] = [], idle: Double? = nil) {
            pool = WarmPool(limits: .init(memory: memory, vram: vram, idle: idle))
        }

        mutating func carryOut(_ actions: [WarmPool.Action]) {
            for action in actions {
                switch action {
                case .start(let number, let key):
                    started.append((number, key))
                    if !holdsLoads { carryOut(pool.ready(number, memory: nil, now: now)) }
                case .stop(let number):
                    stopped.append(number)
                    carryOut(pool.ended(number, failure: nil, now: now))
                case .admit(let request, let instance): admitted[request] = instance
                case .refuse(let request, let reason): refused[request] = reason
                }
            }
        }

        mutating func ask(_ key: WarmPool.Key, _ need: WarmPool.Need, patience: Double? = nil) -> UInt64 {
            defer { next += 1 }
            carryOut(pool.request(next, key, need, patience: patience, now: now))
            return next
        }

        mutating func finish(_ request: UInt64) { carryOut(pool.release(request, succeeded: true, now: now)) }
    }

    private func key(_ model: String, _ account: String? = nil) -> WarmPool.Key {
        .init(model: model, engine: "e", account: account)
    }

    @Test func `a model that is asked for by many is loaded once`() {
        var world = World(memory: 100)
        world.holdsLoads = true
        let asked = (0..<5).map { _ in world.ask(key("a"), .init(memory: 10, slots: 2)) }
        #expect(world.started.count == 1)
        #expect(world.admitted.isEmpty)
        world.carryOut(world.pool.ready(1, memory: nil, now: 0))
        #expect(world.admitted.keys.sorted() == Array(asked.prefix(2)))
        world.finish(asked[0])
        #expect(world.admitted[asked[2]] == 1)
    }

    @Test func `ten models in room for three take turns, and only the least recently used goes`() {
        var world = World(memory: 30)
        for round in 0..<10 {
            world.now += 1
            let request = world.ask(key("m\(round)"), .init(memory: 10))
            #expect(world.admitted[request] != nil)
            world.finish(request)
        }
        #expect(world.started.count == 10)
        // The first seven in the order of their use.
        #expect(world.stopped == Array(1...7))
        #expect(world.refused.isEmpty)
        world.now += 1
        let again = world.ask(key("m8"), .init(memory: 10))
        #expect(world.admitted[again] == 9)
        #expect(world.started.count == 10)
    }

    @Test func `a request never waits for another model's load`() {
        var world = World(memory: 30)
        world.holdsLoads = true
        _ = world.ask(key("slow"), .init(memory: 10))
        let other = world.ask(key("quick"), .init(memory: 10))
        #expect(world.started.count == 2)
        world.carryOut(world.pool.ready(2, memory: nil, now: 0))
        #expect(world.admitted[other] == 2)
    }

    @Test func `two chains that wait for each other's room end with an error, and a load that takes long does not`() {
        var world = World(memory: 20)
        let chains = [world.ask(key("a"), .init(memory: 10)), world.ask(key("b"), .init(memory: 10))]
        #expect(world.admitted.count == 2)
        let asked = world.ask(key("m"), .init(memory: 10), patience: 60)
        world.now = 59
        world.carryOut(world.pool.tick(now: world.now))
        #expect(world.refused.isEmpty)
        world.now = 60
        world.carryOut(world.pool.tick(now: world.now))
        #expect(world.refused == [asked: .noRoom])
        // The room comes, and the model loads for longer than whoever asks would wait for room.
        world.holdsLoads = true
        let patient = world.ask(key("m"), .init(memory: 10), patience: 60)
        world.finish(chains[0])
        #expect(world.started.last?.key == key("m"))
        world.now = 200
        world.carryOut(world.pool.tick(now: world.now))
        #expect(world.refused[patient] == nil)
    }

    @Test func `models in use are drained for one that waits for long, and nobody before`() {
        var world = World(memory: 20)
        let busy = [world.ask(key("a"), .init(memory: 10, slots: 9)), world.ask(key("b"), .init(memory: 10, slots: 9))]
        let waiting = world.ask(key("c"), .init(memory: 10))
        #expect(world.stopped.isEmpty)
        world.now = 1
        let early = world.ask(key("a"), .init(memory: 10, slots: 9))
        #expect(world.admitted[early] == 1)
        world.now = 6
        world.carryOut(world.pool.tick(now: 6))
        // b was used least recently: it takes no more requests, and goes with its last one.
        let late = world.ask(key("b"), .init(memory: 10, slots: 9))
        #expect(world.admitted[late] == nil)
        world.finish(busy[1])
        #expect(world.stopped == [2])
        #expect(world.admitted[waiting] != nil)
        world.finish(waiting)
        #expect(world.admitted[late] != nil)
        #expect(world.refused.isEmpty)
    }

    @Test func `a small model passes a large one that waits, but not for ever`() {
        var world = World(memory: 20)
        let first = world.ask(key("a"), .init(memory: 10))
        let large = world.ask(key("large"), .init(memory: 20))
        let small = world.ask(key("small"), .init(memory: 10))
        #expect(world.admitted[small] != nil)
        world.finish(small)
        world.now = 6
        let second = world.ask(key("small two"), .init(memory: 10))
        #expect(world.admitted[second] == nil)
        world.finish(first)
        #expect(world.admitted[large] != nil)
        world.finish(large)
        #expect(world.admitted[second] != nil)
    }

    @Test func `what was measured counts instead of the estimate`() {
        var world = World(memory: 30)
        let request = world.ask(key("a"), .init(memory: 30))
        world.finish(request)
        world.carryOut(world.pool.measured(1, memory: 8, now: 1))
        let other = world.ask(key("b"), .init(memory: 20))
        #expect(world.admitted[other] != nil)
        #expect(world.stopped.isEmpty)
        #expect(world.pool.expected(key("a"), .init(memory: 30)).memory == 8)
    }

    @Test func `a model larger than the host is refused with both numbers`() {
        var world = World(memory: 30, vram: [40])
        let request = world.ask(key("a"), .init(memory: 31))
        #expect(world.refused[request] == .tooLarge(31, of: 30))
        let gpu = world.ask(key("b"), .init(memory: 1, vram: 41, gpus: [0]))
        #expect(world.refused[gpu] == .tooLarge(41, of: 40))
    }

    @Test func `two accounts never share a GPU`() {
        var world = World(memory: 100, vram: [100])
        let need = WarmPool.Need(memory: 1, vram: 1, gpus: [0])
        let one = world.ask(key("a", "one"), need)
        let two = world.ask(key("a", "two"), need)
        #expect(world.admitted[two] == nil)
        world.finish(one)
        #expect(world.stopped == [1])
        #expect(world.admitted[two] == 2)
    }

    @Test func `idle models go after their time`() {
        var world = World(memory: 100, idle: 60)
        let request = world.ask(key("a"), .init(memory: 1))
        world.now = 100
        world.carryOut(world.pool.tick(now: 100))
        #expect(world.stopped.isEmpty)
        world.finish(request)
        world.carryOut(world.pool.tick(now: 159))
        #expect(world.stopped.isEmpty)
        world.carryOut(world.pool.tick(now: 160))
        #expect(world.stopped == [1])
    }

    @Test func `a crash restarts at once the first time and rests longer each time after`() {
        var world = World(memory: 100)
        let need = WarmPool.Need(memory: 1)
        var rests: [Double] = []
        for _ in 0..<6 {
            let request = world.ask(key("a"), need)
            if case .restsAfterFailure(_, _, let seconds)? = world.refused[request] {
                rests.append(seconds)
                world.now += seconds
                continue
            }
            world.carryOut(world.pool.tick(now: world.now + 3))
            world.now += 3
            guard let number = world.admitted[request] else { continue }
            world.carryOut(world.pool.ended(number, failure: "boom", now: world.now))
            world.carryOut(world.pool.release(request, succeeded: false, now: world.now))
        }
        #expect(world.started.count >= 3)
        #expect(rests == rests.sorted())
        #expect(rests.allSatisfy { $0 > 2 })
        #expect(!rests.isEmpty)
    }

    @Test func `a load that fails ends all who wait for it, and no one else`() {
        var world = World(memory: 100)
        world.holdsLoads = true
        let asked = [world.ask(key("a"), .init(memory: 1)), world.ask(key("a"), .init(memory: 1))]
        let other = world.ask(key("b"), .init(memory: 1))
        world.carryOut(world.pool.ended(1, failure: "no model", now: 0))
        #expect(asked.allSatisfy { world.refused[$0] == .failed("no model") })
        #expect(world.refused[other] == nil)
    }

    @Test func `a queue has a bound`() {
        var world = World(memory: 100)
        world.holdsLoads = true
        for _ in 0..<256 { _ = world.ask(key("a"), .init(memory: 1)) }
        let over = world.ask(key("a"), .init(memory: 1))
        #expect(world.refused[over] == .busy)
        let other = world.ask(key("b"), .init(memory: 1))
        #expect(world.refused[other] == nil)
    }
}
