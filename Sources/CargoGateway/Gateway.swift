import CargoArtifact
public import CargoBlobs
import CargoFiles
public import CargoQueue
public import CargoRegistry
public import CargoSigning
import CargoStore
public import CargoWebhooks
import CargoWire
import FoundationEssentials
import HTTPTypes
public import Hummingbird
import NIOCore

/// The HTTP surface: each route parses, calls one function of the rooms below, and answers.
public struct Gateway: Sendable {
    let queue: JobQueue
    let blobs: any JobBlobs
    let registry: RegistryIndex
    let blobGuard: BlobGuard
    let metrics: GatewayMetrics
    let disk: DiskSpace
    /// Signs the heads of audit trails.
    let identity: SigningKey
    /// Where callbacks may go.
    let addresses: AddressPolicy
    /// Files and batches of OpenAI's interface.
    let files: FileShelf
    let batches = BatchBoard()
    /// Nil where the operator wants none.
    let access: AccessLog?
    /// Hosts that can be reached at once.
    public let tunnels = TunnelHub()
    /// Requests to models that no store sees.
    public let direct = DirectRequests()

    /// Bytes of a JSON body at most.
    static let largestJSON = 16 << 20

    public init(
        queue: JobQueue, blobs: any JobBlobs, registry: RegistryIndex, blobGuard: BlobGuard, metrics: GatewayMetrics,
        disk: DiskSpace, identity: SigningKey, files: FileShelf, addresses: AddressPolicy = AddressPolicy(),
        access: AccessLog? = nil
    ) {
        self.queue = queue
        self.blobs = blobs
        self.registry = registry
        self.blobGuard = blobGuard
        self.metrics = metrics
        self.disk = disk
        self.identity = identity
        self.files = files
        self.addresses = addresses
        self.access = access
    }

    public func router() throws -> Router<GatewayContext> {
        let router = Router(context: GatewayContext.self, options: .autoGenerateHeadEndpoints)
        router.add(middleware: RequestName())
        if let access { router.add(middleware: AccessMiddleware(log: access, directory: queue.directory)) }
        router.add(middleware: CrossOrigin())
        router.add(middleware: ProblemMiddleware())
        let (directory, disk) = (queue.directory, disk)
        RegistryRoutes<GatewayContext>(index: registry, blobGuard: blobGuard) { request, scope in
            guard let principal = Credentials.token(of: request).flatMap(directory.authenticate) else {
                throw RegistryError(401, "UNAUTHORIZED", "Send an API key as Bearer token or as the password of Basic.")
            }
            // A host pulls what it claims with its own token.
            guard principal.may(scope) || (scope == .read && principal.may(.host)) else {
                throw RegistryError(403, "DENIED", "This key lacks the scope '\(scope.rawValue)'.")
            }
            return RegistryCaller(account: principal.account)
        } room: { bytes in
            guard disk.admits(bytes, .newWork) else {
                throw RegistryError(507, "DENIED", "The coordinator's disk is full; free space, then push again.")
            }
        }.add(to: router)
        addJobs(to: router)
        addResults(to: router)
        addQueue(to: router)
        addShares(to: router)
        addDialects(to: router)
        addOpenAI(to: router)
        addResponses(to: router)
        addResume(to: router)
        addFiles(to: router)
        addBatches(to: router)
        addAnthropic(to: router)
        addRun(to: router)
        addWorkloads(to: router)
        addWorkers(to: router)
        addWebhooks(to: router)
        addHosts(to: router)
        addAdmin(to: router)
        addKeys(to: router)
        addGroups(to: router)
        addHostList(to: router)
        addPlacement(to: router)
        addPeers(to: router)
        addHealth(to: router)
        try addOpenAPI(to: router)
        return router
    }

    // MARK: What every route needs

    /// The caller, who must have the scope. A host's own token is good for a host's work alone.
    func caller(_ request: Request, _ scope: Scope) throws -> Principal {
        try caller(Credentials.token(of: request), scope)
    }

    func caller(_ token: String?, _ scope: Scope) throws -> Principal {
        guard let principal = token.flatMap(queue.directory.authenticate) else {
            throw GatewayError(401, "unauthorized", "Send an API key as `Authorization: Bearer KEY`.")
        }
        guard principal.may(scope) else {
            throw GatewayError(403, "forbidden", "This key lacks the scope '\(scope.rawValue)'.")
        }
        return principal
    }

    func jobID(_ context: GatewayContext) throws -> JobID {
        guard let id = context.parameters.get("id").flatMap({ JobID($0) }) else { throw GatewayError.noSuchJob }
        return id
    }

    func key(_ context: GatewayContext, _ principal: Principal) throws -> JobKey {
        JobKey(account: principal.account, id: try jobID(context))
    }

    /// The body as JSON, strict (duplicate keys and broken text are refused) and bounded.
    func body<Value: Decodable & Sendable>(
        _ type: Value.Type, of request: Request, limit: Int = Gateway.largestJSON
    ) async throws -> Value {
        try StrictJSON.decode(type, from: try await bytes(of: request, limit: limit), limit: limit)
    }

    /// The same for the bodies that come thousands of times a second.
    func plainBody<Value: PlainBody & Sendable>(
        _ type: Value.Type, of request: Request, limit: Int = Gateway.largestJSON
    ) async throws -> Value {
        try Gateway.read(type, from: try await bytes(of: request, limit: limit), limit: limit)
    }

    static func read<Value: PlainBody>(_ type: Value.Type, from bytes: [UInt8], limit: Int) throws -> Value {
        try Value(plain: try StrictJSON.parse(bytes, limit: limit)) ?? JSONDecoder().decode(type, from: Data(bytes))
    }

    func bytes(of request: Request, limit: Int) async throws -> [UInt8] {
        if let announced = request.headers[.contentLength].flatMap(Int.init), announced > limit {
            throw GatewayError(413, "too_large", "This body has at most \(limit) bytes; send files with POST /uploads.")
        }
        var request = request
        return Array(buffer: try await request.collectBody(upTo: limit))
    }

    /// Keeps a body as one blob of a job, and lets `naming` write the row that names it before anyone finds it unused.
    func keep<Value>(
        _ request: Request, for purpose: DiskSpace.Purpose, naming: (CargoArtifact.Digest, Int64) async throws -> Value
    ) async throws -> Value {
        let blobs = blobs
        return try await BlobTransfer.store(
            request.body, in: blobs.staging, size: request.headers[.contentLength].flatMap { Int64($0) }, limit: blobs.largest,
            under: blobGuard, room: { try disk.check($0, purpose) }
        ) { digest, size in
            try await blocking { try blobs.settle(digest, size: size) }
            return try await naming(digest, size)
        }
    }

    /// A blob of a job as an answer; nil where it is no longer kept.
    func answer(_ digest: CargoArtifact.Digest, to request: Request, headers: HTTPFields) async throws -> Response? {
        let blobs = blobs
        guard let size = try await blocking({ try blobs.size(of: digest) }) else { return nil }
        return BlobTransfer.answer(digest, size: size, to: request, headers: headers) { try blobs.bytes(of: digest, $0) }
    }

    /// `?wait=30s`: how long to wait, at most `most` seconds.
    func wait(_ request: Request, most: Double) throws -> Double {
        guard let text = request.uri.queryParameters["wait"] else { return 0 }
        guard let seconds = Seconds(String(text)) else {
            throw GatewayError(400, "invalid_query", "'wait' is a time such as 30s.")
        }
        return min(most, seconds.value)
    }

    func integer(_ request: Request, _ name: String, _ range: ClosedRange<Int>) throws -> Int? {
        guard let text = request.uri.queryParameters[Substring(name)] else { return nil }
        guard let value = Int(text), range.contains(value) else {
            throw GatewayError(400, "invalid_query", "'\(name)' is a number from \(range.lowerBound) to \(range.upperBound).")
        }
        return value
    }
}

/// Reads the API key of a request.
enum Credentials {
    /// Bearer, or the password of Basic: container tools know no other way.
    static func token(of request: Request) -> String? {
        // Anthropic's clients send it by itself.
        if let key = request.headers[ModelHeader.apiKey] { return key }
        guard let header = request.headers[.authorization] else { return nil }
        if header.hasPrefix("Bearer ") { return String(header.dropFirst(7)) }
        let parts = header.split(separator: " ", maxSplits: 1).map(String.init)
        guard parts.count == 2 else { return nil }
        switch parts[0].lowercased() {
        case "bearer": return parts[1]
        case "basic":
            guard let data = Data(base64Encoded: parts[1]), let text = String(data: data, encoding: .utf8),
                let colon = text.firstIndex(of: ":")
            else { return nil }
            return String(text[text.index(after: colon)...])
        default: return nil
        }
    }
}
