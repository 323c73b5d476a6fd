internal import CargoArtifact
internal import CargoFiles

/// The partial file of a blob with its journal: bytes go in where they belong, and damaged pieces come out again.
struct PartialBlob: ~Copyable {
    private(set) var map: PieceMap
    private(set) var damaged = 0
    private let file: File
    /// Where in the file the blob begins.
    private let base: Int64
    private let chunks: ChunkSums?
    private var journal: TransferJournal
    /// Sums of the pieces that are on their way: as many as there are connections, and those that broke off.
    private var hashes: [Int: ContentHash] = [:]

    init(file: File, at base: Int64, journal: TransferJournal, request: TransferRequest, pieceSize: Int64) throws {
        guard let map = PieceMap(size: request.size, pieceSize: pieceSize, received: journal.received) else {
            throw TransferFailure(.answer, "a blob of \(request.size) bytes cannot be fetched in pieces of \(pieceSize)")
        }
        self.map = map
        self.file = file
        self.base = base
        self.journal = journal
        chunks = request.chunks
    }

    mutating func take() -> Int? { map.take() }
    mutating func giveBack(_ piece: Int) { map.giveBack(piece) }

    /// Bytes of the blob from `position` on; what is here already is passed over. Returns how many were new.
    ///
    /// Throws a `Refusal` when a piece stays damaged, or what writing throws.
    mutating func accept(_ bytes: UnsafeRawBufferPointer, at position: Int64) throws -> Int {
        var done = 0
        var new = 0
        while done < bytes.count {
            let place = position + Int64(done)
            let piece = map.piece(at: place)
            let offset = place - map.start(of: piece)
            let count = Int(min(Int64(bytes.count - done), map.length(of: piece) - offset))
            let here = Int64(map.received[piece])
            guard offset <= here else { throw TransferFailure(.answer, "the server left out a part of the blob") }
            let skip = Int(min(Int64(count), here - offset))
            if skip < count {
                let fresh = UnsafeRawBufferPointer(rebasing: bytes[(done + skip)..<(done + count)])
                try write(fresh, to: piece, at: place + Int64(skip))
                new += fresh.count
            }
            done += count
        }
        return new
    }

    private mutating func write(_ bytes: UnsafeRawBufferPointer, to piece: Int, at position: Int64) throws {
        try file.write(bytes, at: base + position)
        if chunks != nil {
            var hash = try hashes.removeValue(forKey: piece) ?? prefix(of: piece)
            hash.update(bytes)
            hashes[piece] = hash
        }
        map.add(bytes.count, to: piece)
        let isWhole = map.isWhole(piece)
        if isWhole, let chunks, hashes.removeValue(forKey: piece)?.digest() != chunks.sums[piece] {
            try discard(piece)
        } else {
            try journal.note(piece, map.received[piece], isWhole: isWhole)
        }
    }

    /// The sum of what an earlier try left of a piece.
    private func prefix(of piece: Int) throws -> ContentHash {
        var hash = ContentHash()
        let count = Int64(map.received[piece])
        if count > 0 { try file.read(from: base + map.start(of: piece), count: count) { hash.update($0) } }
        return hash
    }

    private mutating func discard(_ piece: Int) throws {
        damaged += 1
        let mayTryAgain = map.discard(piece)
        try journal.note(piece, 0, isWhole: true)
        guard mayTryAgain else {
            throw Refusal(
                "digest-mismatch",
                "piece \(piece + 1) of \(map.count) came damaged \(PieceMap.mostDamage) times; get the blob elsewhere")
        }
    }

    /// Writes down what the journal left out for its step: before a transfer is given up.
    mutating func flush() throws {
        for piece in 0..<map.count { try journal.note(piece, map.received[piece], isWhole: true) }
    }

    /// The whole is not what it should be: forgets the pieces that are to blame, or all where no sums say which.
    ///
    /// Throws a `Refusal` when no piece is to blame.
    mutating func audit() throws {
        let before = damaged
        for piece in 0..<map.count {
            if let chunks {
                var hash = ContentHash()
                try file.read(from: base + map.start(of: piece), count: map.length(of: piece)) { hash.update($0) }
                guard hash.digest() != chunks.sums[piece] else { continue }
            }
            try discard(piece)
        }
        guard damaged > before else {
            throw Refusal("digest-mismatch", "the blob fits its chunk table but not its digest; its publisher must pack it again")
        }
    }
}
