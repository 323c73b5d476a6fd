import FoundationEssentials
import Synchronization

/// Whoever carries a link's frames to the other side.
public protocol TunnelCarrier: AnyObject, Sendable {
    /// Frames wait: `TunnelLink.takePending` has them. Told once until they are taken.
    func framesWait()
}

/// One connection's streams as calls: both ends of a tunnel speak through one of these. A carrier takes what goes out, and
/// `received` gets what comes in.
///
/// Its state stands behind a lock, not in an actor: a word of an answer is taken and passed on by the thread that has it.
public final class TunnelLink: Sendable {
    /// Carries what a stream's reader has not read: bounded by the stream's window.
    private struct Inbox {
        var events: [Piece] = []
        var waiter: CheckedContinuation<Piece, any Error>?
        var writer: CheckedContinuation<Void, any Error>?
        var over: TunnelFault?
        /// Finished when the peer gives the stream up.
        var resetBell: AsyncStream<Void>.Continuation?

        /// Bytes up to which data joins what waits before it.
        private static let crumb = 4 << 10

        /// Keeps a piece for the reader. Frames of a few bytes, or of none, would cost more than the window that bounds them:
        /// they become one piece, so that a stream's window is some hundred pieces at most.
        mutating func keep(_ piece: Piece) {
            guard case .data(let bytes) = piece, case .data(let last)? = events.last,
                bytes.isEmpty || last.count + bytes.count <= Inbox.crumb
            else { return events.append(piece) }
            if !bytes.isEmpty { events[events.count - 1] = .data(last + bytes) }
        }
    }

    /// One thing that came on a stream.
    public enum Piece: Hashable, Sendable {
        case head([UInt8])
        case data([UInt8])
        case end([UInt8])
        /// Nothing: whoever waits was told by `expire` that it has waited long enough.
        case late
    }

    private struct State {
        var streams: TunnelStreams
        var inboxes: [UInt32: Inbox] = [:]
        /// Frames that wait to go out, in order; what is beyond `mostPending` bytes holds up whoever sends data.
        var pending: [[UInt8]] = []
        var pendingBytes = 0
        var senders: [CheckedContinuation<Void, Never>] = []
        var carrier: (any TunnelCarrier)?
        /// Bytes of bodies that are being gathered.
        var gathered = 0
        var isClosed = false
        var lastHeard = ContinuousClock.now
    }

    /// Who goes on because of something that came: resumed when the lock is free again.
    private struct Resumption {
        var reader: CheckedContinuation<Piece, any Error>?
        var piece = Piece.late
        var writer: CheckedContinuation<Void, any Error>?
        var fault: TunnelFault?
        var bell: AsyncStream<Void>.Continuation?

        func go() {
            if let fault {
                reader?.resume(throwing: fault)
                writer?.resume(throwing: fault)
            } else {
                reader?.resume(returning: piece)
                writer?.resume()
            }
            bell?.finish()
        }
    }

    /// Answers the streams that the peer opens. Returning ends the stream; throwing a `TunnelFault` resets it.
    public typealias Handler = @Sendable (TunnelOpening, TunnelStream) async throws -> Void

    /// Bytes of one data frame at most: others get between.
    static let piece = 64 << 10
    private static let mostPending = 1 << 20
    /// A peer that reads nothing of what it asks for is not written to without end.
    private static let mostUnread = 16 << 20
    /// Bytes of all bodies together that are gathered before somebody works on them: a peer has hundreds of streams.
    static let mostGathered = 128 << 20

    private let state: Mutex<State>
    private let opened: AsyncStream<(UInt32, TunnelOpening)>
    private let openings: AsyncStream<(UInt32, TunnelOpening)>.Continuation
    public let side: TunnelStreams.Side

    public init(_ side: TunnelStreams.Side) {
        self.side = side
        state = Mutex(State(streams: TunnelStreams(side)))
        (opened, openings) = AsyncStream.makeStream(bufferingPolicy: .bufferingOldest(TunnelStreams.mostStreams))
    }

    // MARK: The connection

    /// From here on the carrier is told when frames wait, until the link closes.
    public func carry(by carrier: any TunnelCarrier) {
        let isWaiting = state.withLock { state in
            guard !state.isClosed else { return false }
            state.carrier = carrier
            return !state.pending.isEmpty
        }
        if isWaiting { carrier.framesWait() }
    }

    /// The frames that wait to go out, in order; nil where none do. Who waited for room goes on.
    public func takePending() -> [[UInt8]]? {
        let (batch, waiting) = state.withLock { state -> ([[UInt8]], [CheckedContinuation<Void, Never>]) in
            defer { (state.pending, state.pendingBytes, state.senders) = ([], 0, []) }
            return (state.pending, state.senders)
        }
        for sender in waiting { sender.resume() }
        return batch.isEmpty ? nil : batch
    }

    /// Answers what the peer opens, until the link closes or the task is cancelled; `TunnelStreams.mostStreams` at once.
    public func serve(_ handler: @escaping Handler) async {
        await withTaskGroup(of: Void.self) { group in
            var running = 0
            for await (id, opening) in opened {
                // A stream that its peer resets makes room for the next at once, its handler only when it has ended.
                if running == TunnelStreams.mostStreams {
                    await group.next()
                    running -= 1
                }
                running += 1
                group.addTask {
                    let stream = TunnelStream(link: self, id: id)
                    do {
                        try await self.untilReset(id) { try await handler(opening, stream) }
                        self.end(id, trailer: [])
                        self.dispose(id)
                    } catch let fault as TunnelFault {
                        self.reset(id, fault)
                    } catch {
                        self.reset(id, TunnelFault(code: "failed", message: "The other side failed at this.", status: 500))
                    }
                }
            }
            group.cancelAll()
        }
    }

    /// Runs `body` until the peer resets the stream, which cancels it.
    private func untilReset(_ id: UInt32, _ body: @escaping @Sendable () async throws -> Void) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            let (bell, ringer) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
            state.withLock { state in
                if state.inboxes[id] == nil || state.inboxes[id]?.over != nil { return ringer.finish() }
                state.inboxes[id]?.resetBell = ringer
            }
            group.addTask { try await body() }
            group.addTask {
                for await _ in bell {}
                if !Task.isCancelled { throw TunnelFault.cancelled }
            }
            defer { group.cancelAll() }
            try await group.next()
        }
    }

    /// What became of a message: a peer is owed a word for what was refused.
    public enum Reception: Hashable, Sendable { case taken, refused }

    /// Takes one message of the peer. Throws when the peer broke the rules: the connection is closed then.
    @discardableResult
    public func received(_ bytes: [UInt8]) throws -> Reception {
        let frame = try TunnelFrame(bytes)
        var refusal: (UInt32, TunnelFault)?
        let resumption = try state.withLock { state -> Resumption? in
            state.lastHeard = .now
            guard !state.isClosed, let event = try state.streams.receive(frame) else { return nil }
            switch event {
            case .opened(let id, let word):
                guard let opening = try? JSONDecoder().decode(TunnelOpening.self, from: Data(word)),
                    opening.operation.opener != side
                else {
                    refusal = (
                        id, TunnelFault(code: "unknown_operation", message: "There is no such operation.", status: 404)
                    )
                    return nil
                }
                state.inboxes[id] = Inbox()
                if case .enqueued = openings.yield((id, opening)) { return nil }
                refusal = (
                    id, TunnelFault(code: "overloaded", message: "Too many calls at once.", status: 503, retryable: true)
                )
                return nil
            case .head(let id, let word): return Self.deliver(id, .head(word), &state)
            case .data(let id, let bytes): return Self.deliver(id, .data(bytes), &state)
            case .ended(let id, let word): return Self.deliver(id, .end(word), &state)
            case .reset(let id, let word):
                let fault = (try? JSONDecoder().decode(TunnelFault.self, from: Data(word))) ?? TunnelFault.cancelled
                return Self.finish(id, fault, &state)
            case .room(let id):
                defer { state.inboxes[id]?.writer = nil }
                return Resumption(writer: state.inboxes[id]?.writer)
            case .goingAway: return nil
            }
        }
        resumption?.go()
        guard let (id, fault) = refusal else { return .taken }
        reset(id, fault)
        return .refused
    }

    /// The peer showed that it lives.
    public func heard() { state.withLock { $0.lastHeard = .now } }

    public var silence: Duration { ContinuousClock.now - state.withLock { $0.lastHeard } }

    public var takesNew: Bool { state.withLock { !$0.isClosed && !$0.streams.peerGoesAway } }

    /// Says that this side takes no new streams.
    public func goAway() { try? send(.goAway) }

    /// The connection is gone: everyone who waits hears it.
    public func close() {
        let (waiting, resumptions) = state.withLock { state -> ([CheckedContinuation<Void, Never>], [Resumption]) in
            guard !state.isClosed else { return ([], []) }
            state.isClosed = true
            state.carrier = nil
            defer { state.senders = [] }
            return (state.senders, Array(state.inboxes.keys).compactMap { Self.finish($0, .lost, &state) })
        }
        openings.finish()
        for sender in waiting { sender.resume() }
        for resumption in resumptions { resumption.go() }
    }

    // MARK: Streams

    /// Opens a stream.
    public func open(_ opening: TunnelOpening) throws -> TunnelStream {
        let word = Self.word(opening)
        // Numbered and sent under one lock: a peer hears of streams in the order of their numbers.
        let id = try sending { state -> (UInt32, TunnelFrame?) in
            guard !state.isClosed, let id = state.streams.open() else { throw TunnelFault.lost }
            state.inboxes[id] = Inbox()
            return (id, .open(stream: id, word))
        }
        return TunnelStream(link: self, id: id)
    }

    /// One call: a body out, a status and a body back.
    public func exchange(_ opening: TunnelOpening, _ body: [UInt8], limit: Int) async throws -> (status: Int, body: [UInt8]) {
        let stream = try open(opening)
        return try await stream.whole {
            try await stream.write(body)
            stream.end()
            guard let head = try await stream.head(),
                let status = try? JSONDecoder().decode(ExchangeHead.self, from: Data(head)).status
            else { throw TunnelFault(code: "bad_answer", message: "The other side's answer has no status.") }
            return (status, try await stream.collect(limit: limit))
        }
    }

    func writeData(_ id: UInt32, _ bytes: [UInt8]) async throws {
        var rest = bytes[...]
        while !rest.isEmpty {
            let wanted = min(rest.count, Self.piece)
            let count = try sending { state -> (Int, TunnelFrame?) in
                if let fault = state.inboxes[id]?.over { throw fault }
                guard let count = state.streams.mayWrite(id, wanted) else { throw TunnelFault.lost }
                return (count, count > 0 ? .data(stream: id, count == bytes.count ? bytes : Array(rest.prefix(count))) : nil)
            }
            guard count > 0 else {
                try await untilWindow(id)
                continue
            }
            await room()
            rest = rest.dropFirst(count)
        }
    }

    /// Waits until the peer gives the stream credit.
    private func untilWindow(_ id: UInt32) async throws {
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
                let now: Result<Void, any Error>? = state.withLock { state in
                    guard let inbox = state.inboxes[id], inbox.over == nil else {
                        return .failure(state.inboxes[id]?.over ?? .lost)
                    }
                    if Task.isCancelled { return .failure(CancellationError()) }
                    // Credit that came since is there to be taken.
                    if state.streams.mayWriteNow(id) { return .success(()) }
                    state.inboxes[id]?.writer = continuation
                    return nil
                }
                if let now { continuation.resume(with: now) }
            }
        } onCancel: {
            abandon(id)
        }
    }

    /// An empty frame of data: this side has begun with what the stream asks for.
    func acknowledge(_ id: UInt32) throws { try send(.data(stream: id, [])) }

    func writeHead(_ id: UInt32, _ word: [UInt8]) throws {
        if let fault = state.withLock({ $0.inboxes[id]?.over }) { throw fault }
        try send(.head(stream: id, word))
    }

    func end(_ id: UInt32, trailer: [UInt8]) {
        try? sending { state in ((), state.streams.end(id) ? .end(stream: id, trailer) : nil) }
    }

    func reset(_ id: UInt32, _ fault: TunnelFault) {
        try? sending { state in
            state.inboxes[id] = nil
            return ((), state.streams.reset(id) ? .reset(stream: id, Self.word(fault)) : nil)
        }
    }

    /// Whoever answered this stream has: what still comes on it is dropped.
    private func dispose(_ id: UInt32) { state.withLock { $0.inboxes[id] = nil } }

    /// Forgets a stream that both sides are done with; one that is still open is reset.
    func forget(_ id: UInt32) {
        guard state.withLock({ $0.inboxes[id] != nil }) else { return }
        reset(id, .cancelled)
    }

    /// Counts bytes that are gathered for a body, as far as there is room for them.
    func gather(_ count: Int) throws {
        try state.withLock { state in
            guard state.gathered + count <= Self.mostGathered else {
                throw TunnelFault(code: "overloaded", message: "Too much is sent at once.", status: 503, retryable: true)
            }
            state.gathered += count
        }
    }

    /// The body is somebody's, or nobody's any more.
    func release(_ count: Int) { state.withLock { $0.gathered -= count } }

    /// Whoever waits for the next piece of this stream gets `late`.
    func expire(_ id: UInt32) {
        let waiter = state.withLock { state in
            defer { state.inboxes[id]?.waiter = nil }
            return state.inboxes[id]?.waiter
        }
        waiter?.resume(returning: .late)
    }

    func next(_ id: UInt32) async throws -> Piece {
        let piece = try await take(id)
        if case .data(let bytes) = piece {
            try sending { state in
                ((), state.streams.used(id, bytes.count).map { .window(stream: id, credit: $0) })
            }
        }
        return piece
    }

    private func take(_ id: UInt32) async throws -> Piece {
        let there = try state.withLock { state -> Piece? in
            guard let inbox = state.inboxes[id] else { throw TunnelFault.lost }
            if !inbox.events.isEmpty { return state.inboxes[id]?.events.removeFirst() }
            if let fault = inbox.over { throw fault }
            return nil
        }
        if let there { return there }
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Piece, any Error>) in
                let now: Result<Piece, any Error>? = state.withLock { state in
                    guard let inbox = state.inboxes[id] else { return .failure(TunnelFault.lost) }
                    if let first = inbox.events.first {
                        state.inboxes[id]?.events.removeFirst()
                        return .success(first)
                    }
                    if let fault = inbox.over { return .failure(fault) }
                    if Task.isCancelled { return .failure(CancellationError()) }
                    state.inboxes[id]?.waiter = continuation
                    return nil
                }
                if let now { continuation.resume(with: now) }
            }
        } onCancel: {
            abandon(id)
        }
    }

    /// Whoever waits on this stream was cancelled.
    private func abandon(_ id: UInt32) {
        let (waiter, writer) = state.withLock { state in
            defer {
                state.inboxes[id]?.waiter = nil
                state.inboxes[id]?.writer = nil
            }
            return (state.inboxes[id]?.waiter, state.inboxes[id]?.writer)
        }
        waiter?.resume(throwing: CancellationError())
        writer?.resume(throwing: CancellationError())
    }

    private static func deliver(_ id: UInt32, _ piece: Piece, _ state: inout State) -> Resumption? {
        guard let reader = state.inboxes[id]?.waiter else {
            state.inboxes[id]?.keep(piece)
            return nil
        }
        state.inboxes[id]?.waiter = nil
        return Resumption(reader: reader, piece: piece)
    }

    private static func finish(_ id: UInt32, _ fault: TunnelFault, _ state: inout State) -> Resumption? {
        guard var inbox = state.inboxes[id] else { return nil }
        let resumption = Resumption(reader: inbox.waiter, writer: inbox.writer, fault: fault, bell: inbox.resetBell)
        inbox.over = fault
        (inbox.waiter, inbox.writer, inbox.resetBell) = (nil, nil, nil)
        state.inboxes[id] = inbox
        return resumption
    }

    // MARK: Sending

    private func send(_ frame: TunnelFrame) throws { try sending { _ in ((), frame) } }

    /// Changes the state, and sends what that asks for before anything else can.
    private func sending<Value>(_ change: (inout State) throws -> (Value, TunnelFrame?)) throws -> Value {
        let (value, carrier, isUnread) = try state.withLock { state in
            let (value, frame) = try change(&state)
            guard let frame else { return (value, (any TunnelCarrier)?.none, false) }
            guard !state.isClosed else { throw TunnelFault.lost }
            let bytes = frame.bytes
            state.pending.append(bytes)
            state.pendingBytes += bytes.count
            return (value, state.pending.count == 1 ? state.carrier : nil, state.pendingBytes > Self.mostUnread)
        }
        if isUnread { close() } else { carrier?.framesWait() }
        return value
    }

    /// Waits while too much waits to go out. Only who sends data does: a word about a stream must not stand behind its own
    /// reader.
    private func room() async {
        guard state.withLock({ $0.pendingBytes > Self.mostPending && !$0.isClosed }) else { return }
        await withCheckedContinuation { continuation in
            let hasRoom = state.withLock { state in
                if state.pendingBytes <= Self.mostPending || state.isClosed { return true }
                state.senders.append(continuation)
                return false
            }
            if hasRoom { continuation.resume() }
        }
    }

    static func word(_ value: some Encodable) -> [UInt8] { (try? JSONEncoder().encode(value)).map { Array($0) } ?? [] }
}

/// How the answer of a call begins.
public struct ExchangeHead: Hashable, Sendable, Codable {
    public var status: Int

    public init(status: Int) { self.status = status }
}
