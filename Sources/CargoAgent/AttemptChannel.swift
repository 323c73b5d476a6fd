import CargoArtifact
import CargoClient
import CargoRunner
import CargoTunnel
import CargoWire
import Logging

/// Why an attempt must stop before its own end.
enum StopReason: Sendable {
    /// The lease is over by this host's clock, or the coordinator says so: another host may begin; report nothing.
    case leaseLost
    /// Its owner cancelled the job.
    case cancelled
    /// This host is going away: hand the job back.
    case draining
}

/// One attempt's line to the coordinator: log bytes out, lease renewals and cancel in, one heartbeat under way at a time.
actor AttemptChannel {
    /// The first heartbeats go at once, so that a short job's first line arrives at once; later ones gather this long.
    static let gathering: Duration = .milliseconds(20)
    private static let promptHeartbeats = 8

    nonisolated let job: String
    nonisolated let lease: Lease
    private let session: HostSession
    private let logger: Logger
    private var term: LeaseTerm
    private var outbox: LogOutbox
    private let gathering: Duration
    private var state: JobStatus?
    /// How the answer to a model request begins.
    private var answer: AnswerHead?
    private var stateIsNew = false
    /// Carries the answer's bytes as they come, where a tunnel does; what it loses goes with heartbeats.
    private var line: TunnelStream?
    private let lineOpened = Gate()
    /// Progress that no heartbeat has carried yet.
    private var shown: JSONValue?
    private var sentHeartbeats = 0
    private(set) var reason: StopReason?
    /// The run is over: the clock no longer stops anything, only the coordinator's word does.
    private var reporting = false
    private let stopGate = Gate()
    private let bell = Bell()
    private let room = Bell()
    private let progress = Bell()

    /// - Parameter gathering: how long bytes wait for others after the first heartbeats.
    init(
        job: String, lease: Lease, grantedAt: ContinuousClock.Instant, session: HostSession, logStart: Int64, logger: Logger,
        gathering: Duration = AttemptChannel.gathering
    ) {
        self.job = job
        self.lease = lease
        self.session = session
        self.logger = logger
        self.gathering = gathering
        term = LeaseTerm(grantedAt: grantedAt, seconds: lease.seconds)
        outbox = LogOutbox(start: logStart)
    }

    var grace: Double { term.grace }

    // MARK: The job's side

    /// Takes log bytes; waits while too much is held, which holds up the job.
    func append(_ stream: LogChunk.Stream, _ bytes: [UInt8]) async {
        // Nobody will ask for these bytes again.
        if reason == .leaseLost { return }
        let wasEmpty = !outbox.hasUnsent
        outbox.append(stream, bytes)
        if answer != nil { await send(bytes, after: wasEmpty) } else if wasEmpty { bell.ring() }
        while outbox.isFull, reason != .leaseLost, !Task.isCancelled { await room.wait() }
    }

    /// Sends bytes of an answer on its own stream, or rings for a heartbeat.
    private func send(_ bytes: [UInt8], after wasEmpty: Bool) async {
        if line == nil, !lineOpened.isOpen, await openLine() { return }
        guard let line, wasEmpty else { return bell.ring() }
        outbox.handedOver()
        do { try await line.write(bytes) } catch { lost(line) }
    }

    /// Opens the stream with all that is held; false where there is no tunnel.
    private func openLine() async -> Bool {
        let logs = outbox.nextBatch()
        guard !outbox.hasUnsent else {
            outbox.unanswered()
            return false
        }
        stateIsNew = false
        var heartbeat = Heartbeat(lease: lease, state: state, logs: logs)
        heartbeat.answer = answer
        do {
            line = try await session.call { [job, heartbeat] in try await $0.answering(job, heartbeat) }
        } catch {
            logger.debug("no stream for an answer: heartbeats carry it", metadata: ["error": "\(error)"])
        }
        guard line != nil else {
            outbox.unanswered()
            stateIsNew = true
            return false
        }
        lineOpened.open()
        return true
    }

    private func lost(_ lost: TunnelStream) {
        guard line?.id == lost.id else { return }
        line = nil
        lost.forget()
        if !outbox.isDurable {
            outbox.unanswered()
            stateIsNew = true
            bell.ring()
            room.ring()
        }
        progress.ring()
    }

    /// Takes the coordinator's word for what is on disk, until the stream ends.
    private func hearLine() async {
        await lineOpened.wait()
        guard let line else { return }
        do {
            while let durable = try await line.nextNumber() {
                outbox.answered(batchFrom: 0, durable: durable)
                if !outbox.isFull { room.ring() }
                progress.ring()
            }
        } catch {}
        lost(line)
    }

    func append(_ chunk: LogChunk) async { await append(chunk.stream, chunk.bytes) }

    func report(_ state: JobStatus) {
        self.state = state
        stateIsNew = true
        bell.ring()
    }

    /// The answer to a model request begins: said with its first bytes, which nothing may hold up.
    func begin(_ head: AnswerHead) {
        answer = head
        state = .processing
        stateIsNew = true
    }

    /// Shown to readers with the next heartbeat; only the newest is kept.
    func show(_ progress: RunProgress) {
        shown = .object([
            "phase": .string(progress.phase), "current": .integer(progress.current), "total": .integer(progress.total),
        ])
        // What has begun in the meantime is not taken back.
        if state == nil { report(.provisioning) } else { bell.ring() }
    }

    /// Tells the attempt to stop; the first reason stands, except that a lost lease overrides all.
    func stop(_ why: StopReason) {
        if reason == nil || why == .leaseLost { reason = why }
        stopGate.open()
        bell.ring()
        room.ring()
        progress.ring()
    }

    /// Returns when the attempt must stop, or the task is cancelled.
    nonisolated func stopRequested() async { await stopGate.wait() }

    /// From here on the outcome is kept on disk and only has to reach the coordinator, however long that takes.
    func beginReporting() { reporting = true }

    var logStart: Int64 { outbox.durable }
    var logTail: [LogChunk] { outbox.tail }

    /// Returns true once every log byte is on the coordinator's disk, false when the lease was lost.
    func flush() async -> Bool {
        while !outbox.isDurable {
            if reason == .leaseLost || Task.isCancelled { return false }
            if let line { line.end() } else { bell.ring() }
            await progress.wait()
        }
        return reason != .leaseLost
    }

    // MARK: The coordinator's side

    /// Sends heartbeats until its task is cancelled or the lease is lost.
    func beat() async {
        await session.runs(job) { [weak self] in await self?.stop(.cancelled) }
        async let _: Void = hearLine()
        await sendHeartbeats()
        await session.ended(job)
    }

    private func sendHeartbeats() async {
        var backoff = Backoff(first: .milliseconds(50), most: .seconds(2))
        var notBefore = ContinuousClock.now
        while !Task.isCancelled, reason != .leaseLost {
            let now = ContinuousClock.now
            if !reporting, now >= term.stopAt {
                logger.warning("the lease ends without a renewal: stopping")
                stop(.leaseLost)
                return
            }
            let due = outbox.hasUnsent || stateIsNew || shown != nil ? notBefore : max(notBefore, term.heartbeatAt)
            if now < due {
                await bell.wait(until: reporting ? due : min(due, term.stopAt))
                continue
            }
            if await send() {
                backoff.reset()
                let pause = sentHeartbeats < AttemptChannel.promptHeartbeats ? Duration.zero : gathering
                notBefore = ContinuousClock.now + pause
            } else {
                notBefore = ContinuousClock.now + backoff.next()
            }
        }
    }

    /// One heartbeat; false when it had no useful answer.
    private func send() async -> Bool {
        let start = outbox.sent
        let logs = outbox.nextBatch()
        var heartbeat = Heartbeat(
            lease: lease, state: stateIsNew ? state : nil, logs: logs.isEmpty ? nil : logs, progress: shown)
        heartbeat.answer = stateIsNew || !logs.isEmpty ? answer : nil
        shown = nil
        let wasNew = stateIsNew
        stateIsNew = false
        let sentAt = ContinuousClock.now
        let timeout = term.heartbeatTimeout
        do {
            let reply = try await session.call { [job, heartbeat] in try await $0.heartbeat(job, heartbeat, timeout: timeout) }
            sentHeartbeats += 1
            term.renewed(at: sentAt, seconds: reply.seconds)
            let before = outbox.durable
            // One that carried nothing tells nothing of what is under way on the answer's own stream.
            outbox.answered(batchFrom: logs.isEmpty ? 0 : start, durable: reply.durableOffset)
            if !outbox.isFull { room.ring() }
            progress.ring()
            if reply.cancel, reason == nil {
                logger.info("cancelled by its owner: stopping")
                stop(.cancelled)
            }
            // Nothing moved although something was sent: wait as after a failure, so that no loop turns hot.
            return logs.isEmpty || outbox.durable > before
        } catch let error as ClientError where AttemptChannel.meansLost(error) {
            logger.warning("the lease is lost: stopping", metadata: ["answer": "\(error.code)"])
            stop(.leaseLost)
            return false
        } catch {
            outbox.unanswered()
            if wasNew { stateIsNew = true }
            if !(error is CancellationError) {
                logger.notice("a heartbeat had no answer: trying again", metadata: ["error": "\(error)"])
            }
            return false
        }
    }

    /// The coordinator's word that this attempt is not this host's any more.
    static func meansLost(_ error: ClientError) -> Bool {
        error.code == "lease_lost" || error.status == 404 || error.status == 410
    }
}
