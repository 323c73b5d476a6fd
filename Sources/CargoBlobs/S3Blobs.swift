internal import CCurl
public import CargoArtifact
import CargoFiles
public import CargoStore
import CargoTransfer
import Foundation
import Synchronization
import SystemPackage

/// Who asks an object store.
public struct S3Credentials: Sendable {
    let access: String
    let secret: String
    let token: String?

    /// From the names that every S3 tool reads; nil where one is missing.
    public init?(environment: [String: String]) {
        guard let access = environment["AWS_ACCESS_KEY_ID"], !access.isEmpty, let secret = environment["AWS_SECRET_ACCESS_KEY"],
            !secret.isEmpty
        else { return nil }
        self.access = access
        self.secret = secret
        token = environment["AWS_SESSION_TOKEN"]
    }
}

/// Blobs in an S3-compatible object store: one object each, `PREFIXsha256/HEX`, sent whole with its SHA-256 in the signature, so
/// that the server refuses a body that is not the blob.
///
/// A request that broke, or that the server was too busy for, is tried again; each writes or reads the same bytes under the
/// same name, so trying again changes nothing.
public final class S3Blobs: JobBlobs {
    public let staging: BlobStore
    /// What one PUT may carry.
    public let largest: Int64 = 5 << 30
    private let place: S3Place
    private let credentials: S3Credentials
    private let sessions = Mutex<[Session]>([])

    private static let attempts = 4
    /// Kept connections; more requests at once open their own.
    private static let mostSessions = 16
    /// Bytes of an answer that is no blob, kept for its message.
    private static let largestProblem = 16 << 10

    /// One of libcurl's handles: used by whoever took it out of `sessions`, so by one thread at a time.
    private final class Session: @unchecked Sendable {
        let handle: UnsafeMutableRawPointer
        init?() {
            guard let handle = ccurl_session_new() else { return nil }
            self.handle = handle
        }
        deinit { ccurl_session_free(handle) }
    }

    /// Asks for the bucket once, so that a wrong name or key is said at the start.
    public init(_ place: S3Place, credentials: S3Credentials, staging: BlobStore) throws {
        if let problem = ccurl_load() { throw BlobsFailure(String(cString: problem)) }
        self.place = place
        self.credentials = credentials
        self.staging = staging
        let answer = try ask("HEAD", place.base)
        guard answer.status == 200 else { throw failure("HEAD", answer) }
    }

    private func url(_ digest: Digest) -> String { place.url(of: "sha256/\(digest.hex)") }

    public func settle(_ digest: Digest, size: Int64) throws {
        guard size <= largest else { throw BlobsFailure("\(place) takes blobs of at most \(largest) bytes.") }
        let file: File
        do {
            file = try staging.open(digest)
        } catch {
            // Another request with the same content has brought it away.
            guard try self.size(of: digest) == size else { throw error }
            return
        }
        let answer = try ask("PUT", url(digest), body: (file, digest, size))
        guard answer.status == 200 || answer.status == 201 || answer.status == 204 else { throw failure("PUT", answer) }
        _ = try? staging.remove(digest)
    }

    public func size(of digest: Digest) throws -> Int64? {
        let answer = try ask("HEAD", url(digest))
        switch answer.status {
        case 200: return answer.length
        case 404: return nil
        default: throw failure("HEAD", answer)
        }
    }

    public func bytes(of digest: Digest, _ range: Range<Int64>) throws -> [UInt8] {
        if range.isEmpty { return [] }
        precondition(range.count <= BlobsBounds.piece, "callers read a blob in pieces")
        let answer = try ask("GET", url(digest), range: range)
        guard answer.status == 206 || answer.status == 200, answer.body.count == range.count else { throw failure("GET", answer) }
        return answer.body
    }

    public func remove(_ digest: Digest) throws {
        let answer = try ask("DELETE", url(digest))
        guard answer.status == 200 || answer.status == 204 || answer.status == 404 else { throw failure("DELETE", answer) }
    }

    // MARK: Requests

    private struct Answer {
        var status = 0
        var length: Int64 = -1
        var body: [UInt8] = []
        var problem = ""
    }

    private func failure(_ method: String, _ answer: Answer) -> BlobsFailure {
        let said = String(decoding: answer.body.prefix(300), as: UTF8.self)
        let hint =
            answer.status == 403
            ? "see that AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY belong to a key that may read and write there"
            : "see that the bucket exists and the endpoint is right"
        return BlobsFailure("\(place) answered \(answer.status) to \(method): \(hint). \(said)")
    }

    private func ask(
        _ method: String, _ url: String, body: (file: File, digest: Digest, size: Int64)? = nil, range: Range<Int64>? = nil
    ) throws -> Answer {
        var answer = Answer()
        for attempt in 1...S3Blobs.attempts {
            // Waits of 0.2, 0.4 and 0.8 seconds, on a thread that may block.
            if attempt > 1 { usleep(100_000 << UInt32(attempt - 1)) }
            let end = try once(method, url, body: body, range: range, into: &answer)
            switch (end, answer.status) {
            case (ccurl_done, 500...599), (ccurl_done, 429), (ccurl_broken, _): continue
            case (ccurl_done, _): return answer
            default: throw BlobsFailure("\(place) cannot be asked: \(answer.problem).")
            }
        }
        if answer.status > 0 { return answer }
        throw BlobsFailure("\(place) does not answer: \(answer.problem).")
    }

    /// What libcurl's callback fills.
    private final class Sink {
        var bytes: [UInt8] = []
        let most: Int
        init(most: Int) { self.most = most }
    }

    private func once(
        _ method: String, _ url: String, body: (file: File, digest: Digest, size: Int64)?, range: Range<Int64>?,
        into answer: inout Answer
    ) throws -> ccurl_end {
        guard let session = sessions.withLock({ $0.popLast() }) ?? Session() else { throw BlobsFailure("Memory is short.") }
        defer {
            sessions.withLock { sessions in
                if sessions.count < S3Blobs.mostSessions { sessions.append(session) }
            }
        }
        let authorities = CertificateAuthorities.fromEnvironment()
        let texts = [
            url, method, "aws:amz:\(place.region):s3", "\(credentials.access):\(credentials.secret)",
            credentials.token, body?.digest.hex ?? Digest(of: [UInt8]()).hex, authorities.file, authorities.folder,
        ].map { $0.map { strdup($0) } ?? nil }
        defer { for text in texts { free(text) } }
        let sink = Sink(most: range.map { max($0.count, S3Blobs.largestProblem) } ?? S3Blobs.largestProblem)
        var asked = ccurl_object()
        asked.url = UnsafePointer(texts[0])
        asked.method = UnsafePointer(texts[1])
        asked.signature = UnsafePointer(texts[2])
        asked.user = UnsafePointer(texts[3])
        asked.token = UnsafePointer(texts[4])
        asked.sha256 = UnsafePointer(texts[5])
        asked.ca_file = UnsafePointer(texts[6])
        asked.ca_path = UnsafePointer(texts[7])
        asked.upload = body?.file.descriptor.rawValue ?? -1
        asked.size = body?.size ?? 0
        asked.first = range?.lowerBound ?? -1
        asked.last = range.map { $0.upperBound - 1 } ?? -1
        asked.connect_ms = 10_000
        asked.stall_seconds = 30
        asked.body = { bytes, count, context in
            // The sink outlives the request, which runs within this function.
            guard let context, let bytes else { return 0 }
            let sink = Unmanaged<Sink>.fromOpaque(context).takeUnretainedValue()
            guard sink.bytes.count + count <= sink.most else { return 0 }
            sink.bytes.append(contentsOf: UnsafeRawBufferPointer(start: bytes, count: count))
            return 1
        }
        asked.context = Unmanaged.passUnretained(sink).toOpaque()
        var (status, length) = (0, Int64(-1))
        var problem = [CChar](repeating: 0, count: 256)
        let end = withExtendedLifetime((sink, body?.file)) {
            ccurl_object_perform(session.handle, &asked, &status, &length, &problem)
        }
        answer = Answer(
            status: status, length: length, body: sink.bytes,
            problem: String(decoding: problem.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self))
        return end
    }
}
