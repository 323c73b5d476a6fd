import CargoArtifact
import CargoWire
import FoundationEssentials
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
