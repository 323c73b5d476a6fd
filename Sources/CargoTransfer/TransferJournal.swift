internal import CargoFiles
internal import SystemPackage

/// Says on disk how much of each piece of a partial file is here, so that a killed transfer goes on where it was.
///
/// Written beside the partial file as bytes come; nothing in it is believed without the blob's whole SHA-256.
struct TransferJournal {
    private static let magic: UInt64 = 0x314a_5243_5358_4c21
    private static let head: Int64 = 24
    /// A piece's count goes to disk when it has grown by this much, and at its end.
    static let step: UInt32 = 256 << 10

    private let file: File
    private var written: [UInt32]

    /// Opens the journal `name`; a missing, damaged or foreign one begins anew with nothing received.
    init(_ name: String, in folder: Folder, size: Int64, pieceSize: Int64, hasPartial: Bool) throws {
        guard let empty = PieceMap(size: size, pieceSize: pieceSize) else {
            throw TransferFailure(.answer, "a blob of \(size) bytes cannot be fetched in pieces of \(pieceSize)")
        }
        file = try folder.open(name, .readWrite, options: .create)
        let head = Self.bytes([Self.magic, UInt64(size), UInt64(pieceSize)])
        let length = Int(Self.head) + empty.count * 4
        if hasPartial, try file.status().size == Int64(length), try file.bytes(at: 0, count: Int(Self.head)) == head {
            let raw = try file.bytes(at: Self.head, count: empty.count * 4)
            written = raw.withUnsafeBytes { raw in
                (0..<empty.count).map { UInt32(littleEndian: raw.loadUnaligned(fromByteOffset: $0 * 4, as: UInt32.self)) }
            }
            if PieceMap(size: size, pieceSize: pieceSize, received: written) != nil { return }
        }
        written = empty.received
        try file.truncate(to: 0)
        try file.truncate(to: Int64(length))
        try file.write(head, at: 0)
    }

    var received: [UInt32] { written }

    /// `count` bytes of the piece are in the partial file now.
    mutating func note(_ piece: Int, _ count: UInt32, isWhole: Bool) throws {
        guard isWhole || count < written[piece] || count - written[piece] >= Self.step else { return }
        guard count != written[piece] else { return }
        written[piece] = count
        try file.write(Self.bytes([count]), at: Self.head + Int64(piece) * 4)
    }

    /// Bytes that the journal of a transfer elsewhere says are here; nil when there is none.
    static func total(_ name: String, in folder: Folder) -> Int64? {
        guard let file = try? folder.open(name), let size = try? file.status().size, size > head,
            size <= head + Int64(PieceMap.mostPieces) * 4, let raw = try? file.bytes(at: head, count: Int(size - head))
        else { return nil }
        return raw.withUnsafeBytes { raw in
            stride(from: 0, to: raw.count - 3, by: 4).reduce(Int64(0)) {
                $0 + Int64(UInt32(littleEndian: raw.loadUnaligned(fromByteOffset: $1, as: UInt32.self)))
            }
        }
    }

    private static func bytes<Value: FixedWidthInteger>(_ values: [Value]) -> [UInt8] {
        values.flatMap { value in withUnsafeBytes(of: value.littleEndian, Array.init) }
    }
}
