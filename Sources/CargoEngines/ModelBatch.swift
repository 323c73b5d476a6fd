internal import CargoArtifact
internal import CargoEndpoints
internal import CargoFiles
internal import CargoRunner
internal import CargoStore
internal import CargoWire
internal import FoundationEssentials
internal import Synchronization
internal import SystemPackage

/// A `run` job on a model: each input file of JSON lines becomes an output file of JSON lines, answered by an engine that lives as
/// long as the job. Arguments are prompts, whose answers stream to the log.
struct ModelBatch: Sendable {
    /// Most bytes of one input file.
    private static let fileLimit = 256 << 20
    /// What a batch that holds a request without an answer ends with.
    private static let failedCode = 1
    /// Between two looks at how far a load has come.
    private static let lookPause = Duration.milliseconds(250)

    let request: RunRequest
    let engine: ReadyEngine
    let runner: JobRunner

    private var config: CargoConfig { request.cargo.config }

    /// What was written so far, and where the log stands.
    private final class Account: Sendable {
        let state = Mutex((outputs: [RunOutcome.Output](), failed: 0, bytes: Int64(0), hash: ContentHash(), offset: Int64(0)))
    }

    /// `models`: who answers for the models that the cargo asks.
    func run(
        asking models: (any ModelService)? = nil, onEvent: @escaping @Sendable (RunEvent) async -> Void
    ) async throws -> RunOutcome {
        guard !request.inputs.isEmpty || !request.arguments.isEmpty else {
            throw Refusal(
                "inputs",
                "a model needs something to do: --input requests.jsonl, with one JSON request a line, or a prompt after --")
        }
        for input in request.inputs where !input.name.hasSuffix(".jsonl") {
            throw Refusal("inputs", "a model takes files of JSON lines, named *.jsonl; '\(input.name)' is none")
        }
        var serving = request
        (serving.inputs, serving.arguments) = ([], [])
        serving.logLimits = EngineInstance.logLimits
        serving.grace = 2
        // Nothing of the engine's own folder is an output of the job.
        serving.output = request.output.appending(".engine")
        let start = ContinuousClock.now
        let account = Account()
        // Models that it asks are this job's alone, too.
        let door = models.map { EngineInstance.Door(service: $0, account: "job " + request.jobID) }
        let instance = EngineInstance(serving, engine: engine, runner: runner, isOneAccounts: true, door: door)
        let seconds = config.resources.lowered(by: request.limits).time?.value ?? 3600
        let end = await withTaskGroup(of: End.self) { group in
            group.addTask { await life(instance, account, onEvent) }
            group.addTask {
                do { try await Task.sleep(for: .seconds(seconds)) } catch { return .cancelled }
                return .outOfTime
            }
            let first = await group.next() ?? .cancelled
            group.cancelAll()
            return first
        }
        try? FileManager.default.removeItem(atPath: serving.output.string)
        if Task.isCancelled { throw CancellationError() }
        return try outcome(end, account, seconds: (ContinuousClock.now - start) / .seconds(1))
    }

    private enum End: Sendable {
        case done
        case failed(String)
        case outOfTime
        case cancelled
    }

    private func life(
        _ instance: EngineInstance, _ account: Account, _ onEvent: @escaping @Sendable (RunEvent) async -> Void
    ) async -> End {
        let worked = Mutex<Result<Void, any Error>?>(nil)
        let total = Int64(clamping: config.serving?.facts?.weightBytes ?? 0)
        await onEvent(.provisioning(RunProgress(phase: "loading", current: 0, total: total)))
        let isReady = Atomic(false)
        // Weights are mapped, so what is resident of them is how far the load has come.
        async let _: Void = {
            while (try? await Task.sleep(for: ModelBatch.lookPause)) != nil, !isReady.load(ordering: .relaxed) {
                let current = min(total, instance.memoryBytes() ?? 0)
                await onEvent(.provisioning(RunProgress(phase: "loading", current: current, total: total)))
            }
        }()
        let reason = await instance.run(
            ready: {
                isReady.store(true, ordering: .relaxed)
                await onEvent(.provisioning(RunProgress(phase: "loading", current: total, total: total)))
                await onEvent(.started)
                do {
                    try await work(instance, account, onEvent)
                    worked.withLock { $0 = .success(()) }
                } catch {
                    worked.withLock { $0 = .failure(error) }
                }
                instance.stop()
            }, healthy: {}, isIdle: { false })
        switch worked.withLock({ $0 }) {
        case .success: return .done
        case .failure(let error): return .failed(reason ?? "\(error)")
        case nil: return .failed(reason ?? "The engine ended before the work was done.")
        }
    }

    // MARK: The work

    private func work(
        _ instance: EngineInstance, _ account: Account, _ onEvent: @escaping @Sendable (RunEvent) async -> Void
    ) async throws {
        for prompt in request.arguments { try await say(prompt, instance, account, onEvent) }
        for input in request.inputs { try await answer(input, instance, account, onEvent) }
    }

    /// One prompt; its answer streams to standard output.
    private func say(
        _ prompt: String, _ instance: EngineInstance, _ account: Account, _ onEvent: @escaping @Sendable (RunEvent) async -> Void
    ) async throws {
        var fields = request.parameters
        fields["messages"] = .array([.object(["role": .string("user"), "content": .string(prompt)])])
        fields["stream"] = .bool(true)
        let body = String(decoding: CanonicalJSON.encode(.object(fields)), as: UTF8.self)
        let asked = ModelRequest(operation: .chat, model: config.name, body: body, stream: true)
        let text = Mutex(StreamedText())
        _ = try await instance.server.answer(
            asked, as: EngineHouse.backendName, account: "",
            head: { _ in },
            body: { bytes in
                let said = text.withLock { $0.take(bytes) }
                if !said.isEmpty { await log(Array(said.utf8), account, onEvent) }
            })
        await log([10], account, onEvent)
    }

    private func log(_ bytes: [UInt8], _ account: Account, _ onEvent: @Sendable (RunEvent) async -> Void) async {
        let offset = account.state.withLock { state in
            defer { state.offset += Int64(bytes.count) }
            state.hash.update(bytes)
            return state.offset
        }
        await onEvent(.log(.stdout, offset: offset, bytes: bytes))
    }

    /// One file: as many requests at once as the engine takes, the answers in the order of the lines.
    private func answer(
        _ input: RunRequest.Input, _ instance: EngineInstance, _ account: Account,
        _ onEvent: @escaping @Sendable (RunEvent) async -> Void
    ) async throws {
        let bytes = try await blocking { try File.open(input.path).contents(limit: ModelBatch.fileLimit) }
        let lines = bytes.split(separator: 10).filter { !$0.allSatisfy { $0 == 32 || $0 == 13 } }
        let folder = try Folder.open(request.output, create: 0o755)
        let name = String(input.name.split(separator: "/").last ?? "requests.jsonl").dropLast(".jsonl".count) + ".answers.jsonl"
        let file = try folder.open(String(name), .writeOnly, options: [.create, .truncate], permissions: 0o644)
        var hash = ContentHash()
        var size: Int64 = 0
        let limit = config.outputs?.maxBytes?.bytes ?? config.resources.disk?.bytes ?? 1 << 30
        try await withThrowingTaskGroup(of: (Int, [UInt8], Bool).self) { group in
            var next = 0
            var waiting: [Int: [UInt8]] = [:]
            var written = 0
            func add() {
                guard next < lines.count else { return }
                let (number, line) = (next, lines[next])
                next += 1
                group.addTask {
                    let (answer, isFailed) = try await one(line, number: number + 1, instance)
                    return (number, answer, isFailed)
                }
            }
            // As many ahead as there are places, so that what waits for an earlier line stays small.
            for _ in 0..<engine.slots { add() }
            while let (number, line, isFailed) = try await group.next() {
                waiting[number] = line
                if isFailed { account.state.withLock { $0.failed += 1 } }
                while let ready = waiting.removeValue(forKey: written) {
                    written += 1
                    size += Int64(ready.count)
                    guard size <= limit else { throw Refusal("output_limit", "the answers have more than \(limit) bytes") }
                    hash.update(ready)
                    try file.descriptor.writeAll(ready)
                    add()
                }
                await onEvent(
                    .provisioning(RunProgress(phase: "answering", current: Int64(written), total: Int64(lines.count))))
            }
        }
        account.state.withLock { $0.outputs.append(.init(path: String(name), size: size, digest: hash.digest())) }
    }

    private func one(_ line: ArraySlice<UInt8>, number: Int, _ instance: EngineInstance) async throws -> (
        answer: [UInt8], failed: Bool
    ) {
        var id = "request-\(number)"
        do {
            let asked = try BatchLine(
                line, number: number, model: config.name, operations: engine.operations(of: config))
            id = asked.id
            let said = Mutex<(status: Int, body: [UInt8])>((200, []))
            _ = try await instance.server.answer(
                asked.request, as: EngineHouse.backendName, account: "",
                head: { head in said.withLock { $0.status = head.status } },
                body: { bytes in said.withLock { $0.body += bytes } })
            let answer = said.withLock { $0 }
            return (BatchLine.answer(id: id, status: answer.status, body: answer.body), false)
        } catch let failure as ModelFailure {
            // An engine that is gone answers none of the rest either.
            if failure.code == .unavailable { throw failure }
            return (BatchLine.failure(id: id, failure), true)
        }
    }

    // MARK: The end

    private func outcome(_ end: End, _ account: Account, seconds: Double) throws -> RunOutcome {
        let state = account.state.withLock {
            (outputs: $0.outputs, failed: $0.failed, bytes: $0.offset, digest: $0.hash.digest())
        }
        var isOutOfTime = false
        switch end {
        case .done: break
        case .outOfTime: isOutOfTime = true
        case .failed(let reason): throw RunFailure(.runtime, reason)
        case .cancelled: throw CancellationError()
        }
        return RunOutcome(
            exitCode: isOutOfTime ? nil : state.failed > 0 ? ModelBatch.failedCode : 0, timedOut: isOutOfTime,
            wallSeconds: seconds, outputs: state.outputs, logBytes: state.bytes, logDigest: state.digest)
    }
}

/// The text of a streamed chat, taken from its server-sent events.
struct StreamedText: Sendable {
    /// What the end of the last piece left open; a model server's own bound on events holds it.
    private var rest: [UInt8] = []

    /// The text that this piece completes.
    mutating func take(_ bytes: [UInt8]) -> String {
        rest += bytes
        var text = ""
        while let end = rest.firstIndex(of: 10) {
            let line = rest[..<end]
            if line.starts(with: Array("data: ".utf8)), let delta = StreamedText.delta(Array(line.dropFirst(6))) { text += delta }
            rest.removeSubrange(...end)
        }
        return text
    }

    private struct Chunk: Decodable {
        struct Choice: Decodable {
            struct Delta: Decodable { var content: String? }
            var delta: Delta?
        }
        var choices: [Choice]?
    }

    private static func delta(_ bytes: [UInt8]) -> String? {
        (try? JSONDecoder().decode(Chunk.self, from: Data(bytes)))?.choices?.first?.delta?.content
    }
}
