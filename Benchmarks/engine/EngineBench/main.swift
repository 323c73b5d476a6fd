import CargoEndpoints
import CargoEngines
import CargoStore
import CargoWire
import FoundationEssentials
import Glibc
import Synchronization
import SystemPackage

// engine-bench ENGINES.JSON MODEL SOCKET ROUNDS TOKENS
//
// Asks the model MODEL of $LONGSHORE_HOME through its confined engine, and the bare server that listens on SOCKET, in turns,
// with the same client; prints medians: first token in µs, tokens a second; last the medians of the rounds' differences and ratios.

/// What one streamed answer took.
struct Sample {
    var firstToken: Double
    var tokensPerSecond: Double
}

func ask(_ body: String, _ model: String, _ tokens: Int, through service: Asked) async throws -> Sample {
    let begin = ContinuousClock.now
    let first = Mutex<ContinuousClock.Instant?>(nil)
    let usage = try await service.answer(ModelRequest(operation: .chat, model: model, body: body, stream: true)) {
        first.withLock { $0 = $0 ?? .now }
    }
    let end = ContinuousClock.now
    let start = first.withLock { $0 } ?? end
    guard usage?.completionTokens == tokens else {
        throw Failure("an answer has \(usage?.completionTokens ?? 0) of \(tokens) tokens")
    }
    return Sample(
        firstToken: (start - begin) / .microseconds(1), tokensPerSecond: Double(tokens - 1) / ((end - start) / .seconds(1)))
}

struct Failure: Error, CustomStringConvertible {
    var description: String
    init(_ description: String) { self.description = description }
}

/// Who is asked.
enum Asked: Sendable {
    case house(EngineHouse)
    case bare(ModelServer)

    func answer(_ request: ModelRequest, onBody: @escaping @Sendable () -> Void) async throws -> ModelUsage? {
        switch self {
        case .house(let house):
            try await house.answer(request, account: "bench", head: { _ in }, body: { _ in onBody() })
        case .bare(let server):
            try await server.answer(request, as: "model", account: "bench", head: { _ in }, body: { _ in onBody() })
        }
    }
}

func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }

func measure() async throws {
    let words = CommandLine.arguments
    guard words.count == 6, let rounds = Int(words[4]), let tokens = Int(words[5]) else {
        throw Failure("usage: engine-bench ENGINES.JSON MODEL SOCKET ROUNDS TOKENS")
    }
    let settings = EngineHouse.Settings(
        store: try CargoStore(root: CargoStore.defaultRoot()), list: FilePath(words[1]), memory: 64 << 30
    ) { .integrityOnly }
    let house = EngineHouse(settings)
    let living = Task { await house.run() }
    defer { living.cancel() }
    let sides: [(String, Asked)] = [
        ("bare", .bare(ModelServer(.unix(FilePath(words[3])), isOneAccounts: true))), ("confined", .house(house)),
    ]
    let body =
        #"{"messages":[{"role":"user","content":"Tell me a story."}],"max_tokens":\#(tokens),"temperature":0,"ignore_eos":true,"stream":true}"#
    var samples: [String: [Sample]] = [:]
    for round in 0..<rounds + 3 {
        // Each is first as often as the other.
        for (name, side) in round % 2 == 0 ? sides : sides.reversed() {
            // A server's threads look for more work for a while after an answer: the other one's answer must not pay for that.
            try await Task.sleep(for: .milliseconds(60))
            let sample = try await ask(body, words[2], tokens, through: side)
            if round >= 3 { samples[name, default: []].append(sample) }
        }
    }
    for (name, _) in sides {
        let all = samples[name] ?? []
        print("\(name) \(Int(median(all.map(\.firstToken)))) \(median(all.map(\.tokensPerSecond)))")
    }
    // Within a round both meet the same machine: its drift over the run says nothing of the sandbox.
    let pairs = zip(samples["bare"] ?? [], samples["confined"] ?? [])
    let later = median(pairs.map { $1.firstToken - $0.firstToken })
    print("paired \(Int(later)) \(median(pairs.map { $1.tokensPerSecond / $0.tokensPerSecond }))")
}

do { try await measure() } catch {
    print("engine-bench: \(error)")
    exit(1)
}
