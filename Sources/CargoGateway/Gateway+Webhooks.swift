import CargoArtifact
public import CargoQueue
import CargoWebhooks
import CargoWire
public import FoundationEssentials
import HTTPTypes
import Hummingbird

/// What a callback's receiver gets, and what its sender can see and set.
extension Gateway {
    func addWebhooks(to router: Router<GatewayContext>) {
        router.get("/jobs/:id/webhooks") { request, context in
            let principal = try caller(request, .read)
            let key = try key(context, principal)
            _ = try await queue.store.job(key)
            let rows = try await queue.outbox.webhooks(of: key)
            return try Answer.json(WebhookList(webhooks: rows.map { WebhookEntry($0, $1) }))
        }
        router.post("/jobs/:id/webhooks/:webhook/replay") { request, context in
            let principal = try caller(request, .write)
            let key = try key(context, principal)
            let text = context.parameters.get("webhook") ?? ""
            guard let id = JobID(text.hasPrefix("msg_") ? text.dropFirst(4) : text[...]) else { throw GatewayError.noSuchWebhook }
            do {
                try await queue.outbox.replay(webhook: id, of: key)
            } catch StoreError.notFound {
                throw GatewayError.noSuchWebhook
            }
            let rows = try await queue.outbox.webhooks(of: key)
            return try Answer.json(WebhookList(webhooks: rows.map { WebhookEntry($0, $1) }), status: .accepted)
        }
        router.get("/webhooks/secret") { request, _ in
            let principal = try caller(request, .write)
            return try await secrets(of: principal.account)
        }
        router.post("/webhooks/secret") { request, _ in
            let principal = try caller(request, .write)
            let bytes = try await bytes(of: request, limit: 65536)
            let ask = bytes.isEmpty ? Rotation() : try StrictJSON.decode(Rotation.self, from: bytes, limit: 65536)
            let overlap = ask.overlap?.value ?? Rotation.usualOverlap
            guard (0...Rotation.longestOverlap).contains(overlap) else {
                throw GatewayError(422, "invalid_overlap", "'overlap' is a time up to 7 days, such as 24h.")
            }
            try await queue.outbox.rotateWebhookSecret(
                of: principal.account, to: WebhookSecret.make().text, overlapSeconds: overlap)
            return try await secrets(of: principal.account)
        }
    }

    private func secrets(of account: Int64) async throws -> Response {
        let texts = try await queue.outbox.webhookSecrets(of: account, making: WebhookSecret.make().text)
        return try Answer.json(SecretAnswer(secret: texts.first ?? "", previous: texts.count > 1 ? texts[1] : nil))
    }

    /// The body of a message; nil when its job is gone. The same for every attempt, because a job's end does not change.
    public func webhookBody(_ webhook: Webhook) async throws -> Data? {
        let job: Job
        do {
            job = try await describe(webhook.job)
        } catch StoreError.notFound {
            return nil
        }
        let result = job.status == .complete ? try await whatItSaid(webhook.job, job.attempt, isRequest: job.model != nil) : nil
        var body = WebhookBody(messageID: job.id, status: job.status.rawValue, result: result, error: job.error)
        if webhook.callback.shape == "job" {
            body.type = "job.\(job.status.rawValue)"
            body.timestamp = job.finishedAt
            body.data = job
        }
        return try Answer.encoder.encode(body)
    }
}

/// `type`, `timestamp` and `data` as Standard Webhooks asks, and beside them the flat shape of a plain callback.
private struct WebhookBody: Encodable {
    var type: String?
    var timestamp: String?
    var messageID: String
    var status: String
    var result: JSONValue?
    var error: JobError?
    var data: Job?

    init(messageID: String, status: String, result: JSONValue?, error: JobError?) {
        self.messageID = messageID
        self.status = status
        self.result = result
        self.error = error
    }

    enum CodingKeys: String, CodingKey {
        case type, timestamp
        case messageID = "message_id"
        case status, result, error, data
    }
}

/// `POST /webhooks/secret`.
private struct Rotation: Decodable {
    static let usualOverlap = 86400.0
    static let longestOverlap = 7 * 86400.0
    /// How long the old secret signs beside the new one.
    var overlap: Seconds?
}

private struct SecretAnswer: Encodable {
    var secret: String
    var previous: String?
}

private struct WebhookList: Encodable {
    var webhooks: [WebhookEntry]
}

/// One message as its sender sees it.
private struct WebhookEntry: Encodable {
    struct Attempt: Encodable {
        var at: String
        var status: Int?
        var milliseconds: Int64
        var problem: String?
    }

    var id: String
    var url: String
    var status: Webhook.Status
    var nextAttemptAt: String?
    var attempts: [Attempt]

    init(_ webhook: Webhook, _ log: [WebhookAttempt]) {
        id = "msg_\(webhook.id)"
        url = webhook.callback.url
        status = webhook.status
        nextAttemptAt = webhook.status == .waiting ? webhook.due.text : nil
        attempts = log.map { Attempt(at: $0.at.text, status: $0.answer, milliseconds: $0.milliseconds, problem: $0.problem) }
    }

    enum CodingKeys: String, CodingKey {
        case id, url, status
        case nextAttemptAt = "next_attempt_at"
        case attempts
    }
}

extension GatewayError {
    fileprivate static let noSuchWebhook = GatewayError(
        404, "not_found", "The job has no such message; `GET /jobs/{id}/webhooks` lists them.")
}
