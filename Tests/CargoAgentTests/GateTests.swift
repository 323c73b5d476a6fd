import Testing

@testable import CargoAgent

@Suite struct GateTests {
    @Test func `everyone who waits goes through when the gate opens, and everyone later`() async {
        let gate = Gate()
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<10 { group.addTask { await gate.wait() } }
            gate.open()
            await group.waitForAll()
        }
        await gate.wait()
        #expect(gate.isOpen)
    }

    @Test func `a task that is cancelled stops waiting and leaves nothing behind`() async {
        let gate = Gate()
        let bell = Bell()
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await gate.wait() }
            group.addTask { await bell.wait() }
            group.cancelAll()
            await group.waitForAll()
        }
        #expect(!gate.isOpen)
    }

    @Test func `a ring that nobody heard is kept, many are one`() async {
        let bell = Bell()
        bell.ring()
        bell.ring()
        await bell.wait()
        await bell.wait(until: .now)
    }
}
