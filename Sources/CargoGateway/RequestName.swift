import CargoWire
import HTTPTypes
import Hummingbird

/// Gives every request a name: what a client shows of a failure is what the logs here call it.
///
/// Clients of models look for it in every answer; elsewhere the access log says it, where there is one.
struct RequestName: RouterMiddleware {
    typealias Context = GatewayContext

    @concurrent
    func handle(
        _ request: Request, context: GatewayContext, next: @concurrent (Request, GatewayContext) async throws -> Response
    ) async throws -> Response {
        var context = context
        context.requestName = RequestName.given(by: request) ?? UUIDv7.make()
        var response = try await next(request, context)
        guard CrossOrigin.covers(request.uri.path) else { return response }
        // The answer of a model is called as its job.
        let name = response.headers[ModelHeader.requestID] ?? context.requestName
        response.headers[ModelHeader.requestID] = name
        if request.headers[ModelHeader.anthropicVersion] != nil || request.uri.path.contains("/v1/messages") {
            response.headers[ModelHeader.anthropicRequestID] = name
        }
        return response
    }

    /// The client's own name where it is a short word.
    static func given(by request: Request) -> String? {
        guard let given = request.headers[ModelHeader.requestID], (1...64).contains(given.utf8.count),
            given.utf8.allSatisfy({
                (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0) || $0 == 45 || $0 == 46 || $0 == 95
            })
        else { return nil }
        return given
    }
}
