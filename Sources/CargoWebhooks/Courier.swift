import CargoArtifact
public import CargoQueue
public import FoundationEssentials
public import Logging
public import ServiceLifecycle
import Synchronization

/// Drains the outbox: takes what is due, signs it, sends it, and writes down what came of it.
public struct Courier: Service {
    /// The JSON of a message, from its job's record; nil when the job is gone.
    public typealias Render = @Sendable (Webhook) async throws -> Data?

    /// Messages on their way at once.
    public var mostUnderWay = 64
    /// Of one account: a receiver that is slow holds up its own account only.
    public var mostOfAnAccount = 8
    /// The longest that a new message waits when the bell was not heard.
    public var pollSeconds = 1.0
    public var plan = RetryPlan()
    public var random: @Sendable () -> Double = { Double.random(in: 0..<1) }
    public var clocks = Clocks()

    private let outbox: any WebhookOutbox
    private let dial: Dial
    private let render: Render
    /// Rung when a row came into the outbox.
    private let bell: Doorbell
    private let log: Logger

    public init(outbox: any WebhookOutbox, dial: Dial, bell: Doorbell, log: Logger, render: @escaping Render) {
        self.outbox = outbox
        self.dial = dial
        self.bell = bell
        self.log = log
        self.render = render
    }

    /// Until the task is cancelled or the service group winds down; what is on its way then is still settled.
    public func run() async throws {
        let underWay = UnderWay()
        await withGracefulShutdownHandler {
            await withDiscardingTaskGroup { group in
                while !Task.isCancelled, !underWay.isClosed {
                    for webhook in await take(underWay) {
                        underWay.add(webhook.job.account)
                        group.addTask {
                            await deliver(webhook)
                            underWay.remove(webhook.job.account)
                            bell.ring(.work)
                        }
                    }
                    _ = await bell.wait(seconds: pollSeconds)
                }
            }
        } onGracefulShutdown: {
            underWay.close()
            bell.ring(.closing)
        }
    }

    /// What can be sent now. One call takes few rows, so that one account cannot fill all places at once.
    private func take(_ underWay: UnderWay) async -> [Webhook] {
        var taken: [Webhook] = []
        var counts = underWay.counts
        do {
            while true {
                let free = mostUnderWay - counts.values.reduce(0, +)
                guard free > 0 else { return taken }
                let busy = Set(counts.filter { $0.value >= mostOfAnAccount }.keys)
                let rows = try await outbox.takeWebhooks(
                    limit: min(free, mostOfAnAccount), skipping: busy, holdSeconds: dial.seconds * 2 + 30)
                guard !rows.isEmpty else { return taken }
                for row in rows { counts[row.job.account, default: 0] += 1 }
                taken += rows
            }
        } catch {
            log.warning("The outbox could not be read; it is tried again.", metadata: ["error": "\(error)"])
            return taken
        }
    }

    /// One attempt of one message, settled.
    func deliver(_ webhook: Webhook) async {
        let begun = clocks.uptime()
        let at = clocks.wall()
        let result = await send(webhook, at: at)
        let took = clocks.uptime().milliseconds - begun.milliseconds
        let now = clocks.wall()
        let fate = plan.fate(after: result, attempts: webhook.attempts, since: webhook.since, now: now, random: random())
        do {
            try await outbox.settle(webhook, result.attempt(at: at, milliseconds: took), fate)
        } catch {
            log.warning(
                "A webhook's attempt could not be written down; it is sent again when its hold is over.",
                metadata: ["job": "\(webhook.job.id)", "webhook": "\(webhook.id)", "error": "\(error)"])
        }
    }

    private func send(_ webhook: Webhook, at: Timestamp) async -> DeliveryResult {
        do {
            let url = try WebhookURL(webhook.callback.url)
            guard let body = try await render(webhook) else { return .refused("the job's record is gone") }
            let texts = try await outbox.webhookSecrets(of: webhook.job.account, making: WebhookSecret.make().text)
            let secrets = try texts.map { text in try WebhookSecret(text) }
            let headers = WebhookSignature.headers(
                id: "msg_\(webhook.id)", timestamp: at.milliseconds / 1000, body: body, secrets: secrets)
            return await dial.post(body, to: url, headers: headers)
        } catch let refusal as Refusal {
            return .refused(refusal.message)
        } catch {
            return .unreachable("the message could not be made: \(error)")
        }
    }
}

/// How many messages of each account are on their way; as many as `mostUnderWay`.
private final class UnderWay: Sendable {
    private let state = Mutex<(counts: [Int64: Int], closed: Bool)>(([:], false))

    var counts: [Int64: Int] { state.withLock { $0.counts } }
    var isClosed: Bool { state.withLock { $0.closed } }

    func close() { state.withLock { $0.closed = true } }

    func add(_ account: Int64) { state.withLock { $0.counts[account, default: 0] += 1 } }

    func remove(_ account: Int64) {
        state.withLock { state in
            let left = (state.counts[account] ?? 1) - 1
            state.counts[account] = left > 0 ? left : nil
        }
    }
}
