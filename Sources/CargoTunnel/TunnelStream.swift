/// One stream, as whoever uses it sees it.
public struct TunnelStream: Sendable {
    let link: TunnelLink
    /// Its number in the connection.
    public let id: UInt32

    /// Sends bytes; waits while the other side has not read what was sent.
    public func write(_ bytes: [UInt8]) async throws { try await link.writeData(id, bytes) }

    /// Sends a number as eight bytes, big-endian.
    public func write(number: Int64) async throws {
        try await write(withUnsafeBytes(of: number.bigEndian) { Array($0) })
    }

    /// The last number that the other side has sent so; nil at the end.
    public func nextNumber() async throws -> Int64? {
        guard let bytes = try await next() else { return nil }
        guard bytes.count >= 8, bytes.count % 8 == 0 else {
            throw TunnelFault(code: "bad_answer", message: "A number has eight bytes.")
        }
        return bytes.suffix(8).reduce(Int64(0)) { $0 << 8 | Int64($1) }
    }

    /// Sends a message that other bytes follow: its length as four bytes, big-endian, and itself.
    public func write(message: [UInt8]) async throws {
        try await write(withUnsafeBytes(of: UInt32(message.count).bigEndian) { Array($0) } + message)
    }

    /// Such a message, and what came behind it already; nil where it ended before.
    public func nextMessage(limit: Int) async throws -> (message: [UInt8], rest: [UInt8])? {
        var bytes: [UInt8] = []
        defer { link.release(bytes.count) }
        while true {
            if bytes.count >= 4 {
                let length = bytes[..<4].reduce(0) { $0 << 8 | Int($1) }
                guard length <= limit else {
                    throw TunnelFault(code: "too_large", message: "This has more than \(limit) bytes.", status: 413)
                }
                if bytes.count >= 4 + length { return (Array(bytes[4..<4 + length]), Array(bytes[(4 + length)...])) }
            }
            guard let more = try await next() else { return nil }
            try link.gather(more.count)
            bytes += more
        }
    }

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
        defer { link.release(all.count) }
        while let bytes = try await next() {
            try link.gather(bytes.count)
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
