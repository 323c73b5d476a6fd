import CargoArtifact
import CargoBlobs
import CargoFiles
import CargoQueue
import CargoRegistry
import CargoScheduler
import CargoStore
import CargoWebhooks
import CargoWire
import Crypto
import FoundationEssentials

/// Turns `POST /jobs` into a job: validates every field, fixes the digest, puts large files into the blob store.
struct JobIntake: Sendable {
    let queue: JobQueue
    let blobs: any JobBlobs
    let registry: RegistryIndex
    let addresses: AddressPolicy
    /// What the models that the caller may use do.
    let operations: @Sendable (String) -> Set<ModelRequest.Operation>
    /// Where its submitter stands in a trace.
    var trace: Trace?

    /// Files of a job at most, and bytes of a file that stays inside the job's row.
    static let mostFiles = 1000
    static let largestInline = 4096
    /// JSON of a job at most, without the files that went to the blob store.
    static let largestSpec = 1 << 20
    static let mostArguments = 10_000
    /// What in the body of a job is the job's own, and not its model's.
    static let jobFields: Set<String> = [
        "id", "cargo", "model", "image", "command", "args", "env", "params", "files", "resources", "network", "constraints",
        "tier", "priority", "timeout", "attempts", "callback_url", "retention", "encryption", "metadata",
    ]

    /// - Parameter wanted: what a model is to do, where the caller's words say so.
    func job(
        _ request: JobRequest, account: Int64, idempotency: NewJob.Idempotency?, wanted: ModelRequest.Operation? = nil
    ) async throws -> NewJob {
        let common = try common(of: request)
        if request.model != nil {
            var ask = try ask(of: request, wanted)
            ask.trace = trace
            var job = try ask.job(account: account, idempotency: idempotency)
            (job.id, job.tier, job.priority) = (common.id, common.tier, common.priority)
            job.maxAttempts = max(common.attempts, job.maxAttempts)
            job.requirement.tier = common.tier
            job.requirement.region = try place("region", request.constraints?.region)
            job.requirement.jurisdiction = try place("jurisdiction", request.constraints?.jurisdiction)
            job.requirement.audience = try audience(of: account, request.constraints?.group)
            job.requirement.room = try room(Resources(), request.constraints)
            (job.metadata, job.retention) = (common.metadata, request.retention?.value)
            job.callback = try callback(request.callbackURL)
            return job
        }
        let target = try await target(of: request)
        var blobNames: [String: String] = [:]
        let files = try await files(request.files ?? [], account: account, blobNames: &blobNames)
        return try assembled(request, common, target, files, blobNames, account: account, idempotency: idempotency)
    }

    /// The same for a job on a cargo that was looked up lately and that brings no files: nothing has to be read or stored for
    /// it. Nil for any other.
    func plainJob(_ request: JobRequest, account: Int64, idempotency: NewJob.Idempotency?) throws -> NewJob? {
        guard request.model == nil, request.image == nil, request.files?.isEmpty ?? true, let text = request.cargo,
            let known = registry.knownCargo(text)
        else { return nil }
        let common = try common(of: request)
        let target = try target(of: request, text, known)
        return try assembled(request, common, target, [], [:], account: account, idempotency: idempotency)
    }

    /// What a job of any kind says.
    private struct Common {
        var id: JobID?
        var tier: Int
        var priority: Int
        var attempts: Int
        var metadata: Data?
    }

    private func common(of request: JobRequest) throws -> Common {
        let id = try request.id.map { text in
            guard let id = JobID(text) else { throw invalid("id", "must be a UUIDv7 in lower case") }
            return id
        }
        let named = [request.cargo != nil, request.model != nil, request.image != nil].filter { $0 }.count
        guard named == 1 else { throw GatewayError(422, "invalid_job", "Give exactly one of 'cargo', 'model' and 'image'.") }
        try checkUnsupported(request)
        let tier = request.tier ?? JobIntake.tier(of: request.input)
        guard (1...4).contains(tier) else { throw invalid("tier", "is from 1 to 4") }
        let priority = request.priority ?? 50
        guard (0...100).contains(priority) else { throw invalid("priority", "is from 0 to 100") }
        let attempts = request.attempts ?? 1
        guard (1...100).contains(attempts) else { throw invalid("attempts", "is from 1 to 100") }
        if let timeout = request.timeout, timeout.value <= 0 { throw invalid("timeout", "is more than 0 seconds") }
        guard (request.args?.count ?? 0) <= JobIntake.mostArguments else { throw invalid("args", "has at most 10,000 entries") }
        let metadata = request.metadata.map { Data(CanonicalJSON.encode($0)) }
        return Common(id: id, tier: tier, priority: priority, attempts: attempts, metadata: metadata)
    }

    private func assembled(
        _ request: JobRequest, _ common: Common, _ target: Runnable, _ files: [ClaimedJob.File], _ blobNames: [String: String],
        account: Int64, idempotency: NewJob.Idempotency?
    ) throws -> NewJob {
        var claimed = ClaimedJob(id: "", attempt: 0, tier: common.tier, priority: common.priority)
        claimed.cargo = target.digest == nil ? nil : target.name
        claimed.digest = target.digest
        claimed.image = request.image
        claimed.command = request.command
        claimed.args = request.args
        claimed.env = request.env
        claimed.input = request.input
        claimed.params = request.params
        claimed.resources = request.resources
        claimed.timeout = request.timeout
        claimed.trace = trace
        claimed.files = files
        let spec = try JobSpec.encode(claimed)
        guard spec.count <= JobIntake.largestSpec else {
            throw GatewayError(413, "too_large", "The job without its files is larger than 1 MiB; send large data as files.")
        }
        var job = NewJob(
            id: common.id, account: account, tier: common.tier, priority: common.priority, maxAttempts: common.attempts,
            cargo: target.name, digest: target.digest,
            requirement: Requirement(
                kind: target.kind, tier: common.tier, region: try place("region", request.constraints?.region),
                jurisdiction: try place("jurisdiction", request.constraints?.jurisdiction),
                audience: try audience(of: account, request.constraints?.group),
                image: request.image.flatMap { ImageReference($0)?.description },
                room: try room(target.resources.lowered(by: request.resources ?? Resources()), request.constraints)),
            spec: spec, metadata: common.metadata, files: blobNames,
            retention: request.retention?.value, idempotency: idempotency, callback: try callback(request.callbackURL))
        job.trace = trace
        return job
    }

    /// A request that waits in the queue for as long as it must: whether a host serves the model now is not asked.
    private func ask(of request: JobRequest, _ wanted: ModelRequest.Operation?) throws -> ModelAsk {
        for (name, set) in [
            ("command", request.command != nil), ("args", request.args != nil), ("env", request.env != nil),
            ("files", request.files?.isEmpty == false), ("network", request.network != nil),
            ("resources", request.resources != nil),
        ] where set { throw GatewayError(422, "not_allowed", "A request to a model has no '\(name)'; say it in 'input'.") }
        var fields = request.params ?? [:]
        switch request.input {
        case .object(let members)?: fields.merge(members) { $1 }
        case let input?: fields["input"] = input
        case nil: break
        }
        do {
            return try RunRequest.ask(
                fields, named: request.model, wanted: wanted, operations: operations,
                patience: min(request.timeout?.value ?? ModelAsk.usualPatience, ModelAsk.longestPatience))
        } catch let error as GatewayError {
            throw GatewayError(422, "invalid_job", error.detail)
        }
    }

    /// Whose hosts the jobs of an account may use.
    func audience(of account: Int64, _ group: String?) throws -> Audience? {
        guard let group else { return queue.groups.audience(of: account) }
        guard let audience = try? queue.groups.audience(of: account, group: group) else {
            throw GatewayError(
                422, "unknown_group", "This account has no group '\(group.prefix(100))', or several of that name; use its id.")
        }
        return audience
    }

    /// What it needs of a host: what its process may use, or more where its constraints say so.
    private func room(_ resources: Resources, _ constraints: JobRequest.Constraints?) throws -> Room? {
        if let price = constraints?.maxPrice {
            guard price >= 0, price <= 1e12 else { throw invalid("constraints.max_price", "is from 0 to 1e12 credits") }
        }
        let gpu = resources.gpu
        guard (0...64).contains(gpu?.count ?? 0) else { throw invalid("resources.gpu.count", "is from 0 to 64") }
        let gpus = gpu.map { $0.count ?? ($0.vram == nil ? 0 : 1) }
        return Room(
            memory: [resources.memory?.bytes, constraints?.memory?.bytes].compactMap(\.self).max(),
            vram: [gpus == 0 ? nil : gpu?.vram?.bytes, constraints?.vram?.bytes].compactMap(\.self).max(),
            gpus: gpus, price: constraints?.maxPrice)
    }

    /// A word that hosts say of where they stand.
    private func place(_ field: String, _ text: String?) throws -> String? {
        guard let text else { return nil }
        guard (1...64).contains(text.utf8.count), text.utf8.allSatisfy({ $0 > 32 && $0 < 127 && $0 != 124 }) else {
            throw invalid("constraints.\(field)", "is a word of at most 64 characters, such as eu-west")
        }
        return text
    }

    private func callback(_ text: String?) throws -> Callback? {
        guard let text else { return nil }
        let url = try WebhookURL(text)
        try url.check(addresses)
        return Callback(url: url.description)
    }

    private func invalid(_ field: String, _ rule: String) -> GatewayError {
        GatewayError(422, "invalid_job", "'\(field)' \(rule).")
    }

    /// What runs: a cargo by digest, or a container image by name.
    private struct Runnable {
        var name: String
        var digest: String?
        var kind: String
        /// What its manifest lets it use.
        var resources = Resources()
    }

    private func target(of request: JobRequest) async throws -> Runnable {
        if let image = request.image {
            guard ImageReference(image) != nil else {
                throw GatewayError(
                    422, "bad_image", "'image' is a container image such as alpine:3.20 or registry.example/team/tool@sha256:….")
            }
            try checkEnvironment(request.env ?? [:], allowed: nil)
            return Runnable(name: image, digest: nil, kind: Requirement.image)
        }
        let (reference, cargo) = try await resolve(request.cargo ?? "")
        return try target(of: request, reference.description, cargo)
    }

    /// A job on a cargo sets no more than its manifest lets it (docs/rules.md 4).
    private func target(
        of request: JobRequest, _ name: String, _ cargo: RegistryIndex.KnownCargo
    ) throws -> Runnable {
        if request.command != nil {
            throw GatewayError(422, "not_allowed", "A job on a cargo cannot set 'command'; use 'args', which are appended.")
        }
        if request.network != nil {
            throw GatewayError(422, "not_allowed", "A job on a cargo cannot set 'network'; the cargo's manifest does.")
        }
        try checkEnvironment(request.env ?? [:], allowed: cargo.config.jobEnv ?? [])
        return Runnable(
            name: name, digest: cargo.digest.description, kind: cargo.config.kind.rawValue, resources: cargo.config.resources)
    }

    private func checkUnsupported(_ request: JobRequest) throws {
        if let network = request.network, network != .none {
            throw GatewayError(422, "not_allowed", "A container by name gets no network here; leave 'network' out.")
        }
        for (name, set) in [
            ("encryption", request.encryption != nil), ("constraints.gpu", request.constraints?.gpu != nil),
        ] where set {
            throw GatewayError(422, "unsupported", "This coordinator does not take '\(name)'; leave it out.")
        }
    }

    private func resolve(_ text: String) async throws -> (CargoReference, RegistryIndex.KnownCargo) {
        guard let reference = CargoReference(text) else {
            throw GatewayError(422, "invalid_reference", "'cargo' is publisher/name:version or publisher/name@sha256:DIGEST.")
        }
        let registry = registry
        let known = registry.knownCargo(reference.name, tagOrDigest: reference.tagOrDigest)
        guard
            let cargo = try await known == nil
                ? blocking({ try registry.cargo(reference.name, tagOrDigest: reference.tagOrDigest) }) : known
        else {
            throw GatewayError(422, "unknown_cargo", "There is no cargo \(reference) here; push it with `longshore push`.")
        }
        return (reference, cargo)
    }

    /// - Parameter allowed: the names that may be set; nil for any that could not change how the runtime itself works.
    private func checkEnvironment(_ env: [String: String], allowed: [String]?) throws {
        guard env.count <= 1000 else { throw invalid("env", "has at most 1000 names") }
        for name in env.keys.sorted() {
            let forbidden =
                name == "PATH" || ["LD_", "CARGO_", "NVIDIA_", "LLAMA_ARG_"].contains { name.hasPrefix($0) }
            let wellFormed = !name.isEmpty && !name.utf8.contains { $0 == 61 || $0 < 33 || $0 > 126 }
            guard wellFormed, !forbidden, allowed?.contains(name) ?? true else {
                let rule = allowed == nil ? "" : "; the cargo's manifest lists those that it lets a job set (job-env)"
                throw GatewayError(422, "not_allowed", "A job may not set the environment name '\(name.prefix(100))'\(rule).")
            }
        }
    }

    private func files(
        _ files: [JobRequest.File], account: Int64, blobNames: inout [String: String]
    ) async throws -> [ClaimedJob.File] {
        guard files.count <= JobIntake.mostFiles else { throw invalid("files", "has at most \(JobIntake.mostFiles) entries") }
        var claimed: [ClaimedJob.File] = []
        var seen: Set<String> = []
        for file in files {
            guard RelativePath.isValid(file.name) else {
                throw GatewayError(422, "invalid_path", "A file's name is a relative path without '..', such as data/in.txt.")
            }
            guard seen.insert(file.name).inserted else { throw invalid("files", "names '\(file.name)' twice") }
            switch (file.content, file.upload) {
            case (let content?, nil):
                guard let data = Data(base64Encoded: content) else {
                    throw GatewayError(422, "invalid_file", "The content of '\(file.name)' is not base64.")
                }
                let bytes = [UInt8](data)
                let digest = CargoArtifact.Digest(of: bytes)
                var entry = ClaimedJob.File(name: file.name, size: Int64(bytes.count), sha256: digest.hex)
                if bytes.count <= JobIntake.largestInline {
                    entry.content = content
                } else {
                    let blobs = blobs
                    try await blocking { try blobs.store(bytes, as: digest) }
                    blobNames[file.name] = digest.hex
                }
                claimed.append(entry)
            case (nil, let upload?):
                guard let known = try await queue.store.upload(upload, account: account) else {
                    throw GatewayError(
                        422, "unknown_upload", "There is no upload '\(upload.prefix(100))' of this account; POST it to /uploads.")
                }
                blobNames[file.name] = known.sha256
                claimed.append(ClaimedJob.File(name: file.name, size: known.size, sha256: known.sha256))
            default:
                throw GatewayError(422, "invalid_file", "Give the file '\(file.name)' either 'content' or 'upload'.")
            }
        }
        return claimed
    }

    /// The context tier of an input by its Unicode scalars.
    static func tier(of input: JSONValue?) -> Int {
        switch scalars(input ?? .null) {
        case ...1500: 1
        case ...6000: 2
        case ...24000: 3
        default: 4
        }
    }

    private static func scalars(_ value: JSONValue) -> Int {
        switch value {
        case .string(let text): text.unicodeScalars.count
        case .array(let values): values.reduce(0) { $0 + scalars($1) }
        case .object(let fields): fields.values.reduce(0) { $0 + scalars($1) }
        default: 0
        }
    }
}

/// Names of files inside a job: relative, `/` between parts, nothing that could leave the folder.
enum RelativePath {
    static func isValid(_ path: String) -> Bool {
        let bytes = path.utf8
        guard !bytes.isEmpty, bytes.count <= 1024, !bytes.contains(where: { $0 < 32 || $0 == 127 || $0 == 92 }) else {
            return false
        }
        return path.split(separator: "/", omittingEmptySubsequences: false).allSatisfy { part in
            !part.isEmpty && part != "." && part != ".." && part.utf8.count <= 255
        }
    }
}

/// A job as its host sees it, encoded once at submit: id, attempt and lease are set before it without decoding it again.
enum JobSpec {
    /// `ClaimedJob` without id and attempt; what is rare goes through its own encoder.
    static func encode(_ job: ClaimedJob) throws -> Data {
        var writer = JSONWriter(capacity: 1024)
        writer.beginObject()
        if let args = job.args { writer.field("args", .array(args.map(JSONValue.string))) }
        if let cargo = job.cargo { writer.field("cargo", cargo) }
        if let command = job.command { writer.field("command", .array(command.map(JSONValue.string))) }
        if let digest = job.digest { writer.field("digest", digest) }
        if let env = job.env { writer.field("env", .object(env.mapValues(JSONValue.string))) }
        try encode(job.files, as: "files", into: &writer)
        if let image = job.image { writer.field("image", image) }
        if let input = job.input { writer.field("input", input) }
        if let params = job.params { writer.field("params", .object(params)) }
        writer.field("priority", job.priority)
        if let request = job.request { try encode(request, as: "request", into: &writer) }
        if let resources = job.resources { try encode(resources, as: "resources", into: &writer) }
        writer.field("tier", job.tier)
        if let timeout = job.timeout { try encode(timeout, as: "timeout", into: &writer) }
        if let trace = job.trace { try encode(trace, as: "trace", into: &writer) }
        writer.endObject()
        return Data(writer.bytes)
    }

    private static func encode(_ value: some Encodable, as name: StaticString, into writer: inout JSONWriter) throws {
        writer.key(name)
        writer.raw(try Answer.encoder.encode(value))
    }

    private static func encode(_ files: [ClaimedJob.File], as name: StaticString, into writer: inout JSONWriter) throws {
        writer.key(name)
        writer.raw(files.isEmpty ? Data("[]".utf8) : try Answer.encoder.encode(files))
    }

    /// `{"job":{"id":…,"attempt":…,"account":…,SPEC},"lease":…}`.
    static func claim(_ granted: GrantedClaim) -> [UInt8] {
        var writer = JSONWriter(capacity: granted.spec.count + 512)
        writer.beginObject()
        writer.key("job")
        writer.beginObject()
        writer.field("id", granted.job.key.id.description)
        writer.field("attempt", granted.job.state.attempt)
        writer.field("account", String(granted.job.key.account))
        // The spec is an object with at least `tier`: between its braces stands a field.
        writer.raw(granted.spec.dropFirst().dropLast())
        writer.endObject()
        writer.key("lease")
        granted.lease.write(into: &writer)
        writer.endObject()
        return writer.bytes
    }
}
