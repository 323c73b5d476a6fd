import HTTPTypes
import Hummingbird

/// Lets programs in browsers call the model interfaces from any page (Fetch standard, section 3.2).
///
/// A key travels in a header that only the calling program has, never in a cookie, so a page gains nothing by its visitor.
struct CrossOrigin: RouterMiddleware {
    typealias Context = GatewayContext

    @concurrent
    func handle(
        _ request: Request, context: GatewayContext, next: @concurrent (Request, GatewayContext) async throws -> Response
    ) async throws -> Response {
        guard request.headers[.origin] != nil, CrossOrigin.covers(request.uri.path) else {
            return try await next(request, context)
        }
        if request.method == .options, request.headers[.accessControlRequestMethod] != nil {
            var headers = HTTPFields()
            headers[.accessControlAllowOrigin] = "*"
            headers[.accessControlAllowMethods] = "GET, POST, DELETE"
            // `Authorization` is not covered by a star; whatever else a client adds is its own.
            let asked = request.headers[.accessControlRequestHeaders] ?? "Authorization, Content-Type"
            headers[.accessControlAllowHeaders] = String(asked.prefix(2048))
            headers[.accessControlMaxAge] = "86400"
            return Response(status: .noContent, headers: headers)
        }
        var response = try await next(request, context)
        response.headers[.accessControlAllowOrigin] = "*"
        response.headers[.accessControlExposeHeaders] = "Longshore-Job, X-Request-Id, Request-Id, Retry-After"
        return response
    }

    static func covers(_ path: String) -> Bool {
        ["/v1/", "/api/v1/", "/run/"].contains { path.hasPrefix($0) }
    }
}
