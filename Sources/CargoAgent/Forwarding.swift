import CargoEndpoints
import CargoTunnel
import CargoWire
import Synchronization

/// Answers the requests that come straight through the tunnel and that no store sees.
struct Forwarding: Sendable {
    /// Bytes of a request at most.
    private static let largestRequest = 64 << 20

    /// What answers; nil: this host serves no models.
    let service: (any ModelService)?
    let work: ForwardedWork

    func answer(_ opening: TunnelOpening, _ stream: TunnelStream) async throws {
        guard let service, let question = opening.question,
            let operation = ModelRequest.Operation(rawValue: question.operation)
        else {
            throw TunnelFault(code: "model_not_found", message: "This host serves no models.", status: 404, retryable: true)
        }
        work.began(question.model)
        defer { work.ended(question.model) }
        try stream.acknowledge()
        let body = try await stream.collect(limit: Forwarding.largestRequest)
        let request = ModelRequest(
            operation: operation, model: question.model, body: String(decoding: body, as: UTF8.self), stream: question.stream,
            trace: question.traceparent.flatMap { Trace(parent: $0, state: question.tracestate) })
        do {
            let usage = try await service.answer(request, account: question.account) { head in
                try stream.writeHead(head)
            } body: { piece in
                try await stream.write(piece)
            }
            if let usage { stream.end(usage) }
        } catch let failure as ModelFailure {
            throw TunnelFault(
                code: failure.code.rawValue, message: failure.message, status: failure.status, retryable: failure.retryable,
                param: failure.param)
        }
    }
}

/// The forwarded requests that are being answered, by model: a host leaves them out of what it says of itself, because the
/// coordinator counts them, and waits for them when it goes.
final class ForwardedWork: Sendable {
    private struct State {
        var byModel: [String: Int] = [:]
        var total = 0
    }

    private let state = Mutex(State())
    private let bell = Bell()

    var byModel: [String: Int] { state.withLock { $0.byModel } }

    func began(_ model: String) {
        state.withLock { state in
            state.byModel[model, default: 0] += 1
            state.total += 1
        }
    }

    func ended(_ model: String) {
        state.withLock { state in
            let left = (state.byModel[model] ?? 1) - 1
            state.byModel[model] = left > 0 ? left : nil
            state.total -= 1
        }
        bell.ring()
    }

    /// Returns when none is left, or the task is cancelled. One task waits at a time.
    func done() async {
        while state.withLock({ $0.total > 0 }), !Task.isCancelled { await bell.wait() }
    }
}
