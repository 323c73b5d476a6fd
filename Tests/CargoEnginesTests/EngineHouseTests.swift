import CargoEndpoints
import CargoRunner
import CargoStore
import CargoWire
import Glibc
import Synchronization
import Testing

@testable import CargoEngines

@Suite(.serialized) struct EngineHouseTests {
    @Test func `a GGUF cargo streams tokens through its confined engine, the same for the same prompt`() async throws {
        let bench = try EngineBench()
        try bench.addLlama()
        try bench.addChat()
        try await bench.withHouse { house in
            let models = await house.models()
            #expect(models.map(\.id) == ["longshore/tiny-chat"])
            #expect(models.first?.presence == .stored)
            let first = try await house.chat("longshore/tiny-chat", tokens: 24)
            #expect(first.reply.status == 200)
            #expect(first.reply.text.hasPrefix("data: {"))
            #expect(first.reply.text.hasSuffix("data: [DONE]\n\n"))
            #expect(first.reply.pieces > 4)
            #expect(first.usage?.completionTokens == 24)
            let second = try await house.chat("longshore/tiny-chat", tokens: 24, stream: false)
            #expect(second.reply.text.contains("\"content\""))
            #expect(await house.models().first?.presence == .loaded)
        }
    }

    @Test func `an engine killed in mid-stream ends the answer with an error, and the next request succeeds`() async throws {
        let bench = try EngineBench()
        try bench.addLlama()
        try bench.addChat()
        try await bench.withHouse { house in
            let reply = Reply()
            await #expect(throws: ModelFailure.self) {
                _ = try await house.chat("longshore/tiny-chat", tokens: 1900, into: reply) { count in
                    if count == 3 { house.killAll() }
                }
            }
            #expect(reply.status == 200)
            #expect(!reply.text.contains("[DONE]"))
            let again = try await house.chat("longshore/tiny-chat")
            #expect(again.reply.text.hasSuffix("data: [DONE]\n\n"))
        }
    }

    @Test func `ten models in room for three: only the least recently used go, and no request fails`() async throws {
        let bench = try EngineBench()
        try bench.addLlama()
        for number in 0..<10 { try bench.addChat("test/chat-\(number)") }
        let stopped = Mutex<[String]>([])
        let loaded = Mutex<Int64>(0)
        try await bench.withHouse(
            onChange: { change in
                if case .ready(_, _, let memory?) = change { loaded.withLock { $0 = memory } }
            }
        ) { try await $0.load("test/chat-9", account: "one") { _ in } }
        let book = try #require(await ModelShelf(store: bench.store, list: bench.list) { .integrityOnly }.books().first)
        // A model that was never loaded counts as estimated, one that is loaded as measured: two and one fit, three and one do not.
        let memory = book.engine.need(for: book.config).memory + loaded.withLock { $0 } * 5 / 2
        try await bench.withHouse(
            memory: memory,
            onChange: { change in
                if case .stopped(let name) = change { stopped.withLock { $0.append(name) } }
            }
        ) { house in
            for number in 0..<10 {
                let answer = try await house.chat("test/chat-\(number)", tokens: 4)
                #expect(answer.usage?.completionTokens == 4)
            }
            // All at once, from several accounts: they take turns.
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in 0..<10 {
                    group.addTask { _ = try await house.chat("test/chat-\(number)", account: "two", tokens: 4) }
                }
                try await group.waitForAll()
            }
        }
        #expect(stopped.withLock { Array($0.prefix(3)) } == ["test/chat-0", "test/chat-1", "test/chat-2"])
    }

    @Test func `many requests at once load a model once`() async throws {
        let bench = try EngineBench()
        try bench.addLlama()
        try bench.addChat()
        let loads = Mutex(0)
        try await bench.withHouse(
            onChange: { change in
                if case .loading = change { loads.withLock { $0 += 1 } }
            }
        ) { house in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<12 { group.addTask { _ = try await house.chat("longshore/tiny-chat", tokens: 4) } }
                try await group.waitForAll()
            }
        }
        #expect(loads.withLock { $0 } == 1)
    }

    @Test func `two accounts never share an engine that its owner did not trust with that`() async throws {
        let bench = try EngineBench()
        try bench.addLlama()
        try bench.addChat()
        try await bench.withHouse { house in
            _ = try await house.chat("longshore/tiny-chat", account: "one", tokens: 4)
            _ = try await house.chat("longshore/tiny-chat", account: "two", tokens: 4)
            #expect(house.instanceCount == 2)
        }
        try bench.addLlama(trusted: true)
        try await bench.withHouse { house in
            _ = try await house.chat("longshore/tiny-chat", account: "one", tokens: 4)
            _ = try await house.chat("longshore/tiny-chat", account: "two", tokens: 4)
            #expect(house.instanceCount == 1)
        }
    }

    @Test func `a model that nobody stored is not found`() async throws {
        let bench = try EngineBench()
        try bench.addLlama()
        try await bench.withHouse { house in
            await #expect { _ = try await house.chat("test/none") } throws: { ($0 as? ModelFailure)?.code == .modelNotFound }
        }
    }

    @Test func `loading is reported while it lasts`() async throws {
        let bench = try EngineBench()
        try bench.addLlama()
        try bench.addChat()
        let seen = Mutex<[Int64]>([])
        try await bench.withHouse { house in
            try await house.load("longshore/tiny-chat", account: "one") { progress in
                seen.withLock { $0.append(progress.current) }
                #expect(progress.phase == "loading" && progress.total > 100_000)
            }
            #expect(await house.models().first?.presence == .loaded)
        }
        #expect(seen.withLock { $0.count >= 2 && $0.last! > 100_000 })
    }
}

extension EngineHouse {
    var instanceCount: Int { liveInstances.count }

    func killAll() { for instance in liveInstances { instance.kill() } }
}
