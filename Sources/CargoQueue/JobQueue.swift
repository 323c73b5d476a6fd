import CargoArtifact
public import CargoWire
public import Foundation
import Synchronization
public import SystemPackage

/// What the gateway asks for: the store's jobs, the waits on them, their logs and progress, as one coordinator holds them.
public final class JobQueue: Sendable {
    public let store: any JobStore
    /// The same, where it takes steps without a task.
    let prompt: (any PromptJobStore)?
    public let outbox: any WebhookOutbox
    public let logs: LogStore
    /// Small documents beside the jobs.
    public let records: any RecordStore
    public let directory: Directory
    public let usage: UsageMeter
    public let groups: Groups
    public let pairings: Pairings
    public let board: HostBoard
    /// Which host is best for what.
    public let scheduler: Scheduler
    public let signals: JobSignals
    /// Rung when another coordinator has changed keys, hosts or groups; one task waits for it.
    public let accountsChanged = Doorbell()
    public let settings: StoreSettings
    let waiters: ClaimWaiters
    let pace = Pace()
    /// The last progress of running attempts; kept in memory only, at most 16 KiB each.
    let progress = Mutex<[JobID: (version: UInt64, value: JSONValue)]>([:])
    let answers: LiveAnswers
    let openRequests = OpenRequests()
    let endedRequests = EndedRequests()
    /// The others on the same store; nil where there is one coordinator.
    public let peers: Peers?
    let homes: LogHomes
    let sharing = Mutex(Sharing())
    /// The leases of requests to models that this coordinator granted: a host that is lost gives them back at once.
    private let heldRequests = HeldRequests()

    /// Bytes of one progress value at most, as JSON.
    public static let largestProgress = 16 << 10
    /// Log bytes of one attempt at most.
    public static let largestLog: Int64 = 1 << 30

    /// Makes the store of one coordinator, which is told whom to call.
    public typealias OpenStore = @Sendable (StoreSettings, StoreHooks) async throws -> any JobStore & AccountStore & WebhookOutbox

    /// Opens everything: the store, and the logs in a folder that this process has locked.
    public init(
        logs folder: FilePath, settings: StoreSettings = StoreSettings(), hooks: StoreHooks = StoreHooks(),
        calls: (any PeerCalls)? = nil, open: OpenStore
    ) async throws {
        let signals = JobSignals()
        let scheduler = Scheduler(clocks: settings.clocks)
        let waiters = ClaimWaiters(rank: { scheduler.score($0, $1) })
        self.scheduler = scheduler
        let sealing = Sealing()
        let homes = LogHomes()
        self.homes = homes
        let answers = LiveAnswers()
        self.answers = answers
        self.signals = signals
        self.waiters = waiters
        self.settings = settings
        var own = hooks
        own.onReady = {
            scheduler.waits($0)
            waiters.wake($0)
            hooks.onReady($0)
        }
        own.onStillReady = {
            scheduler.stillWaits($0)
            waiters.wake($0)
            hooks.onStillReady($0)
        }
        own.onChange = {
            signals.ring($0, .rows)
            hooks.onChange($0)
        }
        let accounts = accountsChanged
        own.onAccounts = {
            accounts.ring(.rows)
            hooks.onAccounts()
        }
        let (endedRequests, clocks) = (endedRequests, settings.clocks)
        own.onEnd = {
            if $0.requirement.kind == Requirement.request { endedRequests.note($0.key.id, at: clocks.uptime()) }
            hooks.onEnd($0)
        }
        let heldRequests = heldRequests
        own.onLeaseEnding = {
            sealing.seal($0, $1)
            answers.end($0)
            homes.forget($0)
            heldRequests.end($0)
            hooks.onLeaseEnding($0, $1)
        }
        let store = try await open(settings, own)
        self.store = store
        prompt = store as? any PromptJobStore
        outbox = store
        records = store
        logs = try LogStore(root: folder, running: try await store.runningAttempts())
        directory = try await Directory(store: store, clocks: settings.clocks)
        usage = UsageMeter(store: store, clocks: settings.clocks)
        groups = try await Groups(store: store, clocks: settings.clocks)
        pairings = Pairings(store: store, clocks: settings.clocks)
        board = HostBoard(clocks: settings.clocks)
        if let calls, let shared = store as? any SharedStore, !settings.coordinator.isEmpty {
            let secret = try await store.secret("peers", making: RandomText.hexadecimal(bytes: 32))
            peers = Peers(settings.coordinator, store: shared, secret: secret, calls: calls, clocks: settings.clocks)
        } else {
            peers = nil
        }
        sealing.set(logs)
    }

    /// The same on one SQLite database beside its logs.
    public convenience init(
        folder: FilePath, settings: StoreSettings = StoreSettings(), hooks: StoreHooks = StoreHooks()
    ) async throws {
        try await self.init(logs: folder.appending("logs"), settings: settings, hooks: hooks) { settings, hooks in
            try SQLiteJobStore(path: folder.appending("jobs.sqlite").string, settings: settings, hooks: hooks)
        }
    }

    /// The same on a PostgreSQL database that several coordinators share, logs in this one's folder.
    public convenience init(
        folder: FilePath, database url: String, settings: StoreSettings = StoreSettings(), hooks: StoreHooks = StoreHooks(),
        calls: (any PeerCalls)? = nil
    ) async throws {
        try await self.init(logs: folder.appending("logs"), settings: settings, hooks: hooks, calls: calls) { settings, hooks in
            try PostgresJobStore(url: url, settings: settings, hooks: hooks)
        }
    }

    /// The store is made before the logs that it must seal: this stands between them.
    private final class Sealing: Sendable {
        private let logs = Mutex<LogStore?>(nil)
        // Not the closure itself: a closure that is read out of a generic box is wrapped once more each time.
        func set(_ logs: LogStore) { self.logs.withLock { $0 = logs } }
        func seal(_ id: JobID, _ attempt: Int) { logs.withLock { $0 }?.seal(id, attempt: attempt) }
    }

    /// Drives leases and delays until the task is cancelled.
    public func run() async {
        while !Task.isCancelled {
            try? await store.tick()
            try? await Task.sleep(for: .milliseconds(100))
        }
    }

    /// Answers everyone who waits, so that no open stream or poll holds up the end.
    public func drain() {
        signals.close()
        waiters.close()
    }

    /// Commits what waits and closes the files.
    public func close() {
        store.close()
        logs.stop()
    }

    /// Forgets what was kept long enough: at most 100 jobs a call. Answers blobs that may be unused now.
    public func expire() async throws -> Expired {
        let expired = try await store.expire(limit: 100)
        for (key, attempt) in expired.jobs { logs.remove(key.id, attempts: attempt) }
        return expired
    }

    // MARK: Claims

    /// Waits up to `wait` seconds for a job. A cancelled task, or a caller that is gone, stops waiting and takes nothing.
    public func claim(
        _ ask: ClaimAsk, wait: Double, isGone: @Sendable () -> Bool = { false }
    ) async throws -> GrantedClaim? {
        let ask = heard(ask)
        guard let granted = try await claimOrWait(ask, wait: wait, isGone: isGone) else { return nil }
        return try await settle(granted, ask, isGone: isGone)
    }

    /// What becomes of a job that the store has granted. Apart, so that a wait has no room for it.
    @inline(never)
    private func settle(
        _ claim: GrantedClaim, _ ask: ClaimAsk, isGone: @Sendable () -> Bool
    ) async throws -> GrantedClaim? {
        var ask = ask
        var granted: GrantedClaim? = claim
        while let job = granted, !groups.mayUse(ask.host, job.job.key.account) {
            try await store.undelivered(job)
            let circles = groups.circles(ofHost: ask.host)
            if circles == ask.capabilities.circles {
                // An account that has left the group since it submitted uses its hosts no more.
                _ = try await store.cancel(job.job.key, actor: "coordinator")
            } else {
                // The host has left a group while it waited: the job is another host's.
                ask.capabilities.circles = circles
            }
            granted = try await claimOrWait(ask, wait: 0, isGone: isGone)
        }
        if let granted {
            if let peers {
                // Claimed again under the same claim id, it may be kept elsewhere: then the store says so.
                homes.forget(granted.job.key.id)
                if ask.claimID == nil {
                    homes.set(granted.job.key.id, attempt: granted.lease.epoch, [LogPart(home: peers.id, base: 0)])
                }
            }
            gave(granted, to: ask.host)
        }
        return granted
    }

    /// Grants a request to a host that has room for this model and did not ask; nil where none waits that it may have.
    public func grant(of model: String, to host: String) async throws -> GrantedClaim? {
        guard var capabilities = board.seen(host)?.capabilities,
            let place = capabilities.models?.firstIndex(where: { $0.id == model })
        else { return nil }
        // How busy it is the scheduler knows better than its last claim.
        capabilities.models?[place].active = 0
        capabilities.kinds = []
        capabilities.circles = groups.circles(ofHost: host)
        capabilities.report = board.seen(host)?.report
        let ask = ClaimAsk(host: host, capabilities: capabilities, claimID: nil)
        guard let granted = try await store.claim(ask) else { return nil }
        guard groups.mayUse(host, granted.job.key.account) else {
            try await store.undelivered(granted)
            return nil
        }
        if let peers { homes.set(granted.job.key.id, attempt: granted.lease.epoch, [LogPart(home: peers.id, base: 0)]) }
        gave(granted, to: host)
        return granted
    }

    /// A request that was granted did not reach its host: it waits again.
    public func takeBack(_ granted: GrantedClaim) async throws {
        scheduler.ended(granted.job.key.id)
        heldRequests.end(granted.job.key.id)
        try await store.undelivered(granted)
    }

    /// A host that claims is there; what it has said of itself counts for the claim.
    func heard(_ ask: ClaimAsk) -> ClaimAsk {
        var ask = ask
        let seen = board.saw(ask.host, capabilities: ask.capabilities)
        ask.capabilities.models = ask.capabilities.models.shared(with: seen.capabilities.models)
        scheduler.heard(ask.host, seen)
        ask.capabilities.report = seen.report
        pace.saw(ask.host, ask.capabilities, at: settings.clocks.uptime())
        return ask
    }

    func gave(_ granted: GrantedClaim, to host: String) {
        pace.granted(granted.job.key.account, at: settings.clocks.uptime())
        scheduler.gave(granted.job, to: host)
        if granted.job.requirement.kind == Requirement.request { heldRequests.begin(granted.job.key.id, granted.lease) }
    }

    /// A host said what it is, besides its claims.
    public func heard(_ host: String, _ capabilities: HostCapabilities) {
        var capabilities = capabilities
        let seen = board.saw(host, capabilities: capabilities)
        scheduler.heard(host, seen)
        capabilities.report = seen.report
        pace.saw(host, capabilities, at: settings.clocks.uptime())
    }

    /// What a claim by this host could be given, for a host that looks first. Nothing is reserved.
    public func offers(_ ask: ClaimAsk, limit: Int) async throws -> [JobRecord] {
        var ask = ask
        ask.capabilities.report = board.seen(ask.host)?.report
        return try await store.offers(ask, limit: limit).filter { groups.mayUse(ask.host, $0.key.account) }
    }

    /// What a job asks of a model.
    public func request(of key: JobKey) async throws -> ModelRequest {
        struct Spec: Decodable { var request: ModelRequest? }
        guard let request = try JSONDecoder().decode(Spec.self, from: Data(try await store.spec(of: key))).request else {
            throw StoreError.notFound
        }
        return request
    }

    private func claimOrWait(_ ask: ClaimAsk, wait: Double, isGone: @Sendable () -> Bool) async throws -> GrantedClaim? {
        let end = settings.clocks.uptime().advanced(bySeconds: wait)
        let bell = Doorbell()
        while true {
            let number: UInt64
            switch try await onOwnStack({ [self] in try await enter(ask, bell) }) {
            case .granted(let claim): return claim
            case .waiting(let own): number = own
            }
            let left = Double(end.milliseconds - settings.clocks.uptime().milliseconds) / 1000
            let cause = left > 0 ? await bell.wait(seconds: min(left, waiters.patience)) : []
            let unused = !waiters.leave(number) && cause.isEmpty
            if Task.isCancelled || left <= 0 || cause.contains(.closing) || isGone() {
                if unused || cause.contains(.work) { waiters.wakeAny() }
                return nil
            }
        }
    }

    /// What a look at the queue gives: a job, or a number among those that wait.
    private enum Entry: Sendable {
        indirect case granted(GrantedClaim)
        case waiting(UInt64)
    }

    private func enter(_ ask: ClaimAsk, _ bell: Doorbell) async throws -> Entry {
        var ask = ask
        // What it says of itself each ten seconds counts also while it waits.
        ask.capabilities.report = board.seen(ask.host)?.report
        // Entered before asking: what becomes ready in between rings.
        let number = waiters.enter(bell, ask.host, ask.capabilities)
        do {
            guard let granted = try await store.claim(ask) else { return .waiting(number) }
            if !waiters.leave(number) { waiters.wakeAny() }
            return .granted(granted)
        } catch {
            if !waiters.leave(number) { waiters.wakeAny() }
            throw error
        }
    }

    // MARK: Reports

    /// Renews a lease, keeps its log bytes, moves the state, answers cancel and what is durable.
    /// - Parameter base: where the part of the log that is kept here begins.
    public func heartbeat(_ id: JobID, _ beat: Heartbeat, base: Int64 = 0) async throws -> HeartbeatReply {
        let cancel = try await store.renew(id, beat.lease)
        var durable = logs.durable(id, attempt: beat.lease.epoch)
        if let answer = beat.answer { begin(answer, of: id, beat.lease) }
        if beat.state == .processing, beat.answer == nil {
            _ = try await store.report(id, beat.lease, .started, AttemptEnd())
        }
        if let chunks = beat.logs, !chunks.isEmpty {
            let pieces = chunks.map { chunk in
                LogPiece(stream: chunk.stream, offset: chunk.offset, bytes: chunk.bytes)
            }
            do {
                let end = try logs.append(pieces, to: id, attempt: beat.lease.epoch, base: base)
                if end > durable { signals.ring(id, .logs) }
                // The bytes of an answer are on their way to who asked before the rows that say so.
                if beat.state == .processing, beat.answer != nil {
                    _ = try await store.report(id, beat.lease, .started, AttemptEnd())
                }
                durable = try await logs.flushed(id, attempt: beat.lease.epoch)
            } catch StoreError.unavailable {
                // A full disk takes no bytes, but no lease either: the host keeps them and sends them again.
                durable = logs.durable(id, attempt: beat.lease.epoch)
            }
        }
        if let value = beat.progress {
            progress.withLock { $0[id] = (($0[id]?.version ?? 0) + 1, value) }
            signals.ring(id, .progress)
        }
        return HeartbeatReply(cancel: cancel, durableOffset: durable, seconds: settings.leaseSeconds)
    }

    /// What a completion lacks before it can be accepted.
    public enum CompletionError: Error, Hashable, Sendable {
        /// Bytes of the log are missing: the host goes on from `durableOffset`.
        case logMissing(durableOffset: Int64)
        /// The bytes that arrived are not those that the host counted.
        case logDiffers
    }

    public func complete(_ id: JobID, _ completion: Completion, base: Int64 = 0) async throws -> JobRecord {
        let lease = completion.lease
        let isHeld = (try? await store.holder(id, lease)) != nil
        if isHeld { _ = try await logs.flushed(id, attempt: lease.epoch) }
        let end = try end(of: id, completion, isHeld: isHeld, base: base)
        let record = try await store.report(id, lease, .finished(completion.exit, error: completion.error), end)
        ended(record, completion, end)
        return record
    }

    /// What a completion comes to, held against the log that is on disk.
    func end(of id: JobID, _ completion: Completion, isHeld: Bool, base: Int64 = 0) throws -> AttemptEnd {
        var end = AttemptEnd(outputs: completion.outputs, outcome: completion.outcome)
        (end.answer, end.usage) = (completion.answer, completion.usage)
        guard isHeld else { return end }
        let log = logs.summary(id, attempt: completion.lease.epoch) ?? (base, base == 0 ? Digest.ofNothing : nil)
        if let bytes = completion.logBytes, bytes != log.bytes {
            throw bytes > log.bytes ? CompletionError.logMissing(durableOffset: log.bytes) : CompletionError.logDiffers
        }
        if let sum = log.sha256, let sha256 = completion.logSHA256, completion.logBytes != nil, sha256 != sum {
            throw CompletionError.logDiffers
        }
        // Where the beginning lies with a coordinator that died, the host's word is all there is; it has signed it.
        (end.logBytes, end.logSHA256) = (log.bytes, log.sha256 ?? completion.logSHA256)
        return end
    }

    func ended(_ record: JobRecord, _ completion: Completion, _ end: AttemptEnd) {
        let id = record.key.id
        if record.state.status.isFinal {
            settle(id, completion.usage, bytes: end.logBytes ?? 0, failed: record.state.status != .complete)
        }
        forget(id)
    }

    public func fail(_ id: JobID, _ failure: Failure) async throws -> JobRecord {
        let retryable = failure.retryable ?? true
        // A host that hands a job back is a lost host, not a failed job.
        let input: JobInput =
            failure.error.code == JobErrorCode.hostLost.rawValue && retryable
            ? .hostLost : .failed(failure.error, retryable: retryable)
        var end = AttemptEnd()
        if let log = logs.summary(id, attempt: failure.lease.epoch) {
            _ = try await logs.flushed(id, attempt: failure.lease.epoch)
            (end.logBytes, end.logSHA256) = (log.bytes, log.sha256)
        }
        let record = try await store.report(id, failure.lease, input, end)
        scheduler.failed(id, at: failure.lease.host)
        if record.state.status.isFinal { settle(id, nil, bytes: 0, failed: true) }
        forget(id)
        return record
    }

    /// A host's connection is dead. Requests that it had not begun to answer go to another at once, others end as lost; its jobs
    /// keep their leases, because a host that comes back in time goes on with them.
    public func lost(_ host: String) async {
        pace.forget(host)
        board.forget(host)
        scheduler.forget(host)
        for (id, lease) in heldRequests.all(of: host) {
            let error = JobError(.hostLost, "The host's connection was lost.")
            _ = try? await fail(id, Failure(lease: lease, error: error, retryable: true))
        }
    }

    private func forget(_ id: JobID) {
        progress.withLock { _ = $0.removeValue(forKey: id) }
        scheduler.ended(id)
    }

    // MARK: Waiting for a job

    /// The job once it has ended, or as it is after `wait` seconds.
    public func job(_ key: JobKey, wait: Double) async throws -> (JobRecord, JobResult, metadata: Data?) {
        let end = settings.clocks.uptime().advanced(bySeconds: wait)
        let bell = Doorbell()
        if wait > 0 { signals.listen(key, bell) }
        defer { if wait > 0 { signals.leave(key, bell) } }
        while true {
            let found = try await store.job(key)
            let left = Double(end.milliseconds - settings.clocks.uptime().milliseconds) / 1000
            if found.0.state.status.isFinal || left <= 0 || Task.isCancelled { return found }
            var cause: RingCause = []
            repeat {
                let rest = Double(end.milliseconds - settings.clocks.uptime().milliseconds) / 1000
                cause = await bell.wait(seconds: max(0.001, rest))
            } while !cause.isEmpty && cause.isDisjoint(with: [.rows, .closing])
            if cause.contains(.closing) { return found }
        }
    }
}

extension LogChunk {
    /// The bytes, whichever field carries them.
    var bytes: [UInt8] {
        if let data { return Array(data.utf8) }
        if let dataBase64, let decoded = Data(base64Encoded: dataBase64) { return Array(decoded) }
        return []
    }
}

extension Digest {
    /// Of the log of a job that said nothing.
    fileprivate static let ofNothing = Digest(of: [UInt8]()).hex
}
