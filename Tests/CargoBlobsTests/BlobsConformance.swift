import CargoArtifact
import CargoBlobs
import CargoStore
import Foundation
import SystemPackage
import Testing

/// What every place for the blobs of jobs must do, whatever keeps their bytes.
@Suite("Places for blobs") struct BlobsConformance {
    enum Place: String, CaseIterable, Sendable { case folder, s3 }

    private static func open(_ place: Place) throws -> (blobs: any JobBlobs, scratch: Scratch) {
        let scratch = try Scratch()
        let store = try BlobStore(root: scratch.path.appending("store"))
        switch place {
        case .folder: return (FolderBlobs(store), scratch)
        case .s3: return (try S3Server.shared.get().blobs(staging: store), scratch)
        }
    }

    /// Bytes that no other test has.
    private static func fresh(_ count: Int) -> [UInt8] {
        var random = SystemRandomNumberGenerator()
        return (0..<count).map { _ in UInt8.random(in: .min ... .max, using: &random) }
    }

    @Test("what was kept is there, whole and in parts", arguments: Place.allCases)
    func keepsAndReads(_ place: Place) throws {
        let (blobs, scratch) = try Self.open(place)
        defer { withExtendedLifetime(scratch) {} }
        for count in [1, 1000, 9 << 20] {
            let bytes = Self.fresh(count)
            let digest = Digest(of: bytes)
            #expect(try blobs.size(of: digest) == nil)
            try blobs.store(bytes, as: digest)
            #expect(try blobs.size(of: digest) == Int64(count))
            var read: [UInt8] = []
            while read.count < count {
                let start = Int64(read.count)
                read += try blobs.bytes(of: digest, start..<min(start + BlobsBounds.piece, Int64(count)))
            }
            #expect(read == bytes)
            let middle = Int64(count / 3)..<Int64(count / 3 + 1)
            #expect(try blobs.bytes(of: digest, middle) == [bytes[count / 3]])
        }
    }

    @Test("an empty blob is a blob", arguments: Place.allCases)
    func empty(_ place: Place) throws {
        let (blobs, scratch) = try Self.open(place)
        defer { withExtendedLifetime(scratch) {} }
        let digest = Digest(of: [UInt8]())
        try blobs.store([], as: digest)
        #expect(try blobs.size(of: digest) == 0)
        #expect(try blobs.bytes(of: digest, 0..<0) == [])
    }

    @Test("the same blob twice is one, and what was removed is gone", arguments: Place.allCases)
    func removes(_ place: Place) throws {
        let (blobs, scratch) = try Self.open(place)
        defer { withExtendedLifetime(scratch) {} }
        let bytes = Self.fresh(100)
        let digest = Digest(of: bytes)
        try blobs.store(bytes, as: digest)
        try blobs.store(bytes, as: digest)
        try blobs.remove(digest)
        #expect(try blobs.size(of: digest) == nil)
        #expect(throws: (any Error).self) { _ = try blobs.bytes(of: digest, 0..<1) }
        try blobs.store(bytes, as: digest)
        #expect(try blobs.bytes(of: digest, 0..<100) == bytes)
    }

    @Test("bytes that are not what their name says are never kept", arguments: Place.allCases)
    func refusesOtherBytes(_ place: Place) throws {
        let (blobs, scratch) = try Self.open(place)
        defer { withExtendedLifetime(scratch) {} }
        let digest = Digest(of: Self.fresh(10))
        #expect(throws: (any Error).self) { try blobs.store(Self.fresh(10), as: digest) }
        #expect(try blobs.size(of: digest) == nil)
    }

    @Test("an object store leaves nothing in the folder where blobs arrive")
    func stagingStaysEmpty() throws {
        let (blobs, scratch) = try Self.open(.s3)
        defer { withExtendedLifetime(scratch) {} }
        let bytes = Self.fresh(50)
        try blobs.store(bytes, as: Digest(of: bytes))
        #expect(try blobs.staging.digests().isEmpty)
        // Who settles the same content a moment later finds it in its place.
        try blobs.settle(Digest(of: bytes), size: 50)
    }

    @Test("a wrong key, a bucket that is not there and a server that is gone are said at the start")
    func refusesWrongKeys() throws {
        let server = try S3Server.shared.get()
        let scratch = try Scratch()
        let store = try BlobStore(root: scratch.path.appending("store"))
        let wrong = try #require(
            S3Credentials(environment: ["AWS_ACCESS_KEY_ID": server.access, "AWS_SECRET_ACCESS_KEY": "wrong"]))
        let place = try #require(S3Place(server.url))
        #expect { _ = try S3Blobs(place, credentials: wrong, staging: store) } throws: { "\($0)".contains("answered 403") }
        let right = try server.credentials()
        let missing = try #require(S3Place(server.url.replacing("s3://jobs", with: "s3://nosuch")))
        #expect { _ = try S3Blobs(missing, credentials: right, staging: store) } throws: { "\($0)".contains("answered 404") }
        let gone = try #require(S3Place("s3://jobs?endpoint=http://127.0.0.1:1"))
        #expect { _ = try S3Blobs(gone, credentials: right, staging: store) } throws: { "\($0)".contains("does not answer") }
    }

    @Test(
        "places are read as written, and nothing else is one",
        arguments: [
            ("s3://jobs", "s3://jobs/"), ("s3://jobs/a/b/?region=eu-1", "s3://jobs/a/b/"),
            ("s3://my.bucket?endpoint=https://objects.example:9000/", "s3://my.bucket/"), ("http://jobs", nil), ("s3://", nil),
            ("s3://UPPER", nil), ("s3://jobs?endpoint=ftp://x", nil), ("s3://jobs?endpoint=http://a/b", nil),
            ("s3://jobs/../x", nil),
            ("s3://jobs?colour=red", nil), ("s3://jobs?region=a/b", nil), ("s3://jobs?endpoint=http://user:pass@host", nil),
        ] as [(String, String?)])
    func places(_ text: String, _ expected: String?) { #expect(S3Place(text)?.description == expected) }
}

/// A folder that goes with the test.
final class Scratch: Sendable {
    let path: FilePath

    init() throws {
        var template = Array("/tmp/longshore-blobs-XXXXXX".utf8CString)
        guard let made = mkdtemp(&template) else { throw Errno(rawValue: errno) }
        path = FilePath(String(cString: made))
    }

    deinit { try? FileManager.default.removeItem(atPath: path.string) }
}
