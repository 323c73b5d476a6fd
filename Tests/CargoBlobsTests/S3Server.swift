import CargoBlobs
import CargoStore
import Foundation

/// The object store that all tests of this process share: moto, started with its checks of signatures on.
final class S3Server: Sendable {
    static let shared = Result { try S3Server() }

    let url: String
    let access: String
    private let secret: String

    private struct Keys: Decodable {
        var port: Int
        var access: String
        var secret: String
    }

    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    /// Its standard input is a pipe of this process: it ends when this process does.
    private init() throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let python = root.appendingPathComponent(".build/venv/bin/python")
        guard FileManager.default.isExecutableFile(atPath: python.path) else {
            throw Failure(description: "The test's Python is missing: run scripts/setup.")
        }
        let process = Process()
        process.executableURL = python
        process.arguments = [root.appendingPathComponent("Tests/CargoBlobsTests/s3_server.py").path]
        let (input, output) = (Pipe(), Pipe())
        process.standardInput = input
        process.standardOutput = output
        process.standardError = FileHandle(forWritingAtPath: "/dev/null")
        try process.run()
        var line = Data()
        while let piece = try output.fileHandleForReading.read(upToCount: 1), !piece.isEmpty, piece[0] != 10 { line += piece }
        guard let keys = try? JSONDecoder().decode(Keys.self, from: line) else {
            throw Failure(
                description: "The S3 server did not start: run scripts/setup, then Tests/CargoBlobsTests/s3_server.py by hand.")
        }
        url = "s3://jobs/test?endpoint=http://127.0.0.1:\(keys.port)"
        (access, secret) = (keys.access, keys.secret)
        // A copy that nobody closes before the process ends.
        _ = dup(input.fileHandleForWriting.fileDescriptor)
    }

    func credentials() throws -> S3Credentials {
        let environment = ["AWS_ACCESS_KEY_ID": access, "AWS_SECRET_ACCESS_KEY": secret]
        guard let credentials = S3Credentials(environment: environment) else { throw Failure(description: "no keys") }
        return credentials
    }

    func blobs(staging: BlobStore) throws -> S3Blobs {
        guard let place = S3Place(url) else { throw Failure(description: "\(url) is no place") }
        return try S3Blobs(place, credentials: try credentials(), staging: staging)
    }
}
