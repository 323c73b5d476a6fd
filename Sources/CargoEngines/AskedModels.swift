internal import CargoArtifact
internal import CargoEndpoints
internal import CargoWire

/// The models of this host as its chains may ask them: those of the store, and servers that were found beside it.
///
/// A chain holds its own place in memory while it waits, so its models wait for room for a short time only: two chains that
/// wait for each other's room end with an error and not with silence. A chain asks models, never another chain.
struct AskedModels: ModelService {
    /// Seconds until a model that finds no room is given up.
    static let patience = 60.0

    let house: EngineHouse
    let beside: (any ModelService)?

    func models() async -> [ServedModel] { await house.models() + (beside?.models() ?? []) }

    @concurrent func answer(
        _ request: ModelRequest, account: String,
        head: @Sendable (AnswerHead) async throws -> Void, body: @Sendable ([UInt8]) async throws -> Void
    ) async throws -> ModelUsage? {
        if let book = await house.book(request.model) {
            guard book.config.models == nil else {
                throw ModelFailure(
                    .badRequest, message: "'\(book.config.name)' asks other models itself; a chain asks models alone.")
            }
            return try await house.answer(
                request, account: account, patience: AskedModels.patience, head: head, body: body)
        }
        guard let beside else {
            throw ModelFailure(
                .modelNotFound,
                message:
                    "This host has no model '\(request.model.prefix(200))', which the cargo asks; get it with 'cargo-run cache'.")
        }
        return try await beside.answer(request, account: account, head: head, body: body)
    }
}
