import AsyncHTTPClient
import CargoArtifact
import Crypto
import NIOCore
import NIOHTTP1

extension CoordinatorClient {
    /// Streams a body into `sink` and checks its length and SHA-256.
    ///
    /// When the connection breaks it goes on by range where the server grants it, so `sink` sees each byte once.
    /// Gives up after `patience` without a byte.
    func download(
        _ call: Transport.Call, size: Int64, sha256: String, name: String, patience: Duration = .seconds(60),
        into sink: (UnsafeRawBufferPointer) throws -> Void
    ) async throws {
        var hash = SHA256()
        var received: Int64 = 0
        var backoff = Backoff()
        var lastByte = ContinuousClock.now
        while true {
            do {
                var call = call
                if received > 0 { call.headers.append(("Range", "bytes=\(received)-")) }
                let response = try await transport.response(to: call)
                // A server without ranges begins again at the first byte: what was seen already is passed over.
                var skip = response.status.code == 206 ? 0 : received
                try await transport.answering {
                    for try await piece in response.body {
                        lastByte = .now
                        backoff.reset()
                        try piece.withUnsafeReadableBytes { all in
                            let dropped = Int(min(skip, Int64(all.count)))
                            skip -= Int64(dropped)
                            let bytes = UnsafeRawBufferPointer(rebasing: all[dropped...])
                            guard !bytes.isEmpty else { return }
                            received += Int64(bytes.count)
                            guard received <= size else { throw wrong(name) }
                            hash.update(bufferPointer: bytes)
                            do { try sink(bytes) } catch { throw CallbackError(cause: error) }
                        }
                    }
                }
                if received == size { break }
                guard received < size, ContinuousClock.now - lastByte < patience else { throw wrong(name) }
            } catch let error as ClientError where error.isTransient {
                guard ContinuousClock.now - lastByte < patience else { throw error }
            }
            try await Task.sleep(for: backoff.next())
        }
        guard CargoArtifact.Digest(hash.finalize()).hex == sha256 else { throw wrong(name) }
    }

    private func wrong(_ name: String) -> ClientError {
        ClientError(
            status: 0, code: "digest_mismatch",
            message: "'\(printable(name))' did not arrive as it was described; nothing of it was kept, try again")
    }
}

/// Text from elsewhere as it may stand in a message on a terminal: control characters are escaped.
public func printable(_ text: String) -> String {
    var out = ""
    for scalar in text.unicodeScalars {
        switch scalar.value {
        case 0..<32, 127..<160, 0x200E, 0x200F, 0x202A...0x202E, 0x2066...0x2069:
            out += "\\u{" + String(scalar.value, radix: 16) + "}"
        default: out.unicodeScalars.append(scalar)
        }
    }
    return out
}
