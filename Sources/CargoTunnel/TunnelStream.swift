/// One stream, as whoever uses it sees it.
public struct TunnelStream: Sendable {
    let link: TunnelLink
    let id: UInt32

    /// Sends bytes; waits while the other side has not read what was sent.
    public func write(_ bytes: [UInt8]) async throws { try await link.writeData(id, bytes) }

    public func writeHead(_ word: some Encodable) throws { try link.writeHead(id, TunnelLink.word(word)) }

    /// Tells the other side that work on its request has begun: an empty piece before the head.
    public func acknowledge() throws { try link.acknowledge(id) }

    /// This side has said all.
    public func end() { link.end(id, trailer: []) }
    public func end(_ trailer: some Encodable) { link.end(id, trailer: TunnelLink.word(trailer)) }

    /// Ends it for both sides.
    public func reset(_ fault: TunnelFault) { link.reset(id, fault) }

    /// Gives it up; one that both sides have ended is forgotten.
    public func forget() { link.forget(id) }

    /// How the answer begins; nil when it ended without.
    public func head() async throws -> [UInt8]? {
        guard case .head(let word) = try await link.next(id) else { return nil }
        return word
    }

    /// Whatever comes next. One task waits at a time.
    public func piece() async throws -> TunnelLink.Piece { try await link.next(id) }

    /// Whoever waits for the next piece goes on with `late`.
    public func expire() { link.expire(id) }

    /// The next bytes; nil at the end, whose trailer goes to `trailer`.
    public func next(_ trailer: (([UInt8]) -> Void)? = nil) async throws -> [UInt8]? {
        switch try await link.next(id) {
        case .data(let bytes): return bytes
        case .end(let word):
            trailer?(word)
            return nil
        case .head: throw TunnelFault(code: "bad_answer", message: "A head came in the middle of an answer.")
        case .late: throw TunnelFault(code: "timed_out", message: "The other side was silent.", status: 504, retryable: true)
        }
    }

    /// All bytes up to the end.
    public func collect(limit: Int) async throws -> [UInt8] {
        var all: [UInt8] = []
        while let bytes = try await next() {
            all += bytes
            guard all.count <= limit else {
                throw TunnelFault(code: "too_large", message: "This has more than \(limit) bytes.", status: 413)
            }
        }
        return all
    }

    /// Runs `body` with the stream, and gives it up afterwards, however it came out.
    public func whole<Value: Sendable>(_ body: () async throws -> Value) async throws -> Value {
        defer { link.forget(id) }
        return try await body()
    }
}
