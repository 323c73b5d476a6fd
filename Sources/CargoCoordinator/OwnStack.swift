import CargoQueue
import Hummingbird
import HummingbirdCore

/// Decides an answer on a stack of its own: without this a connection that waits in its stream for hours would hold the room that
/// routing and reading of its request took.
struct OwnStack<Base: HTTPResponder>: HTTPResponder where Base.Context: Sendable {
    let base: Base

    func respond(to request: Request, context: Base.Context) async throws -> Response {
        try await onOwnStack { [base] in try await base.respond(to: request, context: context) }
    }
}
