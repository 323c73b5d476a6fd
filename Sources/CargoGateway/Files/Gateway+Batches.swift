import CargoArtifact
import CargoFiles
import CargoQueue
import CargoWire
import FoundationEssentials
import HTTPTypes
import Hummingbird

/// Batches of OpenAI's interface: a file of requests becomes jobs, their answers a file.
extension Gateway {
    private struct BatchRequest: Decodable {
        var inputFileID: String
        var endpoint: String
        var completionWindow: String
        var metadata: JSONValue?

        enum CodingKeys: String, CodingKey {
            case endpoint, metadata
            case inputFileID = "input_file_id"
            case completionWindow = "completion_window"
        }
    }

    private static let noSuchBatch = GatewayError(
        404, "not_found", "There is no such batch of this account; GET /v1/batches lists them.")

    func addBatches(to router: Router<GatewayContext>) {
        for base in Gateway.openAIBases {
            router.post("\(base)/batches") { request, _ in
                let principal = try caller(request, .write)
                return try Answer.json(try await makeBatch(try await bytes(of: request, limit: 1 << 20), principal))
            }
            router.get("\(base)/batches") { request, _ in
                let principal = try caller(request, .read)
                let all = try await blocking { try files.listBatches(account: principal.account).map(\.batch) }
                return try Answer.json(
                    Page(
                        all, id: \.id, after: request.uri.queryParameters["after"].map(String.init),
                        limit: try integer(request, "limit", 1...100) ?? 20))
            }
            router.get("\(base)/batches/:id") { request, context in
                let (id, account) = (context.parameters.get("id") ?? "", try caller(request, .read).account)
                if let found = try await blocking({ try files.batch(id, account: account) }) {
                    return try Answer.json(found.batch)
                }
                guard let other = try await elsewhere(id, of: account) else { throw Gateway.noSuchBatch }
                return try Answer.json(try await other.document(Batch.self))
            }
            router.post("\(base)/batches/:id/cancel") { request, context in
                let (id, account) = (context.parameters.get("id") ?? "", try caller(request, .write).account)
                if let other = try await elsewhere(id, of: account) {
                    return Answer.bytes(ByteBuffer(bytes: try await other.change("cancel")))
                }
                return try Answer.json(try await cancelBatch(id, account))
            }
        }
    }

    func cancelBatch(_ id: String, _ account: Int64) async throws -> Batch {
        guard var found = try await blocking({ try files.batch(id, account: account) }) else { throw Gateway.noSuchBatch }
        guard !found.batch.hasEnded else {
            throw GatewayError(409, "wrong_state", "The batch is \(found.batch.status.rawValue) already.")
        }
        batches.cancel(id)
        (found.batch.status, found.batch.cancellingAt) = (.cancelling, unixTime)
        return found.batch
    }

    /// - Parameter mayPass: a file of another coordinator's makes a batch there.
    func makeBatch(_ bytes: [UInt8], _ principal: Principal, mayPass: Bool = true) async throws -> Batch {
        let ask = try StrictJSON.decode(BatchRequest.self, from: bytes, limit: 1 << 20)
        guard BatchLine.operations.contains(where: { ask.endpoint == "/v1/" + $0.rawValue }) else {
            let known = BatchLine.operations.map { "/v1/" + $0.rawValue }.joined(separator: ", ")
            throw GatewayError(400, "invalid_endpoint", "'endpoint' is one of \(known).")
        }
        guard let window = Seconds(ask.completionWindow), window.value >= 1, window.value <= 7 * 86_400 else {
            throw GatewayError(400, "invalid_window", "'completion_window' is a time such as 24h, at most seven days.")
        }
        if mayPass, let other = try await elsewhere(ask.inputFileID, of: principal.account) {
            let made = try await other.makeBatch(bytes, key: principal.keyID)
            return try JSONDecoder().decode(Batch.self, from: Data(made))
        }
        guard let file = try await blocking({ try files.file(ask.inputFileID, account: principal.account) }),
            file.purpose == "batch"
        else {
            throw GatewayError(400, "invalid_file", "'input_file_id' is a file of this account with the purpose batch.")
        }
        if let metadata = ask.metadata, try Answer.encoder.encode(metadata).count > 16 << 10 {
            throw GatewayError(400, "invalid_metadata", "'metadata' has at most 16 KiB.")
        }
        let now = unixTime
        var batch = Batch(
            id: FileShelf.newID("batch_"), endpoint: ask.endpoint, inputFileID: file.id, completionWindow: ask.completionWindow,
            createdAt: now, expiresAt: now + Int64(window.value))
        batch.metadata = ask.metadata
        let stored = StoredBatch(batch: batch, account: principal.account, keyID: principal.keyID, policy: principal.policy)
        try await blocking { try files.save(stored) }
        try await keepsHere(batch.id, of: principal.account)
        batches.add(batch.id, account: principal.account)
        return batch
    }
}
