import CargoArtifact
import CargoWire
import Hummingbird
import NIOCore
import Synchronization
import Testing

@testable import CargoClient

/// Bytes that come over a connection that breaks.
@Suite struct DownloadTests {
    private static let content = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }

    /// Answers with ranges when asked to; each answer claims everything and hangs up after 70,000 bytes.
    private static func router(ranges: Bool, damage: Bool = false) -> Router<BasicRequestContext> {
        let router = Router()
        router.get("/jobs/{id}/outputs/**") { request, _ -> Response in
            var from = 0
            if ranges, let range = request.headers[.range], let start = Int(range.dropFirst(6).dropLast()) { from = start }
            var rest = Array(content[from...])
            if damage, !rest.isEmpty { rest[0] ^= 1 }
            let piece = rest
            let cut = ranges ? 70_000 : Int.max
            return Response(
                status: from > 0 ? .partialContent : .ok,
                body: .init(contentLength: piece.count) { writer in
                    try await writer.write(ByteBuffer(bytes: piece.prefix(cut)))
                    if piece.count > cut { throw Broken() }
                    try await writer.finish(nil)
                })
        }
        return router
    }

    private struct Broken: Error {}

    private static var file: OutputFile {
        OutputFile(path: "sub/data.bin", size: Int64(content.count), sha256: Digest(of: content).hex)
    }

    @Test func `a download that breaks goes on where it was`() async throws {
        let scratch = try Scratch()
        let folder = try OutputFolder(scratch.path)
        try await serving(Self.router(ranges: true)) { client in
            try await client.download(Self.file, of: "x", into: folder)
        }
        let bytes = try #require(scratch.bytes("sub/data.bin"))
        #expect(bytes == Self.content)
    }

    @Test func `bytes other than described are refused and nothing is kept`() async throws {
        let scratch = try Scratch()
        let folder = try OutputFolder(scratch.path)
        try await serving(Self.router(ranges: false, damage: true)) { client in
            let error = await #expect(throws: ClientError.self) { try await client.download(Self.file, of: "x", into: folder) }
            #expect(error?.code == "digest_mismatch")
        }
        #expect(scratch.bytes("sub/data.bin") == nil)
    }
}
