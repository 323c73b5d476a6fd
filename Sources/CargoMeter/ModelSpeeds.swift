public import CargoEndpoints
public import CargoWire
internal import Synchronization

/// What is remembered of each model's answers. Safe from everywhere.
public final class ModelSpeeds: Sendable {
    /// The most models that are remembered.
    private static let most = 1024

    private let speeds = Mutex<[String: ModelSpeed]>([:])

    public init() {}

    public func current() -> [String: ModelSpeed] { speeds.withLock { $0 } }

    /// A new value counts a fifth: a slow minute shows, a slow answer does not.
    private static func mean(_ before: Double?, _ now: Double) -> Double { before.map { $0 * 0.8 + now * 0.2 } ?? now }

    /// - Parameters:
    ///   - first: until the first piece of the answer; nil when there was none.
    ///   - rest: from there to the last piece.
    func answered(_ model: String, first: Duration?, rest: Duration?, tokens: Int?, failed: Bool) {
        speeds.withLock { speeds in
            guard speeds[model] != nil || speeds.count < ModelSpeeds.most else { return }
            var speed = speeds[model] ?? ModelSpeed()
            speed.requests += 1
            if failed { speed.failures += 1 }
            if let first { speed.firstTokenMS = ModelSpeeds.mean(speed.firstTokenMS, first / .milliseconds(1)) }
            // The first token came with the first piece; the rest took the rest of the time.
            if let rest, let tokens, tokens > 1, rest > .milliseconds(1) {
                speed.tokensPerSecond = ModelSpeeds.mean(speed.tokensPerSecond, Double(tokens - 1) / (rest / .seconds(1)))
            }
            speeds[model] = speed
        }
    }
}

/// A service whose answers are timed.
public struct MeteredModels: ModelService {
    private let service: any ModelService
    private let speeds: ModelSpeeds

    public init(_ service: any ModelService, speeds: ModelSpeeds) {
        self.service = service
        self.speeds = speeds
    }

    public func models() async -> [ServedModel] { await service.models() }

    public func loading(_ model: String, account: String) async -> LoadProgress? {
        await service.loading(model, account: account)
    }

    /// When pieces of one answer came.
    private final class Watch: Sendable {
        let times = Mutex<(first: ContinuousClock.Instant?, last: ContinuousClock.Instant?)>((nil, nil))

        func tick() {
            let now = ContinuousClock.now
            times.withLock { $0 = ($0.first ?? now, now) }
        }
    }

    @concurrent public func answer(
        _ request: ModelRequest, account: String,
        head: @Sendable (AnswerHead) async throws -> Void, body: @Sendable ([UInt8]) async throws -> Void
    ) async throws -> ModelUsage? {
        let start = ContinuousClock.now
        let watch = Watch()
        func note(tokens: Int?, failed: Bool) {
            let (first, last) = watch.times.withLock { $0 }
            let rest = first.flatMap { first in last.map { $0 - first } }
            speeds.answered(
                request.model, first: first.map { $0 - start }, rest: request.stream ? rest : nil, tokens: tokens, failed: failed)
        }
        do {
            let usage = try await service.answer(
                request, account: account, head: head,
                body: { piece in
                    watch.tick()
                    try await body(piece)
                })
            note(tokens: usage?.completionTokens, failed: false)
            return usage
        } catch let failure as ModelFailure {
            // A request that is wrong in itself says nothing of the model.
            if ![.badRequest, .contextExceeded, .modelNotFound].contains(failure.code) { note(tokens: nil, failed: true) }
            throw failure
        }
    }
}
