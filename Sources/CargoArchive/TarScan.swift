internal import CargoArtifact
internal import CargoFiles

/// Finds the files in the outer tar without reading their contents.
///
/// Any ustar or pax archive of an OCI image layout is read, whoever wrote it; only plain files and the two
/// folders of the layout may be in it. Everything is bounded: entries, pax headers, offsets.
enum TarScan {
    struct Entry: Hashable {
        var name: String
        /// Where its first header begins.
        var header: Int64
        /// Where its content begins.
        var offset: Int64
        var size: Int64
    }

    static let maximumEntries = 10_000
    static let maximumPax = 64 << 10

    /// The entries in their order and the offset of the end marker.
    static func entries(of file: File) throws -> (entries: [Entry], end: Int64) {
        let length = try file.status().size
        var entries: [Entry] = []
        var offset: Int64 = 0
        var start: Int64 = 0
        var override = Pax()
        while true {
            guard offset + 512 <= length else { throw malformed("it ends in the middle of a header") }
            let header = try file.bytes(at: offset, count: 512)
            if header.allSatisfy({ $0 == 0 }) { return (entries, offset) }
            try checkSum(header)
            guard header[257..<262].elementsEqual("ustar".utf8) else { throw malformed("a header is neither ustar nor pax") }
            let size = try override.size ?? number(header[124..<136])
            let content = offset + 512
            guard size >= 0, size <= length - content else { throw malformed("a file reaches beyond the end") }
            let next = content + size + Int64(TarHeader.padding(after: size))
            switch header[156] {
            case UInt8(ascii: "x"):
                guard size <= maximumPax else { throw malformed("a pax header is longer than \(maximumPax) bytes") }
                override = try Pax(try file.bytes(at: content, count: Int(size)))
                offset = next
                continue
            case UInt8(ascii: "0"), 0:
                let name = plain(try override.path ?? name(header))
                guard isKnown(name) else { throw malformed("'\(name.prefix(100))' does not belong into a cargo") }
                guard entries.count < maximumEntries else { throw malformed("it has more than \(maximumEntries) files") }
                entries.append(Entry(name: name, header: start, offset: content, size: size))
            case UInt8(ascii: "5"):
                let name = plain(try override.path ?? name(header))
                guard size == 0, ["", "blobs", "blobs/sha256"].contains(name) else {
                    throw malformed("the folder '\(name.prefix(100))' does not belong into a cargo")
                }
            default:
                throw malformed("an entry is neither a plain file nor a folder")
            }
            override = Pax()
            offset = next
            start = next
        }
    }

    static func malformed(_ what: String) -> Refusal {
        Refusal("archive", "this is not a cargo archive: \(what)")
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
