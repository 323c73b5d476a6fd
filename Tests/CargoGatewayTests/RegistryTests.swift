import CargoArtifact
import CargoWire
import Dispatch
import FoundationEssentials
import Glibc
import NIOHTTP1
import Testing

@Suite struct RegistryTests {
    @Test func aBlobGoesInByChunksAndComesOutByRange() async throws {
        try await withCoordinator { port in
            let bytes = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
            let digest = Digest(of: bytes)
            let begun = try await port.call(.POST, "/v2/acme/hello/blobs/uploads/")
            #expect(begun.status == 202)
            let location = begun.headers.first(name: "Location") ?? ""
            let first = try await port.call(
                .PATCH, location, body: Array(bytes[..<1_000_000]), headers: [("Content-Range", "0-999999")])
            #expect(first.status == 202 && first.headers.first(name: "Range") == "0-999999")
            let gap = try await port.call(.PATCH, location, body: [1], headers: [("Content-Range", "5-5")])
            #expect(gap.status == 416)
            let last = try await port.call(.PUT, location + "?digest=\(digest)", body: Array(bytes[1_000_000...]))
            #expect(last.status == 201)
            #expect(try await port.get("/v2/acme/hello/blobs/\(digest)").bytes == bytes)
            let part = try await port.get("/v2/acme/hello/blobs/\(digest)", headers: [("Range", "bytes=2999990-")])
            #expect(part.status == 206 && part.bytes == Array(bytes[2_999_990...]))
            #expect(part.headers.first(name: "Content-Range") == "bytes 2999990-2999999/3000000")
            let past = try await port.get("/v2/acme/hello/blobs/\(digest)", headers: [("Range", "bytes=3000000-")])
            #expect(past.status == 416)
            let head = try await port.call(.HEAD, "/v2/acme/hello/blobs/\(digest)")
            #expect(head.status == 200 && head.headers.first(name: "Content-Length") == "3000000" && head.bytes.isEmpty)
        }
    }

    /// A client takes what follows for its next answer, and closes the connection under its next request.
    @Test(arguments: ["/v2/acme/hello/blobs/sha256:\(String(repeating: "0", count: 64))", "/jobs/none", "/nowhere"])
    func `no body follows a HEAD, however it is answered`(path: String) async throws {
        try await withCoordinator { port in
            let number = try #require(port.url.split(separator: ":").last.flatMap { UInt16($0) })
            let text = try await exchange(
                number, "HEAD \(path) HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            let answers = text.split(separator: "\r\n\r\n", maxSplits: 1)
            #expect(answers.first?.hasPrefix("HTTP/1.1 4") == true)
            #expect(answers.last?.hasPrefix("HTTP/1.1 ") == true, "\(text)")
        }
    }

    @Test func `a body that is not framed as HTTP has it is a bad request`() async throws {
        try await withCoordinator { port in
            let number = try #require(port.url.split(separator: ":").last.flatMap { UInt16($0) })
            let head = "POST /jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \(port.key)\r\nTransfer-Encoding: chunked\r\n\r\n"
            let text = try await exchange(number, head + "FFFFFFFFFFFFFFFFFF\r\nx")
            #expect(text.hasPrefix("HTTP/1.1 400 "), "\(text)")
        }
    }

    /// What the server says to these bytes until it closes the connection.
    private func exchange(_ port: UInt16, _ words: String) async throws -> String {
        // It blocks: on a thread of its own.
        try await withCheckedThrowingContinuation { done in
            DispatchQueue.global().async { done.resume(with: Result { try RegistryTests.exchangeBlocking(port, words) }) }
        }
    }

    private static func exchangeBlocking(_ port: UInt16, _ words: String) throws -> String {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var patience = timeval(tv_sec: 10, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let connected = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        try #require(connected == 0)
        let bytes = Array(words.utf8)
        try #require(send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count)
        var answer: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 4096)
        while case let count = recv(descriptor, &piece, piece.count, 0), count > 0, answer.count < 1 << 20 {
            answer += piece[..<count]
        }
        return String(decoding: answer, as: UTF8.self)
    }

    @Test func contentOtherThanItsDigestIsNotKept() async throws {
        try await withCoordinator { port in
            let wrong = Digest(of: Array("other".utf8))
            let reply = try await port.call(.POST, "/v2/acme/hello/blobs/uploads/?digest=\(wrong)", body: Array("bytes".utf8))
            #expect(reply.status == 400 && reply.text.contains("DIGEST_INVALID"))
            #expect(try await port.get("/v2/acme/hello/blobs/\(wrong)").status == 404)
        }
    }

    @Test func aCargoIsTakenOnlyUnderItsSignedNameAndVersion() async throws {
        try await withCoordinator { port in
            try await port.push("hello")
            let manifest = try await port.get("/v2/acme/hello/manifests/1.0.0")
            #expect(manifest.status == 200 && manifest.headers.first(name: "Content-Type") == MediaType.imageManifest)
            let type = [("Content-Type", MediaType.imageManifest)]
            let other = try await port.call(.PUT, "/v2/acme/hello/manifests/2.0.0", body: manifest.bytes, headers: type)
            #expect(other.status == 400 && other.text.contains("MANIFEST_INVALID"))
            let missing = try await port.call(.PUT, "/v2/acme/else/manifests/1.0.0", body: manifest.bytes, headers: type)
            #expect(missing.text.contains("MANIFEST_BLOB_UNKNOWN"))
            #expect(try await port.get("/v2/acme/hello/tags/list")["tags"] == .array([.string("1.0.0")]))
        }
    }

    @Test func referrersListWhatNamesASubject() async throws {
        try await withCoordinator { port in
            try await port.push()
            let root = Digest(of: try await port.get("/v2/acme/hello/manifests/1.0.0").bytes)
            let empty = Array("{}".utf8)
            let blob = try await port.pushBlob(empty)
            let signature = ImageManifest(
                artifactType: MediaType.sigstoreBundle, config: Descriptor(mediaType: MediaType.empty, digest: blob, size: 2),
                layers: [], subject: Descriptor(mediaType: MediaType.imageManifest, digest: root, size: 1))
            let bytes = Array(try JSONEncoder().encode(signature))
            let put = try await port.call(
                .PUT, "/v2/acme/hello/manifests/\(Digest(of: bytes))", body: bytes,
                headers: [("Content-Type", MediaType.imageManifest)])
            #expect(put.status == 201 && put.headers.first(name: "OCI-Subject") == root.description)
            let list = try await port.get("/v2/acme/hello/referrers/\(root)")
            let index = try JSONDecoder().decode(ImageIndex.self, from: Data(list.bytes))
            #expect(index.manifests.map(\.digest) == [Digest(of: bytes)])
            #expect(index.manifests.first?.artifactType == MediaType.sigstoreBundle)
            let none = try await port.get("/v2/acme/hello/referrers/\(root)?artifactType=application/x")
            #expect(try JSONDecoder().decode(ImageIndex.self, from: Data(none.bytes)).manifests.isEmpty)
        }
    }

    @Test func aTagThatWasPushedAgainIsTheNewCargoForTheNextJob() async throws {
        try await withCoordinator { port in
            try await port.push(jobEnv: ["GREETING"])
            let first = try await port.get("/jobs/" + port.submit())["digest"].string
            #expect(try await port.get("/jobs/" + port.submit())["digest"].string == first)
            try await port.push(jobEnv: ["OTHER"])
            let second = try await port.submit(["env": .object(["OTHER": .string("x")])])
            #expect(try await port.get("/jobs/" + second)["digest"].string != first)
        }
    }

    @Test func withoutAKeyItAsksForBasicCredentials() async throws {
        try await withCoordinator { port in
            let reply = try await port.with("").get("/v2/")
            #expect(reply.status == 401 && reply.headers.first(name: "WWW-Authenticate") == "Basic realm=\"longshore\"")
            #expect(reply.text.contains("UNAUTHORIZED"))
            let basic = "Basic " + Data("anyone:\(port.key)".utf8).base64EncodedString()
            #expect(try await port.get("/v2/", headers: [("Authorization", basic)]).status == 200)
        }
    }
}
