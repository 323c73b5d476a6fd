/// A request to a model on its way through a tunnel.
public struct ForwardedRequest: Hashable, Sendable, Codable {
    public var request: ModelRequest
    /// Whose it is, as a word that says nothing else: caches are kept apart by it.
    public var account: String

    public init(request: ModelRequest, account: String) {
        self.request = request
        self.account = account
    }
}
