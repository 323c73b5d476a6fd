import CargoArtifact
import CargoFiles
import CargoQueue
import CargoWire
import Crypto
import FoundationEssentials

/// Works on batches until its task is cancelled, those of an earlier life first.
extension Gateway {
    /// Batches at once.
    private static let batchesAtOnce = 4
    /// Lines of one batch that are asked at once, and that are done between two notes of where it stands.
    private static let linesAtOnce = 64
    /// The priority of a batch's requests: below those that somebody waits for.
    private static let batchPriority = 20

    public func runBatches() async {
        for open in (try? await blocking({ try files.openBatches() })) ?? [] { batches.add(open.batch.id, account: open.account) }
        await withTaskGroup(of: Void.self) { group in
            var running = 0
            while !Task.isCancelled {
                while running < Gateway.batchesAtOnce, let next = batches.take() {
                    running += 1
                    group.addTask { await runBatch(next.id, account: next.account) }
                }
                if running >= Gateway.batchesAtOnce {
                    await group.next()
                    running -= 1
                } else {
                    _ = await batches.bell.wait(seconds: 60)
                }
            }
        }
    }

    private func runBatch(_ id: String, account: Int64) async {
        let stop = batches.begin(id)
        defer { batches.end(id) }
        do {
            guard var stored = try await blocking({ try files.batch(id, account: account) }), !stored.batch.hasEnded else {
                return
            }
            if stored.batch.status == .validating {
                let (old, now) = (stored, unixTime)
                stored = try await blocking { try validated(old, now: now) }
                let new = stored
                try await blocking { try files.save(new) }
            }
            guard stored.batch.status == .inProgress else { return }
            var run = BatchRun(gateway: self, stored: stored, stop: stop)
            try await run.run()
        } catch {
            // It is taken up where its document says that it stands: by the next start, or soon when the store failed.
            guard !Task.isCancelled, (try? await Task.sleep(for: .seconds(5))) != nil else { return }
            batches.add(id, account: account)
        }
    }

    /// Reads the whole input once: a batch with a broken line runs none.
    private func validated(_ stored: StoredBatch, now: Int64) throws -> StoredBatch {
        var stored = stored
        var problems: [Batch.Errors.Entry] = []
        var seen: Set<String> = []
        var number = 0
        do {
            var lines = try self.lines(of: stored)
            while let bytes = try lines.next() {
                number += 1
                guard number <= BatchLine.most else {
                    throw BatchProblem(code: "too_many_lines", message: "A batch has at most \(BatchLine.most) lines.")
                }
                do {
                    let line = try BatchLine(bytes, endpoint: stored.batch.endpoint)
                    guard seen.insert(line.customID).inserted else {
                        throw BatchProblem(code: "duplicate_custom_id", message: "Another line has this 'custom_id'.")
                    }
                } catch let problem as BatchProblem {
                    problems.append(.init(code: problem.code, message: problem.message, line: number))
                    if problems.count == 100 { break }
                }
            }
            if number == 0 { throw BatchProblem(code: "empty_file", message: "The file has no line.") }
        } catch let problem as BatchProblem {
            problems.append(.init(code: problem.code, message: problem.message, line: nil))
        }
        if problems.isEmpty {
            (stored.batch.status, stored.batch.inProgressAt) = (.inProgress, now)
            stored.batch.requestCounts.total = number
        } else {
            (stored.batch.status, stored.batch.failedAt) = (.failed, now)
            stored.batch.errors = Batch.Errors(data: problems)
        }
        return stored
    }

    fileprivate func lines(of stored: StoredBatch) throws -> FileLines {
        guard let file = try files.bytes(stored.batch.inputFileID, account: stored.account) else {
            throw BatchProblem(code: "file_gone", message: "The input file is gone.")
        }
        return FileLines(size: try file.status().size) { try file.bytes(at: $0, count: $1) }
    }

    fileprivate func answer(_ line: BatchLine, number: Int, of stored: StoredBatch) async throws -> BatchRun.Outcome {
        let principal = Principal(
            account: stored.account, keyID: stored.keyID, scopes: [.write], host: nil, policy: stored.policy)
        let left = Double(stored.batch.expiresAt - unixTime)
        guard left > 0, let operation = ModelRequest.Operation(rawValue: String(stored.batch.endpoint.dropFirst(4))) else {
            return .expired
        }
        do {
            let bytes = Array(try Answer.encoder.encode(line.body))
            let ask = try ModelAsk(operation, bytes, patience: min(left, ModelAsk.longestPatience))
            let key = NewJob.Idempotency(
                operation: "batch", key: "\(stored.batch.id):\(number)", bodyDigest: Data(SHA256.hash(data: bytes)))
            var asked = try await askWithinLimits(ask, principal, key, until: stored.batch.expiresAt)
            do {
                let head = try await head(&asked)
                let body = try StrictJSON.parse(try await whole(&asked), limit: Gateway.largestAnswer)
                return .answered(status: head.status, job: asked.key.id.description, body)
            } catch is CancellationError {
                if batches.isCancelled(stored.batch.id) {
                    _ = try? await queue.store.cancel(asked.key, actor: "account:\(stored.account)")
                }
                throw CancellationError()
            }
        } catch let error as CancellationError {
            throw error
        } catch {
            guard let known = GatewayError(error) else { throw error }
            // Nothing that passes is the line's own fault.
            if known == .goingDown || known.code == "unavailable" || known.code == "disk_full" { throw known }
            return .answered(
                status: known.status, job: "", try JSONDecoder().decode(JSONValue.self, from: Data(OpenAIError.encode(known))))
        }
    }

    /// A line waits for its key's limits as long as the batch lives: nobody is there to come again.
    private func askWithinLimits(
        _ ask: ModelAsk, _ principal: Principal, _ key: NewJob.Idempotency, until end: Int64
    ) async throws -> Asked {
        while true {
            do {
                return try await self.ask(ask, principal, idempotency: key, priority: Gateway.batchPriority)
            } catch let exceeded as UsageMeter.Exceeded where unixTime < end {
                try await Task.sleep(for: .seconds(min(max(exceeded.retryAfter, 0.1), 60)))
            } catch let error as GatewayError where error.code == "model_not_found" && batches.isYoung {
                try await Task.sleep(for: .milliseconds(200))
            }
        }
    }

    /// One batch that is in progress.
    fileprivate struct BatchRun {
        enum Outcome: Sendable {
            case answered(status: Int, job: String, JSONValue)
            case expired
        }

        private enum Event: Sendable {
            case line(Int, customID: String, Outcome)
            case stopped
            case closing
        }

        let gateway: Gateway
        var stored: StoredBatch
        let stop: Doorbell

        init(gateway: Gateway, stored: StoredBatch, stop: Doorbell) {
            self.gateway = gateway
            self.stored = stored
            self.stop = stop
        }

        mutating func run() async throws {
            let (gateway, now, start) = (gateway, stored, stored.done)
            let (output, errors) = try await blocking { try gateway.files.results(now) }
            let (stop, batch) = (stop, stored)
            var cancelled = false
            var copy = stored
            try await withThrowingTaskGroup(of: Event.self) { group in
                group.addTask {
                    while !Task.isCancelled {
                        if await stop.wait(seconds: 3600).contains(.rows) { return .stopped }
                    }
                    return .closing
                }
                var lines = try gateway.lines(of: batch)
                for _ in 0..<start { _ = try lines.next() }
                var (next, written, underWay) = (start, start, 0)
                var waiting: [Int: (String, Outcome)] = [:]
                while true {
                    while underWay < Gateway.linesAtOnce, !cancelled, let bytes = try lines.next() {
                        let (line, number) = (try BatchLine(bytes, endpoint: batch.batch.endpoint), next)
                        (next, underWay) = (next + 1, underWay + 1)
                        group.addTask {
                            .line(number, customID: line.customID, try await gateway.answer(line, number: number, of: batch))
                        }
                    }
                    guard underWay > 0 else { break }
                    guard let event = try await group.next() else { break }
                    switch event {
                    case .stopped:
                        cancelled = true
                        underWay = 0
                    case .closing: throw CancellationError()
                    case .line(let number, let customID, let outcome):
                        underWay -= 1
                        waiting[number] = (customID, outcome)
                        while let (id, done) = waiting.removeValue(forKey: written) {
                            try BatchRun.write(done, id: id, number: written, to: &copy, output, errors)
                            written += 1
                            copy.done = written
                        }
                        if written % Gateway.linesAtOnce == 0 { try await BatchRun.note(copy, gateway, output, errors) }
                    }
                }
                group.cancelAll()
                while let _ = try? await group.next() {}
            }
            stored = copy
            try await finish(cancelled: cancelled, output, errors)
        }

        /// Where the batch stands, on disk after the results that it counts.
        private static func note(_ stored: StoredBatch, _ gateway: Gateway, _ output: File, _ errors: File) async throws {
            try await blocking {
                try output.sync()
                try errors.sync()
                try gateway.files.save(stored)
            }
        }

        private static func write(
            _ outcome: Outcome, id: String, number: Int, to stored: inout StoredBatch, _ output: File, _ errors: File
        ) throws {
            var response = JSONValue.null
            var error = JSONValue.null
            var failed = true
            switch outcome {
            case .answered(let status, let job, let body):
                failed = status >= 400
                response = .object(["status_code": .integer(Int64(status)), "request_id": .string(job), "body": body])
            case .expired:
                error = .object([
                    "code": .string("batch_expired"),
                    "message": .string("This request was not executed before the batch expired."),
                ])
            }
            let line: JSONValue = .object([
                "id": .string("batch_req_\(stored.batch.id.dropFirst(6))_\(number)"), "custom_id": .string(id),
                "response": response,
                "error": error,
            ])
            let bytes = Array(try Answer.encoder.encode(line)) + [10]
            if failed {
                try errors.write(bytes, at: stored.errorBytes)
                stored.errorBytes += Int64(bytes.count)
                stored.batch.requestCounts.failed += 1
            } else {
                try output.write(bytes, at: stored.outputBytes)
                stored.outputBytes += Int64(bytes.count)
                stored.batch.requestCounts.completed += 1
            }
        }

        private mutating func finish(cancelled: Bool, _ output: File, _ errors: File) async throws {
            let (gateway, now) = (gateway, gateway.unixTime)
            try await BatchRun.note(stored, gateway, output, errors)
            var copy = stored
            let before = stored
            let (results, failures) = try await blocking {
                (try gateway.files.keepResults(before, ".out", now: now), try gateway.files.keepResults(before, ".err", now: now))
            }
            for file in [results, failures].compactMap(\.self) { try await gateway.keepsHere(file.id, of: stored.account) }
            (copy.batch.outputFileID, copy.batch.errorFileID) = (results?.id, failures?.id)
            copy.batch.finalizingAt = now
            if cancelled {
                (copy.batch.status, copy.batch.cancellingAt, copy.batch.cancelledAt) = (.cancelled, now, now)
            } else if now >= copy.batch.expiresAt {
                (copy.batch.status, copy.batch.expiredAt) = (.expired, now)
            } else {
                (copy.batch.status, copy.batch.completedAt) = (.completed, now)
            }
            let ended = copy
            try await blocking { try gateway.files.save(ended) }
        }
    }
}
