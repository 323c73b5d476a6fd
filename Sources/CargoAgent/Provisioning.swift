import CargoArtifact
import CargoClient
import CargoRunner
import CargoSigning
import CargoStore
import CargoWire
import FoundationEssentials
import SystemPackage

/// How an attempt is carried out: from a claim to what it came to.
protocol Execution: Sendable {
    /// Runs to the end, or until its task is cancelled. Throws when nothing was run.
    func run(
        _ claim: Claim, _ entry: Journal.Entry, grace: Double, onEvent: @Sendable (RunEvent) async -> Void
    ) async throws -> RunOutcome
}

/// The execution of real jobs: the cargo verified and stored, the inputs on disk, then the runner.
struct Provisioning: Execution {
    /// Why an attempt ended without a run, in the coordinator's words.
    struct Failed: Error, Sendable {
        var error: JobError
        var retryable: Bool

        init(_ code: JobErrorCode, _ message: String, retryable: Bool) {
            error = JobError(code, message)
            self.retryable = retryable
        }
    }

    let store: CargoStore
    let runner: JobRunner
    let session: HostSession
    let trust: FilePath
    let allowMissing: Set<String>
    /// Nil where the owner has not turned containers on.
    let containers: ContainerSettings?
    let logLimits: LogLimits
    let diskRate: Int64?

    func run(
        _ claim: Claim, _ entry: Journal.Entry, grace: Double, onEvent: @Sendable (RunEvent) async -> Void
    ) async throws -> RunOutcome {
        let request = try await prepare(claim, entry, grace: grace)
        try Task.checkCancellation()
        return try await runner.run(request, onEvent: onEvent)
    }

    /// The request that the runner takes.
    func prepare(_ claim: Claim, _ entry: Journal.Entry, grace: Double) async throws -> RunRequest {
        let job = claim.job
        var request = try await start(job, output: entry.output)
        request.containers = containers
        request.arguments = job.args ?? []
        request.parameters = job.params ?? [:]
        // One object on standard input: what was submitted as `input`, with the parameters over it.
        if request.cargo.config.interface == .stdioJSONL, case .object(let input)? = job.input {
            request.parameters = input.merging(request.parameters) { $1 }
        }
        request.inputs = try await inputs(claim, entry)
        request.limits = job.resources ?? Resources()
        if let timeout = job.timeout { request.limits.time = min(request.limits.time ?? timeout, timeout) }
        request.allowMissing = allowMissing
        request.grace = grace
        request.logLimits = logLimits
        request.diskRate = diskRate
        return request
    }

    /// A cargo that is verified and here, or an image that is still to be brought.
    private func start(_ job: ClaimedJob, output: FilePath) async throws -> RunRequest {
        guard let image = job.image else {
            var request = RunRequest(cargo: try await fetch(job), jobID: job.id, output: output)
            request.environment = job.env ?? [:]
            return request
        }
        guard containers != nil else {
            throw Failed(.refused, "this host does not run container images", retryable: true)
        }
        guard let reference = ImageReference(image) else {
            throw Failed(.imageRefused, "'\(printable(image))' is no image name", retryable: false)
        }
        return RunRequest(image: reference, command: job.command, environment: job.env ?? [:], jobID: job.id, output: output)
    }

    private func fetch(_ job: ClaimedJob) async throws -> StoredCargo {
        guard job.command == nil else {
            throw Failed(.refused, "a job on a cargo may not set the command, only arguments", retryable: false)
        }
        guard let digest = job.digest.flatMap({ Digest($0) }), let reference = job.cargo.flatMap({ CargoReference($0) }) else {
            throw Failed(.provisioningFailed, "the claim names no cargo by digest", retryable: false)
        }
        let policy = VerificationPolicy.trusted(try TrustPolicy(contentsOf: trust))
        return try await session.call { client in
            let registry = RegistryClient(client, name: reference.name)
            let exact = CargoReference(name: reference.name, selector: .digest(digest))
            return try await store.ingest(
                from: RegistryOrigin(registry, reference: exact), digest: digest, as: reference, policy: policy)
        }
    }

    private func inputs(_ claim: Claim, _ entry: Journal.Entry) async throws -> [RunRequest.Input] {
        var inputs: [RunRequest.Input] = []
        for (index, file) in claim.job.files.enumerated() {
            // On this host's disk an input has a number, inside the job its name, which the runner checks.
            let path = entry.input.appending(String(index))
            if let content = file.content {
                guard let bytes = Data(base64Encoded: content), Int64(bytes.count) == file.size,
                    Digest(of: bytes).hex == file.sha256
                else {
                    throw Failed(
                        .provisioningFailed, "the input '\(printable(file.name))' is not what the claim says", retryable: true)
                }
                let target = try FileDescriptor.open(
                    path, .writeOnly, options: [.create, .exclusiveCreate, .noFollow, .closeOnExec],
                    permissions: .ownerReadWrite)
                _ = try target.closeAfter { try target.writeAll(bytes) }
            } else {
                let client = try await session.client()
                try await client.inputFile(claim.job.id, file, lease: claim.lease, to: path)
            }
            inputs.append(RunRequest.Input(name: file.name, path: path))
        }
        return inputs
    }
}
