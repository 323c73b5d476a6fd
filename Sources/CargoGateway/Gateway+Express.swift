import CargoArtifact
public import CargoQueue
import CargoWire
import FoundationEssentials

/// A call as it stood in a connection's bytes.
public struct ExpressRequest: Sendable {
    public let call: Gateway.ExpressCall
    /// The caller's key.
    public let token: String?
    public let idempotencyKey: String?
    public let body: [UInt8]

    public init(call: Gateway.ExpressCall, token: String?, idempotencyKey: String?, body: [UInt8]) {
        self.call = call
        self.token = token
        self.idempotencyKey = idempotencyKey
        self.body = body
    }
}

/// The answer to a call that was decided on its connection's own thread: 202 or 200, and JSON.
public struct ExpressAnswer: Sendable {
    public let isAccepted: Bool
    public let location: String?
    /// Written where the answer is sent: the thread of the commits has others to serve.
    public let body: @Sendable () -> [UInt8]
}

/// The calls that come thousands of times a second, taken without a task: what a submit, a claim or a completion needs is in
/// memory, and the commit calls back.
///
/// Nothing is refused here. What is unusual about a call, and what its commit refuses, goes to the router as if it had just
/// come: nothing of it was kept, and one place says what is wrong.
extension Gateway {
    /// Bytes of a body at most.
    public static let largestExpress = 64 << 10

    /// What a call is, by its path; all are POST.
    public enum ExpressCall: Hashable, Sendable {
        case submit
        case claim
        case complete(JobID)
    }

    public static func expressCall(_ path: String) -> ExpressCall? {
        switch path {
        case "/jobs": return .submit
        case "/hosts/next-job": return .claim
        default:
            // `/jobs/`, 36 digits and dashes, `/complete`
            guard path.utf8.count == 51, path.hasPrefix("/jobs/"), path.hasSuffix("/complete") else { return nil }
            return JobID(path.dropFirst(6).dropLast(9)).map { .complete($0) }
        }
    }

    /// Takes a whole request. False: nothing has happened, the router is to answer.
    /// - Parameter answer: called once, on any thread; with nil where the router is to answer after all.
    public func express(
        _ request: ExpressRequest, isGone: @escaping @Sendable () -> Bool,
        answer: @escaping @Sendable (ExpressAnswer?) -> Void
    ) -> Bool {
        // What is to be noted goes through the router, where everything else is noted.
        guard access == nil else { return false }
        // Who wants a line for each request gets them all: the router writes them.
        guard access == nil else { return false }
        do {
            switch request.call {
            case .submit: return try expressSubmit(request, answer)
            case .claim: return try expressClaim(request, isGone, answer)
            case .complete(let id): return try expressComplete(id, request, answer)
            }
        } catch {
            return false
        }
    }

    private func expressSubmit(
        _ request: ExpressRequest, _ answer: @escaping @Sendable (ExpressAnswer?) -> Void
    ) throws -> Bool {
        let principal = try caller(request.token, .write)
        // What a limited key has left may stand in the store.
        guard !principal.policy.isLimited else { return false }
        let body = try Gateway.read(JobRequest.self, from: request.body, limit: Gateway.largestExpress)
        let idempotency = try Gateway.idempotency(request.idempotencyKey, request.body)
        guard let job = try intake().plainJob(body, account: principal.account, idempotency: idempotency) else { return false }
        let (weight, metadata) = (request.body.count, body.metadata)
        try disk.begin(weight)
        do {
            let isTaken = try queue.submitPromptly(job) { [disk] result in
                disk.end(weight)
                // Who sends a key again may be told of a job that has gone on since: that is read from the store.
                guard case .success(let submission) = result, !submission.repeated else { return answer(nil) }
                let id = submission.job.key.id.description
                answer(
                    ExpressAnswer(
                        isAccepted: true, location: "/jobs/" + id,
                        body: { Gateway.text(receipt(submission.job, metadata: metadata)) }))
            }
            if !isTaken { disk.end(weight) }
            return isTaken
        } catch {
            disk.end(weight)
            throw error
        }
    }

    private func expressClaim(
        _ request: ExpressRequest, _ isGone: @escaping @Sendable () -> Bool,
        _ answer: @escaping @Sendable (ExpressAnswer?) -> Void
    ) throws -> Bool {
        let principal = try caller(request.token, .host)
        guard let (ask, _) = try claimAsk(request.body, principal) else { return false }
        return queue.claimPromptly(ask, isGone: isGone) { result in
            guard case .success(let granted?) = result else { return answer(nil) }
            answer(ExpressAnswer(isAccepted: false, location: nil, body: { JobSpec.claim(granted) }))
        }
    }

    private func expressComplete(
        _ id: JobID, _ request: ExpressRequest, _ answer: @escaping @Sendable (ExpressAnswer?) -> Void
    ) throws -> Bool {
        let completion = try completion(request.body, try caller(request.token, .host))
        return try queue.completePromptly(id, completion) { result in
            guard case .success(let record) = result else { return answer(nil) }
            answer(ExpressAnswer(isAccepted: false, location: nil, body: { Gateway.text(JobView.job(record, JobResult())) }))
        }
    }

    private static func text(_ job: Job) -> [UInt8] {
        var writer = JSONWriter()
        job.write(into: &writer)
        return writer.bytes
    }

    /// What answers name as their server.
    public static let serverName = "longshore"
}
