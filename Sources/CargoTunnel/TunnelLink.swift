import FoundationEssentials

/// One connection's streams as calls: both ends of a tunnel speak through one of these. The bytes go out through `pump`
/// and come in through `received`, whatever carries them.
public actor TunnelLink {
    /// Carries what a stream's reader has not read: bounded by the stream's window.
    private struct Inbox {
        var events: [Piece] = []
        var waiter: CheckedContinuation<Piece, any Error>?
        var writer: CheckedContinuation<Void, any Error>?
        var over: TunnelFault?
    }

    /// One thing that came on a stream.
    enum Piece: Sendable {
        case head([UInt8])
        case data([UInt8])
        case end([UInt8])
    }

    /// Answers the streams that the peer opens. Returning ends the stream; throwing a `TunnelFault` resets it.
    public typealias Handler = @Sendable (TunnelOpening, TunnelStream) async throws -> Void

    /// Bytes of one data frame at most: others get between.
    static let piece = 64 << 10
    private static let mostPending = 1 << 20

    private var streams: TunnelStreams
    private var inboxes: [UInt32: Inbox] = [:]
    /// Frames that wait to go out, in order; what is beyond `mostPending` bytes holds up whoever sends.
    private var pending: [[UInt8]] = []
    private var pendingBytes = 0
    private var senders: [CheckedContinuation<Void, Never>] = []
    private let wake: AsyncStream<Void>
    private let waker: AsyncStream<Void>.Continuation
    private let opened: AsyncStream<(UInt32, TunnelOpening)>
    private let openings: AsyncStream<(UInt32, TunnelOpening)>.Continuation
    private var isClosed = false
    private var lastHeard = ContinuousClock.now

    public init(_ side: TunnelStreams.Side) {
        streams = TunnelStreams(side)
        (wake, waker) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
        (opened, openings) = AsyncStream.makeStream(bufferingPolicy: .bufferingOldest(TunnelStreams.mostStreams))
    }

    /// Hands what goes out to `write`, one batch after the other, until the link closes; waiting in it is the back-pressure.
    public nonisolated func pump(_ write: @Sendable ([[UInt8]]) async throws -> Void) async throws {
        for await _ in wake {
            while let batch = await takePending() { try await write(batch) }
        }
    }

    private func takePending() -> [[UInt8]]? {
        guard !pending.isEmpty else { return nil }
        let batch = pending
        (pending, pendingBytes) = ([], 0)
        let waiting = senders
        senders = []
        for sender in waiting { sender.resume() }
        return batch
    }

    /// Answers what the peer opens, until the link closes or the task is cancelled.
    public nonisolated func serve(_ handler: @escaping Handler) async {
        await withDiscardingTaskGroup { group in
            for await (id, opening) in opened {
                group.addTask {
                    let stream = TunnelStream(link: self, id: id)
                    do {
                        try await self.untilReset(id) { try await handler(opening, stream) }
                        await self.end(id, trailer: [])
                        await self.dispose(id)
                    } catch let fault as TunnelFault {
                        await self.reset(id, fault)
                    } catch {
                        await self.reset(id, TunnelFault(code: "failed", message: "The other side failed at this.", status: 500))
                    }
                }
            }
            group.cancelAll()
        }
    }

    /// Runs `body` until the peer resets the stream, which cancels it.
    private nonisolated func untilReset(_ id: UInt32, _ body: @escaping @Sendable () async throws -> Void) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            let bell = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
            await onReset(id) { bell.continuation.finish() }
            group.addTask { try await body() }
            group.addTask {
                for await _ in bell.stream {}
                if !Task.isCancelled { throw TunnelFault.cancelled }
            }
            defer { group.cancelAll() }
            try await group.next()
        }
    }

    private var resets: [UInt32: @Sendable () -> Void] = [:]

    private func onReset(_ id: UInt32, _ action: @escaping @Sendable () -> Void) {
        guard inboxes[id]?.over == nil, inboxes[id] != nil else { return action() }
        resets[id] = action
    }

    /// Takes one message of the peer. Throws when the peer broke the rules: the connection is closed then.
    public func received(_ bytes: [UInt8]) async throws {
        lastHeard = .now
        guard !isClosed, let event = try streams.receive(try TunnelFrame(bytes)) else { return }
        switch event {
        case .opened(let id, let word):
            guard let opening = try? JSONDecoder().decode(TunnelOpening.self, from: Data(word)),
                opening.operation.opener != streams.side
            else {
                _ = streams.reset(id)
                return try await send(
                    .reset(
                        stream: id,
                        Self.word(TunnelFault(code: "unknown_operation", message: "There is no such operation.", status: 404))))
            }
            inboxes[id] = Inbox()
            if case .enqueued = openings.yield((id, opening)) { return }
            await reset(id, TunnelFault(code: "overloaded", message: "Too many calls at once.", status: 503, retryable: true))
        case .head(let id, let word): deliver(id, .head(word))
        case .data(let id, let bytes): deliver(id, .data(bytes))
        case .ended(let id, let word): deliver(id, .end(word))
        case .reset(let id, let word):
            let fault = (try? JSONDecoder().decode(TunnelFault.self, from: Data(word))) ?? TunnelFault.cancelled
            finish(id, fault)
        case .room(let id):
            let writer = inboxes[id]?.writer
            inboxes[id]?.writer = nil
            writer?.resume()
        case .goingAway: break
        }
    }

    /// The peer showed that it lives.
    public func heard() { lastHeard = .now }

    public var silence: Duration { ContinuousClock.now - lastHeard }

    public var takesNew: Bool { !isClosed && !streams.peerGoesAway }

    /// Says that this side takes no new streams.
    public func goAway() async { try? await send(.goAway) }

    /// The connection is gone: everyone who waits hears it.
    public func close() {
        guard !isClosed else { return }
        isClosed = true
        openings.finish()
        waker.finish()
        let waiting = senders
        senders = []
        for sender in waiting { sender.resume() }
        for id in Array(inboxes.keys) { finish(id, .lost) }
    }

    // MARK: Streams

    /// Opens a stream.
    public func open(_ opening: TunnelOpening) async throws -> TunnelStream {
        guard !isClosed, let id = streams.open() else { throw TunnelFault.lost }
        inboxes[id] = Inbox()
        try await send(.open(stream: id, Self.word(opening)))
        return TunnelStream(link: self, id: id)
    }

    /// One call: a body out, a status and a body back.
    public nonisolated func exchange(_ opening: TunnelOpening, _ body: [UInt8], limit: Int) async throws -> (
        status: Int, body: [UInt8]
    ) {
        let stream = try await open(opening)
        return try await stream.whole {
            try await stream.write(body)
            await stream.end()
            guard let head = try await stream.head(),
                let status = try? JSONDecoder().decode(ExchangeHead.self, from: Data(head)).status
            else { throw TunnelFault(code: "bad_answer", message: "The other side's answer has no status.") }
            return (status, try await stream.collect(limit: limit))
        }
    }

    func writeData(_ id: UInt32, _ bytes: [UInt8]) async throws {
        var rest = bytes[...]
        while !rest.isEmpty {
            if let fault = inboxes[id]?.over { throw fault }
            guard let count = streams.mayWrite(id, min(rest.count, Self.piece)) else { throw TunnelFault.lost }
            if count == 0 {
                try await withTaskCancellationHandler {
                    try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
                        guard inboxes[id] != nil, !Task.isCancelled, inboxes[id]?.over == nil else {
                            return continuation.resume(throwing: inboxes[id]?.over ?? .lost)
                        }
                        inboxes[id]?.writer = continuation
                    }
                } onCancel: {
                    Task { await self.abandon(id) }
                }
                continue
            }
            try await send(.data(stream: id, Array(rest.prefix(count))))
            rest = rest.dropFirst(count)
        }
    }

    func writeHead(_ id: UInt32, _ word: [UInt8]) async throws {
        if let fault = inboxes[id]?.over { throw fault }
        try await send(.head(stream: id, word))
    }

    func end(_ id: UInt32, trailer: [UInt8]) async {
        guard streams.end(id) else { return }
        try? await send(.end(stream: id, trailer))
    }

    func reset(_ id: UInt32, _ fault: TunnelFault) async {
        resets[id] = nil
        inboxes[id] = nil
        guard streams.reset(id) else { return }
        try? await send(.reset(stream: id, Self.word(fault)))
    }

    /// Whoever answered this stream has: what still comes on it is dropped.
    private func dispose(_ id: UInt32) {
        resets[id] = nil
        inboxes[id] = nil
    }

    /// Forgets a stream that both sides are done with; one that is still open is reset.
    func forget(_ id: UInt32) async {
        guard inboxes[id] != nil else { return }
        await reset(id, .cancelled)
    }

    func next(_ id: UInt32) async throws -> Piece {
        let piece = try await take(id)
        if case .data(let bytes) = piece, let credit = streams.used(id, bytes.count) {
            try await send(.window(stream: id, credit: credit))
        }
        return piece
    }

    private func take(_ id: UInt32) async throws -> Piece {
        guard let inbox = inboxes[id] else { throw TunnelFault.lost }
        if !inbox.events.isEmpty { return inboxes[id]?.events.removeFirst() ?? .end([]) }
        if let fault = inbox.over { throw fault }
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Piece, any Error>) in
                guard !Task.isCancelled, inboxes[id] != nil else { return continuation.resume(throwing: CancellationError()) }
                inboxes[id]?.waiter = continuation
            }
        } onCancel: {
            Task { await self.abandon(id) }
        }
    }

    /// Whoever waits on this stream was cancelled.
    private func abandon(_ id: UInt32) {
        let (waiter, writer) = (inboxes[id]?.waiter, inboxes[id]?.writer)
        inboxes[id]?.waiter = nil
        inboxes[id]?.writer = nil
        waiter?.resume(throwing: CancellationError())
        writer?.resume(throwing: CancellationError())
    }

    private func deliver(_ id: UInt32, _ piece: Piece) {
        guard let inbox = inboxes[id] else { return }
        guard let waiter = inbox.waiter else {
            inboxes[id]?.events.append(piece)
            return
        }
        inboxes[id]?.waiter = nil
        waiter.resume(returning: piece)
    }

    private func finish(_ id: UInt32, _ fault: TunnelFault) {
        guard let inbox = inboxes[id] else { return }
        inboxes[id]?.over = fault
        inboxes[id]?.waiter = nil
        inboxes[id]?.writer = nil
        inbox.waiter?.resume(throwing: fault)
        inbox.writer?.resume(throwing: fault)
        resets.removeValue(forKey: id)?()
    }

    private func send(_ frame: TunnelFrame) async throws {
        guard !isClosed else { throw TunnelFault.lost }
        let bytes = frame.bytes
        pending.append(bytes)
        pendingBytes += bytes.count
        waker.yield()
        // Only data waits: a word about a stream must not stand behind its own reader.
        guard case .data = frame, pendingBytes > Self.mostPending else { return }
        await withCheckedContinuation { senders.append($0) }
    }

    static func word(_ value: some Encodable) -> [UInt8] { (try? JSONEncoder().encode(value)).map { Array($0) } ?? [] }
}

/// How the answer of a call begins.
public struct ExchangeHead: Hashable, Sendable, Codable {
    public var status: Int

    public init(status: Int) { self.status = status }
}

/// One stream, as whoever uses it sees it.
public struct TunnelStream: Sendable {
    let link: TunnelLink
    let id: UInt32

    /// Sends bytes; waits while the other side has not read what was sent.
    public func write(_ bytes: [UInt8]) async throws { try await link.writeData(id, bytes) }

    public func writeHead(_ word: some Encodable) async throws { try await link.writeHead(id, TunnelLink.word(word)) }

    /// This side has said all.
    public func end() async { await link.end(id, trailer: []) }
    public func end(_ trailer: some Encodable) async { await link.end(id, trailer: TunnelLink.word(trailer)) }

    /// Ends it for both sides.
    public func reset(_ fault: TunnelFault) async { await link.reset(id, fault) }

    /// How the answer begins; nil when it ended without.
    public func head() async throws -> [UInt8]? {
        guard case .head(let word) = try await link.next(id) else { return nil }
        return word
    }

    /// The next bytes; nil at the end, whose trailer goes to `trailer`.
    public func next(_ trailer: (([UInt8]) -> Void)? = nil) async throws -> [UInt8]? {
        switch try await link.next(id) {
        case .data(let bytes): return bytes
        case .end(let word):
            trailer?(word)
            return nil
        case .head: throw TunnelFault(code: "bad_answer", message: "A head came in the middle of an answer.")
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
        do {
            let value = try await body()
            await link.forget(id)
            return value
        } catch {
            await link.forget(id)
            throw error
        }
    }
}
