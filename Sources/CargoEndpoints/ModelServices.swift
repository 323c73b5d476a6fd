public import CargoWire
internal import Synchronization

/// Several services as one: what engines serve and what was found on the machine.
///
/// The first service that has a model answers for it; a later one that has it too is asked when the first cannot begin.
public struct ModelServices: ModelService {
    private let services: [any ModelService]

    public init(_ services: [any ModelService]) { self.services = services }

    /// Each model once.
    public func models() async -> [ServedModel] {
        var all: [ServedModel] = []
        var seen: Set<String> = []
        for service in services {
            for model in await service.models() where seen.insert(model.id).inserted { all.append(model) }
        }
        return all
    }

    public func loading(_ model: String, account: String) async -> LoadProgress? {
        for service in services {
            if let progress = await service.loading(model, account: account) { return progress }
        }
        return nil
    }

    @concurrent public func answer(
        _ request: ModelRequest, account: String,
        head: @Sendable (AnswerHead) async throws -> Void, body: @Sendable ([UInt8]) async throws -> Void
    ) async throws -> ModelUsage? {
        let began = Atomic(false)
        var last = ModelFailure(.modelNotFound, message: "This host has no model '\(request.model)'.")
        for service in services where await service.models().contains(where: { $0.id == request.model }) {
            do {
                return try await service.answer(
                    request, account: account,
                    head: { answer in
                        began.store(true, ordering: .relaxed)
                        try await head(answer)
                    }, body: body)
            } catch let failure as ModelFailure where failure.retryable && !began.load(ordering: .relaxed) {
                last = failure
            }
        }
        throw last
    }
}
