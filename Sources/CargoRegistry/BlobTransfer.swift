public import CargoArtifact
import CargoFiles
public import CargoStore
import HTTPTypes
public import Hummingbird
import NIOCore

/// Bytes between HTTP bodies and the blob store, streamed: no body is ever held whole.
public enum BlobTransfer {
    /// Bytes gathered before they are handed to a thread that may block.
    static let pieceLength = 1 << 20

    /// The body was longer than its bound.
    public struct TooLarge: Error, Sendable {
        public let limit: Int64
    }

    /// Appends a whole body to a writer, at most `limit` bytes in all; `room` throws when the disk has no place for a piece.
    public static func receive(
        _ body: RequestBody, into writer: BlobWriter, limit: Int64, room: (Int64) throws -> Void
    ) async throws {
        var gathered = ByteBuffer()
        for try await var buffer in body {
            gathered.writeBuffer(&buffer)
            guard writer.size + Int64(gathered.readableBytes) <= limit else { throw TooLarge(limit: limit) }
            if gathered.readableBytes >= pieceLength {
                let full = gathered
                try room(Int64(full.readableBytes))
                try await blocking { try full.withUnsafeReadableBytes { try writer.write($0) } }
                gathered = ByteBuffer()
            }
        }
        guard gathered.readableBytes > 0 else { return }
        let rest = gathered
        try room(Int64(rest.readableBytes))
        try await blocking { try rest.withUnsafeReadableBytes { try writer.write($0) } }
    }

    /// Stores a whole body as one blob, and lets `naming` write the row that names it before anyone finds it unused.
    public static func store<Value>(
        _ body: RequestBody, in blobs: BlobStore, size: Int64?, limit: Int64, under blobGuard: BlobGuard,
        room: (Int64) throws -> Void, naming: (CargoArtifact.Digest, Int64) async throws -> Value
    ) async throws -> Value {
        let writer = try await blocking { try blobs.writer() }
        do {
            try await receive(body, into: writer, limit: limit, room: room)
            return try await blobGuard.naming {
                let (digest, size) = try await blocking { try writer.finish(expecting: nil, size: size) }
                return try await naming(digest, size)
            }
        } catch {
            try? await blocking { writer.discard() }
            throw error
        }
    }

    /// A blob as an answer; a `Range` of one part is honoured (RFC 9110, section 14).
    public static func answer(
        _ digest: CargoArtifact.Digest, in blobs: BlobStore, to request: Request, headers: HTTPFields
    ) async throws -> Response? {
        guard let size = try await blocking({ blobs.size(of: digest) }) else { return nil }
        let file = request.method == .head ? nil : try await blocking { try blobs.open(digest) }
        return answer(digest, size: size, to: request, headers: headers) { range in
            try file?.bytes(at: range.lowerBound, count: range.count) ?? []
        }
    }

    /// The same for bytes from anywhere; `bytes` blocks, and is asked for at most 1 MiB at once.
    public static func answer(
        _ digest: CargoArtifact.Digest, size: Int64, to request: Request, headers: HTTPFields,
        bytes read: @escaping @Sendable (Range<Int64>) throws -> [UInt8]
    ) -> Response {
        var headers = headers
        headers[.acceptRanges] = "bytes"
        headers[.eTag] = "\"\(digest)\""
        var range = 0..<size
        var status = HTTPResponse.Status.ok
        if let asked = request.headers[.range], let parsed = ByteRange.parse(asked, size: size) {
            guard let part = parsed else {
                headers[.contentRange] = "bytes */\(size)"
                return Response(status: .rangeNotSatisfiable, headers: headers)
            }
            range = part
            status = .partialContent
            headers[.contentRange] = "bytes \(part.lowerBound)-\(part.upperBound - 1)/\(size)"
        }
        if request.method == .head {
            headers[.contentLength] = String(range.count)
            return Response(status: status, headers: headers)
        }
        let bytes = range
        return Response(
            status: status, headers: headers,
            body: ResponseBody(contentLength: bytes.count) { writer in
                var offset = bytes.lowerBound
                while offset < bytes.upperBound {
                    let start = offset
                    let end = min(start + 1 << 20, bytes.upperBound)
                    let piece = try await blocking { try read(start..<end) }
                    try await writer.write(ByteBuffer(bytes: piece))
                    offset = end
                }
                try await writer.finish(nil)
            })
    }
}

/// A `Range` header of one part.
enum ByteRange {
    /// Nil: not a range that we serve, so the whole is sent. `.some(nil)`: a range outside of the content.
    static func parse(_ text: String, size: Int64) -> Range<Int64>?? {
        guard text.hasPrefix("bytes="), !text.contains(",") else { return nil }
        let parts = text.dropFirst(6).split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 2 else { return nil }
        if parts[0].isEmpty {
            guard let last = Int64(parts[1]), last >= 0 else { return nil }
            guard last > 0, size > 0 else { return .some(nil) }
            return .some(max(0, size - last)..<size)
        }
        guard let first = Int64(parts[0]), first >= 0 else { return nil }
        guard first < size else { return .some(nil) }
        if parts[1].isEmpty { return .some(first..<size) }
        guard let last = Int64(parts[1]), last >= first else { return nil }
        return .some(first..<min(last + 1, size))
    }
}
