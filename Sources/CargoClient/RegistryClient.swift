import AsyncHTTPClient
public import CargoArtifact
public import CargoFiles
import NIOCore
import NIOHTTP1

/// The `/v2` of a coordinator, or any OCI distribution 1.1 registry that takes the same bearer token.
public struct RegistryClient: Sendable {
    let coordinator: CoordinatorClient
    public let name: CargoName

    /// A manifest larger than this is refused (distribution specification: registries should take 4 MiB).
    static let maximumManifest = 4 << 20
    /// An upload may be tried this often in all.
    static let uploadTries = 4

    public init(_ coordinator: CoordinatorClient, name: CargoName) {
        self.coordinator = coordinator
        self.name = name
    }

    var transport: Transport { coordinator.transport }
    var root: String { "/v2/\(name)" }

    // MARK: Reading

    /// A manifest or index by tag or digest. By digest its bytes are checked.
    public func manifest(_ reference: String) async throws -> [UInt8] {
        var call = Transport.Call(path: "\(root)/manifests/\(PercentEncoding.segment(reference))")
        if reference.hasPrefix("sha256:") { call.path = "\(root)/manifests/\(reference)" }
        call.headers = [("Accept", MediaType.imageManifest), ("Accept", MediaType.imageIndex)]
        let sent = call
        let bytes = try await coordinator.retrying(for: .seconds(20)) {
            try await transport.bytes(of: try await transport.response(to: sent), limit: RegistryClient.maximumManifest)
        }
        if let digest = CargoArtifact.Digest(reference), CargoArtifact.Digest(of: bytes) != digest {
            throw Refusal("digest-mismatch", "the registry answered other bytes than \(digest); nothing was kept")
        }
        return bytes
    }

    /// The manifests whose `subject` is `root` ("Listing Referrers"); empty when the registry knows none.
    public func referrers(of root: CargoArtifact.Digest, artifactType: String? = nil) async throws -> [Descriptor] {
        var call = Transport.Call(path: "\(self.root)/referrers/\(root)")
        if let artifactType { call.query = [("artifactType", artifactType)] }
        let sent = call
        let index: ImageIndex = try await coordinator.retrying(for: .seconds(20)) {
            let response = try await transport.response(to: sent, accepting: [404])
            let bytes = try await transport.bytes(of: response, limit: RegistryClient.maximumManifest)
            if response.status.code == 404 { return ImageIndex(manifests: []) }
            return try transport.decode(ImageIndex.self, from: bytes, path: sent.path)
        }
        return index.manifests.filter { artifactType == nil || $0.artifactType == artifactType }
    }

    /// One blob in order, checked; goes on where it was when the connection breaks.
    public func blob(_ descriptor: Descriptor, into sink: (UnsafeRawBufferPointer) throws -> Void) async throws {
        let call = Transport.Call(path: "\(root)/blobs/\(descriptor.digest)")
        do {
            try await coordinator.download(
                call, size: descriptor.size, sha256: descriptor.digest.hex, name: descriptor.digest.description, into: sink)
        } catch let error as ClientError where error.code == "digest_mismatch" {
            throw Refusal("digest-mismatch", "the registry sent other bytes than \(descriptor.digest); nothing of them was kept")
        }
    }

    // MARK: Writing

    /// Whether the registry has the blob already.
    public func has(blob digest: CargoArtifact.Digest) async throws -> Bool {
        let call = Transport.Call(method: .HEAD, path: "\(root)/blobs/\(digest)")
        let response = try await transport.response(to: call, accepting: [404])
        _ = try await transport.bytes(of: response, limit: 1 << 16)
        return response.status.code == 200
    }

    /// Uploads a blob from a stretch of a file, in one body ("Pushing a blob monolithically": POST then PUT).
    ///
    /// Returns false when the registry had it already.
    @discardableResult
    public func push(blob descriptor: Descriptor, from file: File, offset: Int64) async throws -> Bool {
        var backoff = Backoff()
        for attempt in 1... {
            do {
                if try await has(blob: descriptor.digest) { return false }
                try await upload(descriptor, from: file, offset: offset)
                return true
            } catch let error as ClientError where error.isTransient && attempt < RegistryClient.uploadTries {
                try await Task.sleep(for: backoff.next())
            }
        }
        return true
    }

    /// Puts a manifest under a tag or its digest.
    public func push(manifest bytes: [UInt8], mediaType: String, as reference: String) async throws {
        let call = Transport.Call(
            method: .PUT, path: "\(root)/manifests/\(reference)", headers: [("Content-Type", mediaType)],
            body: .bytes(ByteBuffer(bytes: bytes)))
        try await coordinator.retrying(for: .seconds(20)) { try await transport.send(call) }
    }

    private func upload(_ descriptor: Descriptor, from file: File, offset: Int64) async throws {
        let start = try await transport.response(
            to: .init(method: .POST, path: "\(root)/blobs/uploads/", headers: [("Content-Length", "0")]))
        _ = try await transport.bytes(of: start, limit: 1 << 16)
        guard let location = start.headers.first(name: "Location"), let path = sameOrigin(location) else {
            throw ClientError.badAnswer("\(transport.base) opened an upload without a Location on itself")
        }
        let separator = path.contains("?") ? "&" : "?"
        var call = Transport.Call(method: .PUT, path: path + separator + "digest=\(descriptor.digest)")
        call.headers = [("Content-Type", "application/octet-stream")]
        call.body = .stream(FileBody(file: file, offset: offset, size: descriptor.size), length: .known(descriptor.size))
        call.timeout = .hours(24)
        try await transport.send(call)
    }

    /// The path of a location; nil when it leads to another origin, which must not see the credential.
    private func sameOrigin(_ location: String) -> String? {
        if location.hasPrefix("/"), !location.hasPrefix("//") { return location }
        guard location.hasPrefix(transport.base + "/") else { return nil }
        return String(location.dropFirst(transport.base.count))
    }
}
