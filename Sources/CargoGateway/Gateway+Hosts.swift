import CargoArtifact
import CargoFiles
import CargoQueue
import CargoRegistry
import CargoStore
import CargoWire
import FoundationEssentials
import HTTPTypes
import Hummingbird
import NIOCore

/// The host's calls: register, claim, report.
extension Gateway {
    /// Bytes of a heartbeat's or a completion's JSON at most: 1 MiB of log, in base64 and escapes.
    static let largestReport = 8 << 20

    func addHosts(to router: Router<GatewayContext>) {
        router.post("/hosts") { request, _ in
            let principal = try caller(request, .host)
            guard principal.host == nil else {
                throw GatewayError(403, "forbidden", "A host's own token registers no hosts; use an account's key.")
            }
            let registration = try await body(HostRegistration.self, of: request, limit: 1 << 20)
            try Gateway.check(registration)
            let groups = try (registration.groups ?? []).map { name in
                try queue.groups.audience(of: principal.account, group: name).circles.first ?? name
            }
            let host = try await register(registration, by: principal)
            if registration.closed == true { try await queue.groups.close(host.id, of: principal.account) }
            for group in groups { try await queue.groups.add(host: host.id, to: group, by: principal.account) }
            return try Answer.json(host, status: .created)
        }
        router.post("/hosts/next-job") { request, context in try await nextJob(request, context) }
        router.post("/jobs/:id/heartbeat") { request, context in
            let principal = try caller(request, .host)
            let bytes = try await bytes(of: request, limit: Gateway.largestReport)
            return try await heartbeat(try jobID(context), bytes, principal).response
        }
        router.put("/jobs/:id/outputs/**") { request, context in try await putOutput(request, context) }
        router.get("/jobs/:id/files/**") { request, context in try await inputFile(request, context) }
        router.post("/jobs/:id/complete") { request, context in
            let principal = try caller(request, .host)
            let bytes = try await bytes(of: request, limit: Gateway.largestReport)
            return try await complete(try jobID(context), bytes, principal).response
        }
        router.post("/jobs/:id/fail") { request, context in
            let principal = try caller(request, .host)
            let bytes = try await bytes(of: request, limit: 1 << 20)
            return try await fail(try jobID(context), bytes, principal).response
        }
    }

    // MARK: What REST and the tunnel call

    /// - Parameter passedOn: another coordinator got it, and takes this one for the keeper of the log.
    func heartbeat(
        _ id: JobID, _ bytes: [UInt8], _ principal: Principal, passedOn: Bool = false
    ) async throws -> HostReply {
        var beat = try read(bytes, principal)
        let first = beat.logs?.map(\.offset).min()
        switch try await queue.place(of: id, beat.lease, from: first) {
        case .here(let base): return try HostReply(try await queue.heartbeat(id, fitting(beat), base: base))
        case .at(let url) where !passedOn:
            if let reply = await pass(bytes, to: url, "heartbeat", id, principal) { return reply }
        case .at, .nowhere: break
        }
        // The lease is renewed all the same; the host keeps its bytes.
        (beat.logs, beat.answer, beat.progress) = (nil, nil, nil)
        beat.state = nil
        var reply = try await queue.heartbeat(id, beat)
        reply.durableOffset = first ?? 0
        return try HostReply(reply)
    }

    /// A heartbeat that its sender may send, of what a heartbeat may say.
    func read(_ bytes: [UInt8], _ principal: Principal) throws -> Heartbeat {
        let beat = try Gateway.read(Heartbeat.self, from: bytes, limit: Gateway.largestReport)
        try check(beat.lease, principal)
        try check(beat)
        return beat
    }

    func complete(
        _ id: JobID, _ bytes: [UInt8], _ principal: Principal, passedOn: Bool = false
    ) async throws -> HostReply {
        let completion = try completion(bytes, principal)
        var base: Int64 = 0
        do {
            switch try await queue.place(of: id, completion.lease, from: completion.logBytes ?? 0) {
            case .here(let known): base = known
            case .at(let url) where !passedOn:
                guard let reply = await pass(bytes, to: url, "complete", id, principal) else { throw GatewayError.keeperAway }
                return reply
            case .at, .nowhere: throw GatewayError.keeperAway
            }
        } catch StoreError.leaseLost {
            // Over already, perhaps by this very completion, whose answer was lost with the coordinator that took it: the
            // store knows.
        }
        do {
            let record = try await queue.complete(id, completion, base: base)
            if let model = record.requirement.model { try? await give(model, to: completion.lease.host) }
            return HostReply(JobView.job(record, JobResult()))
        } catch JobQueue.CompletionError.logMissing where !disk.admits(Int64(Gateway.largestReport), .runningWork) {
            // The host has those bytes and keeps them: it comes again when there is room for them.
            throw GatewayError.diskFull
        }
    }

    func completion(_ bytes: [UInt8], _ principal: Principal) throws -> Completion {
        let completion = try Gateway.read(Completion.self, from: bytes, limit: Gateway.largestReport)
        try check(completion.lease, principal)
        try check(completion)
        return completion
    }

    func fail(_ id: JobID, _ bytes: [UInt8], _ principal: Principal, passedOn: Bool = false) async throws -> HostReply {
        let failure = try StrictJSON.decode(Failure.self, from: bytes, limit: 1 << 20)
        try check(failure.lease, principal)
        guard !failure.error.code.isEmpty, failure.error.code.utf8.count <= 64, failure.error.message.utf8.count <= 8192
        else {
            throw GatewayError(422, "invalid_error", "An error's code has 1 to 64 bytes, its message at most 8192.")
        }
        // What was written of the log is counted where it is kept; where that is away, the failure is not kept waiting for it.
        if !passedOn, case .at(let url) = try await queue.place(of: id, failure.lease, from: nil),
            let reply = await pass(bytes, to: url, "fail", id, principal)
        {
            return reply
        }
        return HostReply(JobView.job(try await queue.fail(id, failure), JobResult()))
    }

    func claim(_ bytes: [UInt8], _ principal: Principal, isGone: @Sendable () -> Bool) async throws -> GrantedClaim? {
        guard let (claim, wait) = try claimAsk(bytes, principal) else { return nil }
        let granted = try await queue.claim(claim, wait: wait, isGone: isGone)
        // It may have been removed while it waited, or its key revoked: then it gets nothing of anyone.
        if let granted, queue.directory.host(claim.host) == nil || !queue.directory.lives(principal.keyID) {
            try await queue.store.undelivered(granted)
            throw GatewayError(401, "unauthorized", "This host's token has ended.")
        }
        return granted
    }

    /// What a host asks for, and how many seconds it waits; nil where it wants nothing.
    func claimAsk(_ bytes: [UInt8], _ principal: Principal) throws -> (ClaimAsk, wait: Double)? {
        let ask = try Gateway.read(ClaimRequest.self, from: bytes, limit: 1 << 20)
        let host = try actingHost(principal, named: ask.host)
        let wait = ask.wait ?? 0
        guard (0...60).contains(wait) else { throw GatewayError(422, "invalid_claim", "'wait' is from 0 to 60 seconds.") }
        if let slots = ask.slots, slots <= 0 { return nil }
        if let id = ask.claimID, id.isEmpty || id.utf8.count > 128 {
            throw GatewayError(422, "invalid_claim", "A claim_id has 1 to 128 bytes.")
        }
        var capabilities = ask.capabilities ?? HostCapabilities()
        try Gateway.check(capabilities.models, most: 256)
        guard capabilities.images?.count ?? 0 <= 256, capabilities.kinds?.count ?? 0 <= 64 else {
            throw GatewayError(422, "invalid_claim", "A host names at most 64 kinds and 256 images.")
        }
        capabilities.circles = queue.groups.circles(ofHost: host)
        return (ClaimAsk(host: host, capabilities: capabilities, claimID: ask.claimID), wait)
    }

    /// Hosts of one account at most: each is remembered with what it says of itself.
    private static let mostHosts = 10_000

    func register(_ registration: HostRegistration, by principal: Principal) async throws -> RegisteredHost {
        let own = queue.directory.hosts(of: principal.account)
        guard own.count < Gateway.mostHosts || own.contains(where: { $0.publicKey == registration.publicKey }) else {
            throw GatewayError(
                409, "full", "An account has at most \(Gateway.mostHosts) hosts; remove one with DELETE /hosts/{id}.")
        }
        return try await queue.directory.registerHost(registration, by: principal)
    }

    /// Models as a host says them: names and numbers are its own choice, and sums are made of them.
    static func check(_ models: [ServedModel]?, most: Int) throws {
        guard let models else { return }
        let numbers = 0...1_000_000
        guard models.count <= most,
            models.allSatisfy({
                (1...256).contains($0.id.utf8.count) && numbers.contains($0.active) && numbers.contains($0.slots)
            })
        else {
            throw GatewayError(
                422, "invalid_models",
                "A host names at most \(most) models; an 'id' has 1 to 256 bytes, 'active' and 'slots' are from 0 to a million.")
        }
    }

    static func check(_ registration: HostRegistration) throws {
        guard !registration.name.isEmpty, registration.name.utf8.count <= 100,
            registration.name.utf8.allSatisfy({ $0 >= 32 && $0 != 127 })
        else { throw GatewayError(422, "invalid_host", "A host's 'name' has 1 to 100 bytes, no control characters.") }
        try HostProof.check(registration)
        try HostProof.checkSealing(registration)
    }

    /// The host that a call acts for: the token's own, else the one named, else the only one that this key registered.
    private func actingHost(_ principal: Principal, named: String?) throws -> String {
        if let host = principal.host {
            guard named == nil || named == host else {
                throw GatewayError(403, "forbidden", "This token belongs to another host than the body names.")
            }
            return host
        }
        let hosts = queue.directory.hosts(of: principal.account)
        if let named {
            guard hosts.contains(where: { $0.id == named }) else {
                throw GatewayError(404, "unknown_host", "There is no such host of this account; register it with POST /hosts.")
            }
            return named
        }
        let own = hosts.filter { $0.registeredBy == principal.keyID }
        guard own.count == 1, let only = own.first else {
            throw GatewayError(
                422, "unknown_host", "This key registered \(own.count) hosts: name one in 'host', or use the host's own token.")
        }
        return only.id
    }

    /// A lease is used by the host that holds it, or by a key of its account; the store checks the rest of it.
    func check(_ lease: Lease, _ principal: Principal) throws {
        if let host = principal.host {
            guard host == lease.host else { throw GatewayError(StoreError.leaseLost) ?? .noSuchJob }
        } else {
            guard queue.directory.host(lease.host)?.account == principal.account else {
                throw GatewayError(StoreError.leaseLost) ?? .noSuchJob
            }
        }
    }

    /// Where the disk has no room for its log bytes, a heartbeat renews the lease without them: the host keeps them.
    private func fitting(_ beat: Heartbeat) -> Heartbeat {
        guard beat.logs?.isEmpty == false, !disk.admits(Int64(Gateway.largestReport), .runningWork) else { return beat }
        var beat = beat
        beat.logs = nil
        return beat
    }

    private func nextJob(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let principal = try caller(request, .host)
        let bytes = try await bytes(of: request, limit: 1 << 20)
        let channel = context.channel
        let granted = try await claim(bytes, principal, isGone: { !channel.isActive })
        guard let granted else { return Response(status: .noContent) }
        guard context.channel.isActive else {
            // Who asked has gone: the job goes back at once instead of waiting for the lease to run out.
            try await queue.store.undelivered(granted)
            return Response(status: .noContent)
        }
        return Answer.bytes(ByteBuffer(bytes: JobSpec.claim(granted)))
    }

    private func check(_ beat: Heartbeat) throws {
        if let state = beat.state, state != .provisioning, state != .processing {
            throw GatewayError(422, "invalid_state", "A heartbeat's 'state' is provisioning or processing.")
        }
        for chunk in beat.logs ?? [] {
            guard chunk.offset >= 0, chunk.offset <= JobQueue.largestLog, (chunk.data == nil) != (chunk.dataBase64 == nil) else {
                throw GatewayError(
                    422, "invalid_log",
                    "A log chunk has either 'data' or 'data_base64', and an offset below \(JobQueue.largestLog).")
            }
            if let text = chunk.dataBase64, Data(base64Encoded: text) == nil {
                throw GatewayError(422, "invalid_log", "The 'data_base64' of a log chunk is not base64.")
            }
        }
        if let progress = beat.progress, try Answer.encoder.encode(progress).count > JobQueue.largestProgress {
            throw GatewayError(422, "invalid_progress", "Progress has at most 16 KiB of JSON.")
        }
    }

    private func check(_ completion: Completion) throws {
        guard completion.outputs.count <= 100_000 else {
            throw GatewayError(422, "invalid_outputs", "A job has at most 100,000 outputs.")
        }
        var seen: Set<String> = []
        for output in completion.outputs {
            guard RelativePath.isValid(output.path), output.size >= 0, output.size < 1 << 53,
                CargoArtifact.Digest(hex: output.sha256) != nil, seen.insert(output.path).inserted
            else {
                throw GatewayError(
                    422, "invalid_outputs",
                    "Each output has its own relative path, a size and a SHA-256 in lower-case hexadecimal; '\(output.path.prefix(200))' does not."
                )
            }
        }
        if completion.exit.exitCode == nil, completion.exit.signal == nil, !completion.exit.timedOut, completion.error == nil {
            throw GatewayError(422, "invalid_exit", "Give 'exit_code', 'signal', 'timed_out' or an 'error'.")
        }
    }

    private func leaseHeader(_ request: Request) throws -> Lease {
        guard let text = request.headers[GatewayHeader.lease] else {
            throw GatewayError(400, "missing_lease", "Send the lease as JSON in the header Longshore-Lease.")
        }
        return try StrictJSON.decode(Lease.self, from: Array(text.utf8), limit: 8192)
    }

    private func putOutput(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let principal = try caller(request, .host)
        let lease = try leaseHeader(request)
        try check(lease, principal)
        let id = try jobID(context)
        let path = try Gateway.rest(of: request, after: 3)
        _ = try await queue.store.holder(id, lease)
        let output = try await keep(request, for: .runningWork) { digest, size in
            let output = OutputFile(path: path, size: size, sha256: digest.hex)
            try await queue.store.stage(output, for: id, lease)
            return output
        }
        return try Answer.json(output, status: .created)
    }

    private func inputFile(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let principal = try caller(request, .host)
        let lease = try leaseHeader(request)
        try check(lease, principal)
        let (key, _) = try await queue.store.holder(try jobID(context), lease)
        let name = try Gateway.rest(of: request, after: 3)
        guard let digest = try await queue.store.files(of: key)[name].flatMap({ CargoArtifact.Digest(hex: $0) }) else {
            throw GatewayError(404, "not_found", "The job has no input file '\(name.prefix(200))' beside those inline.")
        }
        var headers = HTTPFields()
        headers[.contentType] = "application/octet-stream"
        guard let response = try await answer(digest, to: request, headers: headers) else {
            throw GatewayError(410, "gone", "This input is no longer kept.")
        }
        return response
    }
}
