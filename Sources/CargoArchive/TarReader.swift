internal import CargoArtifact
internal import CargoFiles

/// The outer tar from front to back: of a file headers alone are read, of a pipe every byte once, as it comes.
///
/// Any ustar or pax archive of an OCI image layout is read, whoever wrote it; only plain files and the two folders of the
/// layout may be in it. Everything is bounded: entries, pax headers, offsets. One thread at a time.
final class TarReader {
    struct Entry: Hashable {
        var name: String
        /// Where its content begins.
        var offset: Int64
        var size: Int64
    }

    static let maximumEntries = 10_000
    static let maximumPax = 64 << 10
    /// Bytes of a content that are in memory at once.
    private static let piece: Int64 = 1 << 20

    private let file: File
    /// Bytes of the file; nil for a pipe, which says so by ending.
    private let length: Int64?
    private var position: Int64 = 0
    private var entries = 0
    /// What is left of the content of the last entry, and the zeros behind it.
    private var rest: Int64 = 0
    private var padding = 0
    /// Whether headers, padding and end so far are those that `longshore pack` writes for the same files in this order:
    /// then nothing in the archive but its contents says anything.
    private(set) var isCanonical = true

    /// Reads `file` from its beginning, or where its `length` is unknown from where it stands.
    init(_ file: File, length: Int64?) {
        self.file = file
        self.length = length
    }

    /// The next plain file, passing over what was not read of the one before; nil at the end.
    func next() throws -> Entry? {
        try pass()
        let start = position
        var raw: [UInt8] = []
        var override = Pax()
        while true {
            let header = try bytes(TarHeader.block)
            if header.allSatisfy({ $0 == 0 }) {
                isCanonical = try isCanonical && raw.isEmpty && endsHere()
                return nil
            }
            try TarReader.checkSum(header)
            guard header[257..<262].elementsEqual("ustar".utf8) else {
                throw TarReader.malformed("a header is neither ustar nor pax")
            }
            let size = try override.size ?? TarReader.number(header[124..<136])
            guard size >= 0, size <= (length ?? .max - (1 << 20)) - position else {
                throw TarReader.malformed("a file reaches beyond the end")
            }
            switch header[156] {
            case UInt8(ascii: "x"):
                guard raw.isEmpty, size <= TarReader.maximumPax else {
                    throw TarReader.malformed("a pax header is longer than \(TarReader.maximumPax) bytes, or one of several")
                }
                let records = try bytes(Int(size))
                override = try Pax(records)
                raw = try header + records + bytes(TarHeader.padding(after: size))
            case UInt8(ascii: "0"), 0:
                let name = TarReader.plain(try override.path ?? TarReader.name(header))
                guard TarReader.isKnown(name) else {
                    throw TarReader.malformed("'\(name.prefix(100))' does not belong into a cargo")
                }
                entries += 1
                guard entries <= TarReader.maximumEntries else {
                    throw TarReader.malformed("it has more than \(TarReader.maximumEntries) files")
                }
                isCanonical = isCanonical && raw + header == TarHeader.bytes(name: name, size: size, at: start)
                (rest, padding) = (size, TarHeader.padding(after: size))
                return Entry(name: name, offset: position, size: size)
            case UInt8(ascii: "5"):
                let name = TarReader.plain(try override.path ?? TarReader.name(header))
                guard size == 0, ["", "blobs", "blobs/sha256"].contains(name) else {
                    throw TarReader.malformed("the folder '\(name.prefix(100))' does not belong into a cargo")
                }
                isCanonical = false
                (raw, override) = ([], Pax())
            default:
                throw TarReader.malformed("an entry is neither a plain file nor a folder")
            }
        }
    }

    /// Hands what is left of the last entry's content to `sink` in bounded pieces.
    func read(_ sink: (UnsafeRawBufferPointer) throws -> Void) throws {
        try withUnsafeTemporaryAllocation(byteCount: Int(max(1, min(rest, TarReader.piece))), alignment: 4096) { buffer in
            while rest > 0 {
                let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<Int(min(TarReader.piece, rest))])
                try fill(part)
                rest -= Int64(part.count)
                try sink(UnsafeRawBufferPointer(part))
            }
        }
    }

    static func malformed(_ what: String) -> Refusal {
        Refusal("archive", "this is not a cargo archive: \(what)")
    }

    private func pass() throws {
        if length == nil {
            try read { _ in }
        } else {
            (position, rest) = (position + rest, 0)
        }
        let zeros = try bytes(padding)
        isCanonical = isCanonical && zeros.allSatisfy { $0 == 0 }
        padding = 0
    }

    /// Whether the rest of the end marker follows, and nothing else.
    private func endsHere() throws -> Bool {
        let marker = TarHeader.trailer - TarHeader.block
        if let length { return try length == position + Int64(marker) && bytes(marker).allSatisfy { $0 == 0 } }
        guard try bytes(marker).allSatisfy({ $0 == 0 }) else { return false }
        return try withUnsafeTemporaryAllocation(byteCount: 1, alignment: 1) { try file.readNext(into: $0) == 0 }
    }

    private func bytes(_ count: Int) throws -> [UInt8] {
        try [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            try fill(UnsafeMutableRawBufferPointer(buffer))
            initialized = count
        }
    }

    private func fill(_ buffer: UnsafeMutableRawBufferPointer) throws {
        var done = 0
        while done < buffer.count {
            let part = UnsafeMutableRawBufferPointer(rebasing: buffer[done...])
            let got = try length == nil ? file.readNext(into: part) : file.read(into: part, at: position + Int64(done))
            guard got > 0 else { throw TarReader.malformed("it ends before its end") }
            done += got
        }
        position += Int64(done)
    }

    private static func isKnown(_ name: String) -> Bool {
        name == "oci-layout" || name == "index.json"
            || (name.hasPrefix("blobs/sha256/") && Digest(hex: name.dropFirst(13)) != nil)
    }

    /// Without a leading `./` and a trailing `/`.
    private static func plain(_ name: String) -> String {
        var text = Substring(name)
        if text.hasPrefix("./") { text = text.dropFirst(2) }
        if text.hasSuffix("/") { text = text.dropLast() }
        return text == "." ? "" : String(text)
    }

    private static func checkSum(_ header: [UInt8]) throws {
        var sum: Int64 = 0
        for (index, byte) in header.enumerated() { sum += (148..<156).contains(index) ? 32 : Int64(byte) }
        guard try number(header[148..<156]) == sum else { throw malformed("a header's check sum is wrong") }
    }

    private static func name(_ header: [UInt8]) throws -> String {
        func text(_ range: Range<Int>) throws -> String {
            guard let text = String(validating: header[range].prefix { $0 != 0 }, as: UTF8.self) else {
                throw malformed("a name is not UTF-8")
            }
            return text
        }
        let prefix = try text(345..<500)
        let name = try text(0..<100)
        return prefix.isEmpty ? name : prefix + "/" + name
    }

    private static func number(_ field: ArraySlice<UInt8>) throws -> Int64 {
        let digits = field.prefix { $0 != 0 && $0 != 32 }
        guard !digits.isEmpty, digits.count < 20, digits.allSatisfy({ (48...55).contains($0) }),
            let value = Int64(String(decoding: digits, as: UTF8.self), radix: 8)
        else { throw malformed("a number in a header is not octal") }
        return value
    }

    /// The records of a pax header that we heed.
    private struct Pax {
        var size: Int64?
        var path: String?

        init() {}

        init(_ bytes: [UInt8]) throws {
            var rest = bytes[...]
            while let first = rest.first, first != 0 {
                let digits = rest.prefix { (48...57).contains($0) }
                guard digits.count < 8, let length = Int(String(decoding: digits, as: UTF8.self)), length > digits.count + 2,
                    length <= rest.count, rest[rest.startIndex + length - 1] == 0x0A,
                    let record = String(validating: rest[(digits.endIndex + 1)..<(rest.startIndex + length - 1)], as: UTF8.self),
                    let equals = record.firstIndex(of: "=")
                else { throw malformed("a pax record is broken") }
                let value = record[record.index(after: equals)...]
                switch record[..<equals] {
                case "size":
                    guard size == nil, let number = Int64(value), number >= 0 else { throw malformed("a pax size is broken") }
                    size = number
                case "path":
                    guard path == nil else { throw malformed("a pax path stands twice") }
                    path = String(value)
                default: break
                }
                rest = rest[(rest.startIndex + length)...]
            }
        }
    }
}
