/// Which pieces of a blob are here, which are on their way, and which come next. Pure: no file, no network.
struct PieceMap: Sendable {
    /// Damage of one piece after which its server, or its sum, is not believed any more.
    static let mostDamage = 3
    /// Pieces of one blob.
    static let mostPieces = 4 << 20

    let size: Int64
    let pieceSize: Int64
    /// Bytes of each piece that are here, from its start.
    private(set) var received: [UInt32]
    /// Bytes that are here in all.
    private(set) var total: Int64
    /// All pieces before this one are whole.
    private(set) var firstMissing = 0
    private var inFlight: Set<Int> = []
    private var damage: [Int: Int] = [:]

    /// nil when the sizes make no sense together.
    init?(size: Int64, pieceSize: Int64, received: [UInt32]? = nil) {
        guard size >= 0, pieceSize > 0, pieceSize <= 1 << 30 else { return nil }
        let count = size == 0 ? 0 : (size - 1) / pieceSize + 1
        guard count <= Int64(Self.mostPieces) else { return nil }
        self.size = size
        self.pieceSize = pieceSize
        let known = received ?? Array(repeating: 0, count: Int(count))
        guard known.count == Int(count) else { return nil }
        self.received = known
        total = known.reduce(0) { $0 + Int64($1) }
        for piece in known.indices where Int64(known[piece]) > length(of: piece) { return nil }
        advance()
    }

    var count: Int { received.count }
    var isWhole: Bool { firstMissing == count }
    /// Bytes from the start of the blob that are here without a gap, in whole pieces.
    var prefix: Int64 { min(Int64(firstMissing) * pieceSize, size) }

    func start(of piece: Int) -> Int64 { Int64(piece) * pieceSize }
    func length(of piece: Int) -> Int64 { min(pieceSize, size - start(of: piece)) }
    func isWhole(_ piece: Int) -> Bool { Int64(received[piece]) == length(of: piece) }
    func piece(at position: Int64) -> Int { Int(position / pieceSize) }

    /// Takes the next piece that nobody fetches, lowest first, so that hashing in order can follow.
    mutating func take() -> Int? {
        for piece in firstMissing..<count where !isWhole(piece) && !inFlight.contains(piece) {
            inFlight.insert(piece)
            return piece
        }
        return nil
    }

    /// Nobody fetches the piece any more, whole or not.
    mutating func giveBack(_ piece: Int) { inFlight.remove(piece) }

    mutating func add(_ bytes: Int, to piece: Int) {
        received[piece] += UInt32(bytes)
        total += Int64(bytes)
        if piece == firstMissing { advance() }
    }

    /// Forgets a piece that is not what it should be; false when it has been damaged too often.
    mutating func discard(_ piece: Int) -> Bool {
        total -= Int64(received[piece])
        received[piece] = 0
        firstMissing = min(firstMissing, piece)
        damage[piece, default: 0] += 1
        return damage[piece, default: 0] < Self.mostDamage
    }

    private mutating func advance() {
        while firstMissing < count, isWhole(firstMissing) { firstMissing += 1 }
    }
}
