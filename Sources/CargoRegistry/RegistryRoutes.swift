import CargoArtifact
import CargoFiles
import CargoStore
public import CargoWire
import FoundationEssentials
import HTTPTypes
public import Hummingbird
import NIOCore

/// Who a request of the registry comes from.
public struct RegistryCaller: Sendable {
    public let account: Int64
    public init(account: Int64) { self.account = account }
}

/// The OCI distribution API 1.1 under `/v2`: push, pull, tags, referrers, mount.
public struct RegistryRoutes<Context: RequestContext>: Sendable {
    /// Checks the request's credentials for `read` or `publish`; throws `RegistryError` 401 or 403.
    public typealias Authorize = @Sendable (Request, Scope) throws -> RegistryCaller
    /// Throws `RegistryError` 507 when so many bytes more would not leave enough room on the disk.
    public typealias Room = @Sendable (Int64) throws -> Void

    private let index: RegistryIndex
    private let authorize: Authorize
    private let room: Room
    private let uploads = UploadSessions()
    private let blobGuard: BlobGuard
    /// Bytes of one blob at most.
    private let largestBlob: Int64 = 1 << 40

    public init(
        index: RegistryIndex, blobGuard: BlobGuard, authorize: @escaping Authorize, room: @escaping Room = { _ in }
    ) {
        self.index = index
        self.blobGuard = blobGuard
        self.authorize = authorize
        self.room = room
    }

    public func add(to router: Router<Context>) {
        let base = "/v2/:publisher/:name"
        router.get("/v2") { request, _ in
            try await answering {
                _ = try authorize(request, .read)
                return json([String: String]())
            }
        }
        for method in [HTTPRequest.Method.get, .head] {
            route(router, "\(base)/blobs/:digest", method, .read, getBlob)
            route(router, "\(base)/manifests/:reference", method, .read, getManifest)
        }
        route(router, "\(base)/tags/list", .get, .read, listTags)
        route(router, "\(base)/referrers/:digest", .get, .read, listReferrers)
        route(router, "\(base)/blobs/uploads", .post, .publish, beginUpload)
        route(router, "\(base)/blobs/uploads/:upload", .get, .publish, uploadStatus)
        route(router, "\(base)/blobs/uploads/:upload", .patch, .publish, appendUpload)
        route(router, "\(base)/blobs/uploads/:upload", .put, .publish, finishUpload)
        route(router, "\(base)/blobs/uploads/:upload", .delete, .publish, cancelUpload)
        route(router, "\(base)/manifests/:reference", .put, .publish, putManifest)
    }

    private struct Call {
        var request: Request
        var context: Context
        var name: CargoName
        var caller: RegistryCaller
    }

    private func route(
        _ router: Router<Context>, _ path: String, _ method: HTTPRequest.Method, _ scope: Scope,
        _ handler: @escaping @Sendable (Call) async throws -> Response
    ) {
        router.on(RouterPath(stringLiteral: path), method: method) { request, context in
            try await answering {
                let caller = try authorize(request, scope)
                guard let publisher = context.parameters.get("publisher"), let short = context.parameters.get("name"),
                    let name = CargoName("\(publisher)/\(short)")
                else { throw RegistryError(400, "NAME_INVALID", "A name is publisher/name in lower-case letters and digits.") }
                if scope == .publish {
                    let owner = try await blocking { try index.owner(of: name, claimingFor: caller.account) }
                    guard owner == caller.account else {
                        throw RegistryError(403, "DENIED", "The publisher \(name.publisher) belongs to another account.")
                    }
                }
                return try await handler(Call(request: request, context: context, name: name, caller: caller))
            }
        }
    }

    /// Turns what a handler throws into the specification's errors.
    private func answering(_ body: () async throws -> Response) async throws -> Response {
        do {
            return try await body()
        } catch let error as RegistryError {
            var headers = HTTPFields()
            if error.status == 401 { headers[.wwwAuthenticate] = "Basic realm=\"longshore\"" }
            return error.response(headers: headers)
        } catch let refusal as Refusal {
            let code = refusal.rule == "size-mismatch" ? "SIZE_INVALID" : "DIGEST_INVALID"
            return RegistryError(400, code, refusal.message).response()
        } catch let failure as StrictJSONFailure {
            return RegistryError(400, "MANIFEST_INVALID", "\(failure)").response()
        } catch let error as BlobTransfer.TooLarge {
            return RegistryError(413, "SIZE_INVALID", "A body here has at most \(error.limit) bytes.").response()
        }
    }

    private func json(_ value: some Encodable, type: String = "application/json", headers: HTTPFields = [:]) -> Response {
        var headers = headers
        headers[.contentType] = type
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.withoutEscapingSlashes]
        let data = (try? encoder.encode(value)) ?? Data()
        return Response(status: .ok, headers: headers, body: ResponseBody(byteBuffer: ByteBuffer(bytes: data)))
    }

    private func digest(_ text: String?) throws -> CargoArtifact.Digest {
        guard let text, let digest = CargoArtifact.Digest(text) else {
            throw RegistryError(400, "DIGEST_INVALID", "A digest is sha256: and 64 lower-case hexadecimal digits.")
        }
        return digest
    }

    // MARK: Pull

    private func getBlob(_ call: Call) async throws -> Response {
        let digest = try digest(call.context.parameters.get("digest"))
        let name = call.name
        guard try await blocking({ try index.hasBlob(digest, in: name) }) else { throw RegistryError.blobUnknown }
        var headers = HTTPFields()
        headers[.contentType] = "application/octet-stream"
        headers[RegistryHeader.contentDigest] = digest.description
        guard let response = try await BlobTransfer.answer(digest, in: index.blobs, to: call.request, headers: headers) else {
            throw RegistryError.blobUnknown
        }
        return response
    }

    private func getManifest(_ call: Call) async throws -> Response {
        let name = call.name
        let reference = call.context.parameters.get("reference") ?? ""
        let found = try await blocking {
            try index.resolve(name, tagOrDigest: reference).flatMap { try index.manifest(name, $0) }
        }
        guard let found else { throw RegistryError.manifestUnknown }
        var headers = HTTPFields()
        headers[.contentType] = found.mediaType
        headers[RegistryHeader.contentDigest] = found.digest.description
        headers[.contentLength] = String(found.bytes.count)
        guard call.request.method != .head else { return Response(status: .ok, headers: headers) }
        return Response(status: .ok, headers: headers, body: ResponseBody(byteBuffer: ByteBuffer(bytes: found.bytes)))
    }

    private struct TagList: Encodable {
        var name: String
        var tags: [String]
    }

    private func listTags(_ call: Call) async throws -> Response {
        let name = call.name
        guard var tags = try await blocking({ try index.tags(name) }) else { throw RegistryError.nameUnknown }
        let query = call.request.uri.queryParameters
        if let last = query["last"] { tags = tags.filter { $0 > String(last) } }
        var headers = HTTPFields()
        if let text = query["n"] {
            guard let most = Int(text), most >= 0 else { throw RegistryError(400, "UNSUPPORTED", "n is a number of tags.") }
            if tags.count > most {
                tags = Array(tags.prefix(most))
                if let last = tags.last {
                    headers[RegistryHeader.link] = "</v2/\(name)/tags/list?n=\(most)&last=\(last)>; rel=\"next\""
                }
            }
        }
        return json(TagList(name: name.description, tags: tags), headers: headers)
    }

    private func listReferrers(_ call: Call) async throws -> Response {
        let name = call.name
        let subject = try digest(call.context.parameters.get("digest"))
        var descriptors = try await blocking { try index.referrers(name, subject) }
        var headers = HTTPFields()
        if let type = call.request.uri.queryParameters["artifactType"] {
            descriptors = descriptors.filter { $0.artifactType == String(type) }
            headers[RegistryHeader.filtersApplied] = "artifactType"
        }
        return json(ImageIndex(manifests: descriptors), type: MediaType.imageIndex, headers: headers)
    }

    // MARK: Push

    private func beginUpload(_ call: Call) async throws -> Response {
        let name = call.name
        let query = call.request.uri.queryParameters
        if let mount = query["mount"], let from = query["from"] {
            let wanted = try digest(String(mount))
            let mounted = try await blobGuard.naming {
                try await blocking {
                    guard let source = CargoName(from), try index.hasBlob(wanted, in: source) else { return false }
                    try index.addBlob(wanted, to: name)
                    return true
                }
            }
            if mounted { return created(wanted, name) }
        }
        if let expected = query["digest"] {
            let wanted = try digest(String(expected))
            let writer = try await blocking { try index.blobs.writer() }
            try await BlobTransfer.receive(call.request.body, into: writer, limit: largestBlob, room: room)
            try await keep(writer, wanted, name)
            return created(wanted, name)
        }
        let writer = try await blocking { try index.blobs.writer() }
        let id = try uploads.begin(name, account: call.caller.account, writer: writer)
        return progress(.accepted, id, name, size: 0)
    }

    private func created(_ digest: CargoArtifact.Digest, _ name: CargoName) -> Response {
        var headers = HTTPFields()
        headers[.location] = "/v2/\(name)/blobs/\(digest)"
        headers[RegistryHeader.contentDigest] = digest.description
        return Response(status: .created, headers: headers)
    }

    private func progress(_ status: HTTPResponse.Status, _ id: String, _ name: CargoName, size: Int64) -> Response {
        var headers = HTTPFields()
        headers[.location] = "/v2/\(name)/blobs/uploads/\(id)"
        headers[RegistryHeader.uploadID] = id
        headers[.range] = "0-\(max(0, size - 1))"
        return Response(status: status, headers: headers)
    }

    private func uploadStatus(_ call: Call) async throws -> Response {
        let id = call.context.parameters.get("upload") ?? ""
        let writer = try uploads.take(id, call.name, account: call.caller.account)
        defer { uploads.giveBack(id) }
        return progress(.noContent, id, call.name, size: writer.size)
    }

    private func appendUpload(_ call: Call) async throws -> Response {
        let id = call.context.parameters.get("upload") ?? ""
        let writer = try uploads.take(id, call.name, account: call.caller.account)
        defer { uploads.giveBack(id) }
        try checkRange(call.request, at: writer.size)
        try await BlobTransfer.receive(call.request.body, into: writer, limit: largestBlob, room: room)
        return progress(.accepted, id, call.name, size: writer.size)
    }

    /// A chunk that does not begin where the upload ends would leave a hole.
    private func checkRange(_ request: Request, at size: Int64) throws {
        guard let range = request.headers[.contentRange] else { return }
        let first = range.drop { !$0.isNumber }.prefix { $0.isNumber }
        guard Int64(first) == size else {
            throw RegistryError(416, "BLOB_UPLOAD_INVALID", "This chunk must begin at byte \(size).")
        }
    }

    private func finishUpload(_ call: Call) async throws -> Response {
        let id = call.context.parameters.get("upload") ?? ""
        let wanted = try digest(call.request.uri.queryParameters["digest"].map(String.init))
        let writer = try uploads.take(id, call.name, account: call.caller.account)
        do {
            try checkRange(call.request, at: writer.size)
            try await BlobTransfer.receive(call.request.body, into: writer, limit: largestBlob, room: room)
        } catch {
            uploads.giveBack(id)
            throw error
        }
        uploads.end(id)
        try await keep(writer, wanted, call.name)
        return created(wanted, call.name)
    }

    private func keep(_ writer: BlobWriter, _ digest: CargoArtifact.Digest, _ name: CargoName) async throws {
        try await blobGuard.naming {
            try await blocking {
                try writer.finish(expecting: digest, size: nil)
                try index.addBlob(digest, to: name)
            }
        }
    }

    private func cancelUpload(_ call: Call) async throws -> Response {
        let id = call.context.parameters.get("upload") ?? ""
        let writer = try uploads.take(id, call.name, account: call.caller.account)
        uploads.end(id)
        try await blocking { writer.discard() }
        return Response(status: .noContent)
    }

    private func putManifest(_ call: Call) async throws -> Response {
        let reference = call.context.parameters.get("reference") ?? ""
        var request = call.request
        let buffer: ByteBuffer
        do {
            buffer = try await request.collectBody(upTo: RegistryIndex.largestManifest)
        } catch is NIOTooManyBytesError {
            throw BlobTransfer.TooLarge(limit: Int64(RegistryIndex.largestManifest))
        }
        let bytes = Array(buffer: buffer)
        let actual = CargoArtifact.Digest(of: bytes)
        var tag: CargoVersion?
        if let expected = CargoArtifact.Digest(reference) {
            guard expected == actual else {
                throw RegistryError(400, "DIGEST_INVALID", "The manifest is \(actual), not \(expected).")
            }
        } else if let version = CargoVersion(reference) {
            tag = version
        } else {
            throw RegistryError(400, "TAG_INVALID", "A tag here is a semantic version such as 1.2.0.")
        }
        let (name, version) = (call.name, tag)
        let type = request.headers[.contentType]
        let subject = try await blobGuard.naming {
            try await blocking {
                let manifest = try PushedManifest(bytes, contentType: type)
                try manifest.check(in: index, name, tag: version)
                _ = try index.addManifest(
                    bytes, mediaType: manifest.mediaType, to: name, tag: version, referrer: try manifest.referrer(of: actual))
                return manifest.subject
            }
        }
        var response = created(actual, call.name)
        response.headers[.location] = "/v2/\(call.name)/manifests/\(actual)"
        if let subject { response.headers[RegistryHeader.subject] = subject.description }
        return response
    }
}

/// The distribution specification's own header names. Each is a valid token (RFC 9110, section 5.1), so the
/// initializer, which refuses only invalid ones, never gives nil.
// swift-format-ignore: NeverForceUnwrap
enum RegistryHeader {
    static let contentDigest = HTTPField.Name("Docker-Content-Digest")!
    static let uploadID = HTTPField.Name("Docker-Upload-UUID")!
    static let subject = HTTPField.Name("OCI-Subject")!
    static let filtersApplied = HTTPField.Name("OCI-Filters-Applied")!
    static let link = HTTPField.Name("Link")!
}
