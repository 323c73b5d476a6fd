import CargoArtifact
import CargoFiles
import CargoQueue
import CargoWire
import FoundationEssentials
import HTTPTypes
import Hummingbird
import NIOCore

/// Files and batches that another coordinator on the same store keeps: a row says which, and that one is asked, so that a
/// client need not know behind which of them it came out.
extension Gateway {
    private static let keeperKind = "file keeper"
    /// Bytes of a document at most.
    private static let largestKept = 1 << 20

    private static let keeperIsAway = GatewayError(
        503, "unavailable", "The coordinator that keeps this cannot be reached now; ask again in a moment.", retryAfter: 5)

    /// A file or batch of another coordinator, and where that is.
    struct Elsewhere {
        fileprivate var url: String
        fileprivate var peers: Peers
        fileprivate var id: String
        fileprivate var account: Int64

        private func target(_ rest: String, _ query: String = "") -> String {
            "/peer/kept/\(id)\(rest)?account=\(account)\(query)"
        }

        /// The document.
        func document<Value: Decodable>(_ type: Value.Type = Value.self) async throws -> Value {
            try JSONDecoder().decode(type, from: Data(try await read(target(""))))
        }

        /// A piece of a file's bytes.
        func bytes(at offset: Int64, count: Int) async throws -> [UInt8] {
            try await read(target("/content", "&offset=\(offset)&count=\(count)"))
        }

        private func read(_ target: String) async throws -> [UInt8] {
            let gathered = Gathered()
            do {
                try await peers.read(url, target) { try await gathered.take($0) }
            } catch is CancellationError {
                throw CancellationError()
            } catch {
                throw Gateway.keeperIsAway
            }
            return await gathered.bytes
        }

        /// Lets the keeper do what was asked; its refusals are this coordinator's.
        func change(_ word: String) async throws -> [UInt8] {
            try Gateway.taken(await peers.post(url, target("/" + word), []))
        }

        func makeBatch(_ body: [UInt8], key: String) async throws -> [UInt8] {
            try Gateway.taken(await peers.post(url, "/peer/batches?account=\(account)&key=\(key)", body))
        }
    }

    /// What has come of an answer; one task adds to it.
    private actor Gathered {
        var bytes: [UInt8] = []

        func take(_ piece: [UInt8]) throws {
            guard bytes.count + piece.count <= Gateway.largestKept else { throw Gateway.keeperIsAway }
            bytes += piece
        }
    }

    private static func taken(_ answer: (status: Int, body: [UInt8])?) throws -> [UInt8] {
        guard let answer else { throw keeperIsAway }
        guard answer.status < 300 else {
            guard let problem = try? JSONDecoder().decode(Problem.self, from: Data(answer.body)) else { throw keeperIsAway }
            throw GatewayError(problem.status, problem.code, problem.detail)
        }
        return answer.body
    }

    /// Notes that this coordinator keeps it, where there are others.
    func keepsHere(_ id: String, of account: Int64) async throws {
        guard let peers = queue.peers else { return }
        let name = try JSONEncoder().encode(peers.id)
        try await queue.records.change(Gateway.keeperKind, id, account: account) { _ in name }
    }

    func keepsNoMore(_ id: String, of account: Int64) async throws {
        guard queue.peers != nil else { return }
        try await queue.records.change(Gateway.keeperKind, id, account: account) { _ in nil }
    }

    /// Who else keeps it; nil where nobody does, for this account.
    func elsewhere(_ id: String, of account: Int64) async throws -> Elsewhere? {
        guard let peers = queue.peers, FileShelf.isID(id),
            let record = try await queue.records.records(Gateway.keeperKind, account: account, from: id, until: id + "!")
                .first(where: { $0.id == id }),
            let keeper = try? JSONDecoder().decode(String.self, from: record.value), keeper != peers.id
        else { return nil }
        guard let url = peers.url(of: keeper) else { throw Gateway.keeperIsAway }
        return Elsewhere(url: url, peers: peers, id: id, account: account)
    }

    func addKeepers(to router: Router<GatewayContext>) {
        router.get("/peer/kept/:id") { request, context in
            let (id, account) = try kept(request, context)
            if let file = try await blocking({ try files.file(id, account: account) }) { return try Answer.json(file) }
            guard let found = try await blocking({ try files.batch(id, account: account) }) else {
                throw GatewayError.nothing(at: request)
            }
            return try Answer.json(found.batch)
        }
        router.get("/peer/kept/:id/content") { request, context in
            let (id, account) = try kept(request, context)
            let query = request.uri.queryParameters
            guard let offset = query["offset"].flatMap({ Int64($0) }), offset >= 0,
                let count = query["count"].flatMap({ Int($0) }), (1...Gateway.largestKept).contains(count),
                let file = try await blocking({ try files.bytes(id, account: account) })
            else { throw GatewayError.nothing(at: request) }
            let piece = try await blocking { try file.bytes(at: offset, count: count) }
            return Answer.bytes(ByteBuffer(bytes: piece), type: "application/octet-stream")
        }
        router.post("/peer/kept/:id/:change") { request, context in
            let (id, account) = try kept(request, context)
            switch context.parameters.get("change") {
            case "delete": return try Answer.json(try await deleteFile(id, account))
            case "cancel": return try Answer.json(try await cancelBatch(id, account))
            default: throw GatewayError.nothing(at: request)
            }
        }
        router.post("/peer/batches") { request, _ in
            let bytes = try await bytes(of: request, limit: 1 << 20)
            try peer(request, bytes)
            let query = request.uri.queryParameters
            // The key's own word, not the sender's: what it may is looked up here.
            guard let account = query["account"].flatMap({ Int64($0) }),
                let key = query["key"].flatMap({ queue.directory.key(String($0), of: account) }), queue.directory.lives(key.id)
            else { throw GatewayError.nothing(at: request) }
            return try Answer.json(try await makeBatch(bytes, key.principal, mayPass: false))
        }
    }

    private func kept(_ request: Request, _ context: GatewayContext) throws -> (id: String, account: Int64) {
        try peer(request)
        guard let id = context.parameters.get("id"), let account = request.uri.queryParameters["account"].flatMap({ Int64($0) })
        else { throw GatewayError.nothing(at: request) }
        return (id, account)
    }
}
