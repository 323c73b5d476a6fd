import CargoArtifact
import CargoFiles
import CargoTransfer
import Foundation
import SystemPackage
import Testing

/// A folder with a blob to fetch and a place to fetch it into; gone when it is let go of.
final class Harbour: Sendable {
    let root: URL
    let blob: URL
    let size: Int64
    let digest: CargoArtifact.Digest
    let sums: [CargoArtifact.Digest]
    let pieceSize: Int64
    let partials: Folder

    /// Makes a blob of random bytes.
    init(size: Int, pieceSize: Int64 = 256 << 10) throws {
        root = FileManager.default.temporaryDirectory.appending(path: "transfer-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: root.appending(path: "in"), withIntermediateDirectories: true)
        blob = root.appending(path: "blob")
        self.size = Int64(size)
        self.pieceSize = pieceSize
        let file = try File.open(FilePath(blob.path), .readWrite, options: .create)
        var generator = SplitMix(state: UInt64(size))
        var whole = ContentHash()
        var sums: [CargoArtifact.Digest] = []
        for start in stride(from: 0, to: size, by: Int(pieceSize)) {
            var words = [UInt64](repeating: 0, count: (min(Int(pieceSize), size - start) + 7) / 8)
            words.withUnsafeMutableBytes { buffer in
                // Fresh numbers every 4 KiB are enough to tell every piece from every other.
                for offset in stride(from: 0, to: buffer.count, by: 4096) {
                    buffer.storeBytes(of: generator.next(), toByteOffset: offset, as: UInt64.self)
                }
            }
            try words.withUnsafeBytes { buffer in
                let piece = UnsafeRawBufferPointer(rebasing: buffer[..<min(Int(pieceSize), size - start)])
                try file.write(piece, at: Int64(start))
                whole.update(piece)
                var hash = ContentHash()
                hash.update(piece)
                sums.append(hash.digest())
            }
        }
        digest = whole.digest()
        self.sums = sums
        partials = try Folder.open(FilePath(root.appending(path: "in").path))
    }

    deinit { try? FileManager.default.removeItem(at: root) }

    func request(_ url: String, chunks: Bool = true, bearer: String? = nil) -> TransferRequest {
        TransferRequest(
            url: url, bearer: bearer, digest: digest, size: size,
            chunks: chunks ? ChunkSums(pieceSize: pieceSize, sums: sums, size: size) : nil)
    }

    /// Quick to try again, so that tests are quick.
    var options: TransferOptions {
        var options = TransferOptions()
        options.firstWait = .milliseconds(2)
        options.longestWait = .milliseconds(50)
        options.patience = .seconds(20)
        options.stallSeconds = 1
        options.pieceSize = pieceSize
        options.authorities = CertificateAuthorities()
        return options
    }

    /// For servers that are held: silence is no stall.
    var unhurried: TransferOptions {
        var options = options
        options.stallSeconds = 300
        return options
    }

    @discardableResult
    func fetch(
        _ request: TransferRequest, options: TransferOptions? = nil, in folder: Folder? = nil,
        progress: @escaping @Sendable (TransferProgress) -> Void = { _ in }
    ) async throws -> TransferReport {
        let folder = folder ?? partials
        return try await Transfer.fetch(
            request, in: folder, options: options ?? self.options,
            isPublished: { try folder.status("published") != nil },
            publish: { _, name in try folder.rename(name, to: "published") }, progress: progress)
    }

    /// What lies where blobs are fetched into.
    var left: [String] { (try? partials.entries().sorted()) ?? [] }

    /// The published file is the blob, byte for byte.
    func expectPublished(sourceLocation: SourceLocation = #_sourceLocation) throws {
        #expect(left == ["published"], sourceLocation: sourceLocation)
        #expect(
            FileManager.default.contentsEqual(atPath: blob.path, andPath: root.appending(path: "in/published").path),
            sourceLocation: sourceLocation)
    }
}

/// Numbers that are the same in every run.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}
