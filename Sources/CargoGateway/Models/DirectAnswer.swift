import CargoQueue
import CargoTunnel
import CargoWire
import FoundationEssentials
import NIOCore
import Synchronization

/// A request that no store sees, from the choice of a host to the last byte, over that host's tunnel. One task reads it.
///
/// Until the first byte of the answer is handed on, a host that fails is replaced by another, unseen. Whoever drops it ends
/// the host's work.
final class DirectAnswer: Sendable {
    /// A host that has the request.
    private struct Try {
        var host: String
        var stream: TunnelStream
        var began = ContinuousClock.now
        /// The host has said that it works on it.
        var isTaken = false
        var head: AnswerHead?
    }

    /// When whoever waits for a stream looks up.
    private struct Reminder {
        var at: ContinuousClock.Instant
        var stream: UInt32
        var timer: Scheduled<Void>
    }

    private struct State {
        var current: Try?
        var reminder: Reminder?
        var failedHosts: Set<String> = []
        var tries = 0
        /// Why the last try failed.
        var fault: TunnelFault?
        /// Since when no host of the model could be reached at all.
        var unreachableSince: ContinuousClock.Instant?
        /// The client has something of the answer: from here on there is no other host.
        var isShown = false
        /// Of an answer that does not stream: what has come of it.
        var body: [UInt8] = []
        /// What goes to the client before anything else is read.
        var ready: [AnswerEvent] = []
        var bytes = 0
        var events = 0
        var usage: ModelUsage?
        var isOver = false
    }

    /// How a request comes to its end.
    private enum End { case complete, failed, abandoned }

    /// A host that does not say within this time that it works on a request is passed over, at once where it says nothing else
    /// either; one that is only slow has longer.
    static let takenWithin = Duration.seconds(1.5)
    static let takenAtLast = Duration.seconds(10)
    /// A model whose hosts are all out of reach is waited for so long: hosts dial again within it.
    static let reachableWithin = Duration.seconds(12)
    /// How often whoever waits looks whether its client is still there.
    private static let glance = Duration.seconds(1)

    let id: JobID
    private let ask: ModelAsk
    private let body: [UInt8]
    private let principal: Principal
    private let hold: UsageMeter.Hold?
    private let queue: JobQueue
    private let tunnels: TunnelHub
    private let requests: DirectRequests
    /// The client's connection, whose end is the request's.
    private let client: any Channel
    private let began = ContinuousClock.now
    private let state = Mutex(State())

    /// Begins; `requests` has let it in.
    init(
        _ ask: ModelAsk, _ principal: Principal, hold: UsageMeter.Hold?, queue: JobQueue, tunnels: TunnelHub,
        requests: DirectRequests,
        client: any Channel
    ) {
        id = JobID(at: queue.settings.clocks.wall())
        self.ask = ask
        body = Array(ask.body.utf8)
        self.principal = principal
        self.hold = hold
        self.queue = queue
        self.tunnels = tunnels
        self.requests = requests
        self.client = client
    }

    deinit { finish(.abandoned) }

    /// What comes next; `idle` after `patience` seconds without anything.
    func next(patience: Double) async throws -> AnswerEvent {
        let end = ContinuousClock.now + .seconds(patience)
        while true {
            if let event = takeReady() { return event }
            guard client.isActive else {
                finish(.abandoned)
                throw CancellationError()
            }
            let now = ContinuousClock.now
            guard now < end else { return .idle }
            do {
                if let current = state.withLock({ $0.current }) {
                    try await read(current, until: min(end, now + Self.glance))
                } else {
                    try await choose(until: end)
                }
            } catch let error as TunnelFault {
                try failed(error)
            } catch let error as GatewayError {
                finish(.failed)
                throw error
            }
        }
    }

    private func takeReady() -> AnswerEvent? {
        state.withLock { state in
            guard !state.ready.isEmpty else { return nil }
            state.isShown = true
            return state.ready.removeFirst()
        }
    }

    // MARK: Choosing

    private func choose(until end: ContinuousClock.Instant) async throws {
        if tunnels.isGoingAway { throw GatewayError.goingDown }
        let (excluded, tries, fault) = state.withLock { ($0.failedHosts, $0.tries, $0.fault) }
        if tries >= ModelAsk.attempts {
            throw fault.map(GatewayError.init) ?? GatewayError(502, "model_unavailable", "No host could answer.")
        }
        guard let host = pick(excluding: excluded) ?? (excluded.isEmpty ? nil : pick(excluding: [])) else {
            return try await waitForRoom(until: end)
        }
        var question = TunnelOpening.Question(
            operation: ask.operation.rawValue, model: ask.model, stream: ask.stream, account: String(principal.account))
        (question.traceparent, question.tracestate) = (ask.trace?.parent, ask.trace?.state)
        state.withLock { state in
            state.tries += 1
            state.unreachableSince = nil
        }
        queue.scheduler.began(ask.model, on: host)
        do {
            let stream = try await tunnels.ask(question, body, of: host)
            state.withLock { $0.current = Try(host: host, stream: stream) }
        } catch {
            queue.scheduler.ended(ask.model, on: host)
            state.withLock { _ = $0.failedHosts.insert(host) }
            throw error
        }
    }

    /// The best host that can be reached, has room and does what is asked.
    private func pick(excluding: Set<String>) -> String? {
        let audience = queue.groups.audience(of: principal.account)
        var excluded = excluding
        // Each round leaves out what the last one found unable: the scheduler knows models, not operations.
        for _ in 0..<8 {
            let choices = queue.scheduler.pick(
                model: ask.model, tier: ask.tier, audience: audience, excluding: excluded,
                where: { tunnels.takes($0) && queue.groups.mayUse($0, principal.account) })
            guard !choices.isEmpty else { return nil }
            if let able = choices.first(where: can) { return able }
            excluded.formUnion(choices)
        }
        return nil
    }

    private func can(_ host: String) -> Bool {
        queue.board.seen(host)?.capabilities.models?.contains {
            $0.id == ask.model && $0.operations.contains(ask.operation)
        } == true
    }

    private func waitForRoom(until end: ContinuousClock.Instant) async throws {
        let hosts = queue.servers(of: ask.model).filter { queue.groups.mayUse($0.host, principal.account) }
        guard !hosts.isEmpty || state.withLock({ $0.tries > 0 }) else { throw GatewayError.unknownModel(ask.model) }
        guard hosts.isEmpty || hosts.contains(where: { can($0.host) }) else {
            throw GatewayError.unsupported(ask.operation, ask.model)
        }
        let now = ContinuousClock.now
        let since = state.withLock { state in
            if hosts.contains(where: { tunnels.takes($0.host) }) {
                state.unreachableSince = nil
            } else if state.unreachableSince == nil {
                state.unreachableSince = now
            }
            return state.unreachableSince
        }
        if let since, now - since > Self.reachableWithin {
            throw state.withLock({ $0.fault }).map(GatewayError.init)
                ?? GatewayError(
                    503, "unreachable",
                    "No host of '\(ask.model)' keeps a tunnel, which requests that are not durable need; ask with a durable key.",
                    retryAfter: 5)
        }
        try await requests.wait(for: ask.model, account: principal.account, seconds: max(0.001, (end - now) / .seconds(1)))
    }

    // MARK: Reading

    private func read(_ current: Try, until limit: ContinuousClock.Instant) async throws {
        let isHeard = (tunnels.link(to: current.host)?.silence).map { $0 < Self.takenWithin } ?? false
        let takenBy = max(current.began + Self.takenWithin, isHeard ? .now + Self.glance / 4 : current.began)
        let isLate = !current.isTaken && ContinuousClock.now >= min(takenBy, current.began + Self.takenAtLast)
        if isLate {
            throw TunnelFault(
                code: "overloaded", message: "The host did not take the request in time.", status: 503, retryable: true)
        }
        let piece = try await piece(current.stream, until: current.isTaken ? limit : min(limit, takenBy))
        switch piece {
        case .late: return
        case .head(let word):
            guard let head = try? JSONDecoder().decode(AnswerHead.self, from: Data(word)) else {
                throw TunnelFault(code: "bad_answer", message: "The host's answer has no beginning.", retryable: true)
            }
            queue.scheduler.observed(
                current.host, model: ask.model, seconds: (ContinuousClock.now - current.began) / .seconds(1))
            state.withLock { state in
                state.current?.isTaken = true
                state.current?.head = head
                if isStream(head) { state.ready.append(.head(head)) }
            }
        case .data(let bytes): try took(bytes, current)
        case .end(let word):
            guard let head = current.head else {
                throw TunnelFault(code: "bad_answer", message: "The host's answer has no beginning.", retryable: true)
            }
            let usage = try? JSONDecoder().decode(ModelUsage.self, from: Data(word))
            state.withLock { state in
                state.usage = usage
                if !isStream(head) {
                    state.ready += [.head(head), .body(state.body)]
                    state.body = []
                }
                state.ready.append(.ended(.complete, nil, usage))
            }
            finish(.complete)
        }
    }

    private func took(_ bytes: [UInt8], _ current: Try) throws {
        guard let head = current.head else {
            return state.withLock { $0.current?.isTaken = true }
        }
        try state.withLock { state in
            state.bytes += bytes.count
            guard isStream(head) else {
                state.body += bytes
                guard state.body.count <= Gateway.largestAnswer else {
                    throw GatewayError(502, "answer_too_large", "The answer has more than \(Gateway.largestAnswer) bytes.")
                }
                return
            }
            state.events += DirectAnswer.events(in: bytes)
            state.ready.append(.body(bytes))
        }
    }

    /// Ends of events: two line ends in a row.
    private static func events(in bytes: [UInt8]) -> Int {
        var (count, last) = (0, UInt8(0))
        for byte in bytes {
            if byte == 10, last == 10 { count += 1 }
            last = byte
        }
        return count
    }

    private func isStream(_ head: AnswerHead) -> Bool { head.contentType.hasPrefix("text/event-stream") }

    private func piece(_ stream: TunnelStream, until limit: ContinuousClock.Instant) async throws -> TunnelLink.Piece {
        remind(stream, at: limit)
        return try await stream.piece()
    }

    /// Sees to it that whoever waits for the stream looks up by then. One reminder at a time, which may come too early: a timer set
    /// and taken back for each word costs more than the word.
    private func remind(_ stream: TunnelStream, at time: ContinuousClock.Instant) {
        let old = state.withLock { state -> Scheduled<Void>? in
            if let reminder = state.reminder, reminder.at <= time, reminder.at > .now, reminder.stream == stream.id { return nil }
            let left = max(.milliseconds(1), time - .now)
            defer {
                state.reminder = Reminder(
                    at: time, stream: stream.id,
                    timer: client.eventLoop.scheduleTask(in: TimeAmount(left)) { stream.expire() })
            }
            return state.reminder?.timer
        }
        old?.cancel()
    }

    // MARK: Ends

    /// A try failed: another host is asked, unless the client has seen something or asking again would not help.
    private func failed(_ fault: TunnelFault) throws {
        let (gone, isShown) = state.withLock { state -> (Try?, Bool) in
            defer { (state.current, state.fault, state.body) = (nil, fault, []) }
            if let host = state.current?.host { state.failedHosts.insert(host) }
            return (state.current, state.isShown || !state.ready.isEmpty)
        }
        if let gone {
            gone.stream.forget()
            queue.scheduler.ended(ask.model, on: gone.host)
            requests.freed(ask.model)
            // What was wrong with the request is not the host's failure.
            if fault.retryable || fault.status >= 500 { queue.scheduler.observed(gone.host, model: ask.model, seconds: nil) }
        }
        guard !isShown else {
            finish(.failed)
            guard fault == .lost else { throw GatewayError(fault) }
            throw GatewayError(502, "host_lost", "The host was lost while it answered; ask again.")
        }
        guard fault.retryable else {
            finish(.failed)
            throw GatewayError(fault)
        }
    }

    /// Once: the host has room again, and the key is charged. Who hangs up before a host has said what an answer took is
    /// charged by what has come of it, an event a token.
    private func finish(_ end: End) {
        let ended = state.withLock { state -> State? in
            guard !state.isOver else { return nil }
            defer { (state.isOver, state.current) = (true, nil) }
            return state
        }
        guard let ended else { return }
        ended.reminder?.timer.cancel()
        requests.end(account: principal.account, bytes: body.count, failed: end == .failed)
        if let current = ended.current {
            current.stream.forget()
            queue.scheduler.ended(ask.model, on: current.host)
            requests.freed(ask.model)
        }
        guard ended.tries > 0 else { return queue.usage.release(hold) }
        let wasLeft = end == .abandoned && ended.current?.head != nil
        let took = ModelUsage(
            promptTokens: ended.usage?.promptTokens ?? (wasLeft ? body.count / 4 : 0),
            completionTokens: ended.usage?.completionTokens ?? (wasLeft ? ended.events : 0)
        ).held(to: body.count, answer: ended.bytes)
        queue.usage.record(
            principal, model: ask.model, promptTokens: took.promptTokens ?? 0, completionTokens: took.completionTokens ?? 0,
            milliseconds: (ContinuousClock.now - began) / .milliseconds(1), failed: end != .complete, hold: hold)
    }
}

extension GatewayError {
    /// What a host said of a request, as its client hears it.
    init(_ fault: TunnelFault) {
        self.init((400..<600).contains(fault.status) ? fault.status : 502, fault.code, fault.message, param: fault.param)
    }

    static func unknownModel(_ model: String) -> GatewayError {
        GatewayError(
            404, "model_not_found",
            "There is no model '\(model)' here, or no host serves it now; GET /v1/models lists those that are served.")
    }

    static func unsupported(_ operation: ModelRequest.Operation, _ model: String) -> GatewayError {
        GatewayError(400, "unsupported_operation", "The model '\(model)' does not do \(operation.rawValue).")
    }
}
