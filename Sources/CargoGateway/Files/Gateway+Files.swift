import CargoArtifact
import CargoFiles
import CargoQueue
import CargoWire
import FoundationEssentials
import HTTPTypes
import Hummingbird
import NIOCore

/// Files of OpenAI's interface: what goes into batches, and what comes out of them.
extension Gateway {
    /// A page of a list as OpenAI's clients read it.
    struct Page<Item: Encodable>: Encodable {
        var object = "list"
        var data: [Item]
        var firstID: String?
        var lastID: String?
        var hasMore: Bool

        enum CodingKeys: String, CodingKey {
            case object, data
            case firstID = "first_id"
            case lastID = "last_id"
            case hasMore = "has_more"
        }

        /// The items behind `after`, `limit` of them.
        init(_ all: [Item], id: (Item) -> String, after: String?, limit: Int) {
            var rest = all[...]
            if let after { rest = rest.drop { id($0) != after }.dropFirst() }
            data = Array(rest.prefix(limit))
            firstID = data.first.map(id)
            lastID = data.last.map(id)
            hasMore = rest.count > limit
        }
    }

    struct DeletedFile: Encodable {
        var id: String
        var object = "file"
        var deleted = true
    }

    private static let noSuchFile = GatewayError(
        404, "not_found", "There is no such file of this account; GET /v1/files lists them.")

    /// Seconds since 1970, as OpenAI's objects have them.
    var unixTime: Int64 { queue.settings.clocks.wall().milliseconds / 1000 }

    func addFiles(to router: Router<GatewayContext>) {
        for base in Gateway.openAIBases {
            router.post("\(base)/files") { request, _ in
                let principal = try caller(request, .write)
                let file = try await upload(request, account: principal.account)
                try await keepsHere(file.id, of: principal.account)
                return try Answer.json(file)
            }
            router.get("\(base)/files") { request, _ in
                let principal = try caller(request, .read)
                let purpose = request.uri.queryParameters["purpose"].map(String.init)
                let all = try await blocking { try files.list(account: principal.account) }
                return try Answer.json(
                    Page(
                        all.filter { purpose == nil || $0.purpose == purpose }, id: \.id,
                        after: request.uri.queryParameters["after"].map(String.init),
                        limit: try integer(request, "limit", 1...10_000) ?? 10_000))
            }
            router.get("\(base)/files/:id") { request, context in
                let (id, account) = (context.parameters.get("id") ?? "", try caller(request, .read).account)
                if let file = try await blocking({ try files.file(id, account: account) }) { return try Answer.json(file) }
                guard let other = try await elsewhere(id, of: account) else { throw Gateway.noSuchFile }
                return try Answer.json(try await other.document(StoredFile.self))
            }
            router.delete("\(base)/files/:id") { request, context in
                let (id, account) = (context.parameters.get("id") ?? "", try caller(request, .write).account)
                if let other = try await elsewhere(id, of: account) {
                    return Answer.bytes(ByteBuffer(bytes: try await other.change("delete")))
                }
                return try Answer.json(try await deleteFile(id, account))
            }
            router.get("\(base)/files/:id/content") { request, context in
                let (id, account) = (context.parameters.get("id") ?? "", try caller(request, .read).account)
                if let file = try await blocking({ try files.file(id, account: account) }) {
                    guard let bytes = try await blocking({ try files.bytes(id, account: account) }) else {
                        throw Gateway.noSuchFile
                    }
                    return content(of: file) { offset, count in try await blocking { try bytes.bytes(at: offset, count: count) } }
                }
                guard let other = try await elsewhere(id, of: account) else { throw Gateway.noSuchFile }
                return content(of: try await other.document(), piece: other.bytes)
            }
        }
    }

    /// The whole of a file, piece by piece.
    private func content(
        of file: StoredFile, piece: @escaping @Sendable (_ offset: Int64, _ count: Int) async throws -> [UInt8]
    ) -> Response {
        var headers = HTTPFields()
        headers[.contentType] = "application/octet-stream"
        headers[.contentDisposition] = Gateway.attachment(file.filename)
        headers[GatewayHeader.contentTypeOptions] = "nosniff"
        headers[GatewayHeader.contentSecurityPolicy] = "sandbox; default-src 'none'"
        return Response(
            status: .ok, headers: headers,
            body: ResponseBody(contentLength: Int(file.bytes)) { writer in
                var offset: Int64 = 0
                while offset < file.bytes {
                    let count = Int(min(1 << 20, file.bytes - offset))
                    try await writer.write(ByteBuffer(bytes: try await piece(offset, count)))
                    offset += Int64(count)
                }
                try await writer.finish(nil)
            })
    }

    func deleteFile(_ id: String, _ account: Int64) async throws -> DeletedFile {
        guard try await blocking({ try files.delete(id, account: account) }) else { throw Gateway.noSuchFile }
        try await keepsNoMore(id, of: account)
        return DeletedFile(id: id)
    }

    /// A form with `purpose` and `file`.
    private func upload(_ request: Request, account: Int64) async throws -> StoredFile {
        guard var form = MultipartReader(contentType: request.headers[.contentType] ?? "") else {
            throw GatewayError(400, "invalid_body", "Send a form (multipart/form-data) with 'purpose' and 'file'.")
        }
        let announced = request.headers[.contentLength].flatMap { Int64($0) } ?? 0
        guard announced <= FileShelf.largestFile + (1 << 20) else {
            throw GatewayError(413, "too_large", "A file has at most \(FileShelf.largestFile) bytes.")
        }
        try disk.check(announced, .newWork)
        let (name, file) = try await blocking { try files.arrival() }
        do {
            var (part, purpose, filename, size) = ("", "", String?.none, Int64(0))
            for try await piece in request.body {
                var content: [UInt8] = []
                for event in try Gateway.form({ try form.take(Array(buffer: piece)) }) {
                    switch event {
                    case .part(let name, let given):
                        part = name
                        if name == "file" { filename = given ?? "file" }
                    case .bytes(let bytes) where part == "file": content += bytes
                    case .bytes(let bytes) where part == "purpose": purpose += String(decoding: bytes.prefix(64), as: UTF8.self)
                    case .bytes, .end: continue
                    }
                }
                guard size + Int64(content.count) <= FileShelf.largestFile else {
                    throw GatewayError(413, "too_large", "A file has at most \(FileShelf.largestFile) bytes.")
                }
                guard !content.isEmpty else { continue }
                try disk.check(Int64(content.count), .newWork)
                let (bytes, at) = (content, size)
                try await blocking { try file.write(bytes, at: at) }
                size += Int64(bytes.count)
            }
            guard form.isOver, let filename,
                ["batch", "user_data", "assistants", "fine-tune", "vision", "evals"].contains(purpose)
            else {
                throw GatewayError(400, "invalid_body", "Send a whole form with 'file' and a 'purpose' such as batch.")
            }
            let (kept, now) = (String(filename.prefix(255)), unixTime)
            let why = purpose
            return try await blocking {
                try files.keep(name, file, filename: kept, purpose: why, account: account, now: now)
            }
        } catch {
            files.drop(name)
            throw error
        }
    }

    private static func form<Value>(_ body: () throws -> Value) throws -> Value {
        do { return try body() } catch let error as MultipartReader.Malformed {
            throw GatewayError(400, "invalid_body", "The form is broken: \(error.reason).")
        }
    }
}
