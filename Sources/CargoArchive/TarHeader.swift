/// The bytes before a file's content in the outer tar, as we write them (POSIX.1-2017, pax, "ustar Interchange Format").
///
/// They follow from name, size and place alone: mode 0644, no owner, no time. Contents of 4 KiB and more begin
/// at a multiple of 4 KiB, moved there by a pax `comment` record, so that file systems can share their blocks.
public enum TarHeader {
    public static let block = 512
    public static let alignment: Int64 = 4096
    /// Zero blocks that end the archive.
    public static let trailer = 1024
    private static let largestOctal: Int64 = 0o77777777777

    /// The headers of a file whose first header would begin at `offset`.
    public static func bytes(name: String, size: Int64, at offset: Int64) -> [UInt8] {
        var records: [UInt8] = size > largestOctal ? record("size", String(size)) : []
        let own = Int64(block)
        let gap = size >= alignment ? (alignment - (offset + own) % alignment) % alignment : 0
        guard gap > 0 || !records.isEmpty else { return header(name: name, size: size, type: UInt8(ascii: "0")) }
        // A pax header takes two blocks at least: its own header and one of records.
        let total = gap >= 2 * own ? gap : gap + alignment
        let room = Int(total - own)
        records += comment(filling: room - records.count)
        var out = header(name: "PaxHeaders/" + name.suffix(80), size: Int64(records.count), type: UInt8(ascii: "x"))
        out += records
        out += header(name: name, size: size > largestOctal ? 0 : size, type: UInt8(ascii: "0"))
        return out
    }

    /// Zero bytes after a content of `size` bytes.
    public static func padding(after size: Int64) -> Int { Int((512 - size % 512) % 512) }

    /// `LEN KEY=VALUE\n`, where LEN counts itself.
    static func record(_ key: String, _ value: String) -> [UInt8] {
        let rest = key.utf8.count + value.utf8.count + 3
        var length = rest + 1
        while String(length).utf8.count + rest != length { length = String(length).utf8.count + rest }
        return Array("\(length) \(key)=\(value)\n".utf8)
    }

    /// A `comment` record of exactly `count` bytes.
    private static func comment(filling count: Int) -> [UInt8] {
        let value = count - String(count).utf8.count - " comment=\n".utf8.count
        return Array("\(count) comment=".utf8) + [UInt8](repeating: UInt8(ascii: " "), count: value) + [0x0A]
    }

    /// What an entry of a files' layer is.
    public enum Kind: Hashable, Sendable {
        case folder
        case file(executable: Bool)
        case link(String)
    }

    /// The headers of an entry in a files' layer: no owner, no time; a pax header where ustar's fields do not hold it.
    public static func entry(path: String, kind: Kind, size: Int64) -> [UInt8] {
        var records: [UInt8] = []
        var target = ""
        var name = path
        var (type, mode): (UInt8, Int64) = (UInt8(ascii: "0"), 0o644)
        switch kind {
        case .folder:
            (type, mode) = (UInt8(ascii: "5"), 0o755)
            name += "/"
        case .file(let executable): mode = executable ? 0o755 : 0o644
        case .link(let text):
            (type, mode) = (UInt8(ascii: "2"), 0o777)
            target = text
        }
        func needsRecord(_ text: String) -> Bool { text.utf8.count > 100 || !text.utf8.allSatisfy { $0 < 128 } }
        if needsRecord(target) {
            records += record("linkpath", target)
            target = "link"
        }
        if needsRecord(name) {
            records += record("path", name)
            name = "file"
        }
        if size > largestOctal { records += record("size", String(size)) }
        let own = header(name: name, size: size > largestOctal ? 0 : size, type: type, mode: mode, target: target)
        guard !records.isEmpty else { return own }
        let pax = header(name: "PaxHeaders/entry", size: Int64(records.count), type: UInt8(ascii: "x"))
        return pax + records + [UInt8](repeating: 0, count: padding(after: Int64(records.count))) + own
    }

    static func header(name: String, size: Int64, type: UInt8, mode: Int64 = 0o644, target: String = "") -> [UInt8] {
        var out = [UInt8](repeating: 0, count: block)
        func put(_ text: String, at offset: Int) {
            out.replaceSubrange(offset..<offset + text.utf8.count, with: Array(text.utf8))
        }
        func octal(_ value: Int64, _ digits: Int) -> String {
            let text = String(value, radix: 8)
            return String(repeating: "0", count: digits - text.count) + text
        }
        put(name, at: 0)
        put(octal(mode, 7), at: 100)
        put(octal(0, 7), at: 108)
        put(octal(0, 7), at: 116)
        put(octal(size, 11), at: 124)
        put(octal(0, 11), at: 136)
        put("        ", at: 148)
        out[156] = type
        put(target, at: 157)
        put("ustar", at: 257)
        put("00", at: 263)
        put(octal(0, 7), at: 329)
        put(octal(0, 7), at: 337)
        put(octal(out.reduce(0) { $0 + Int64($1) }, 6), at: 148)
        out[154] = 0
        out[155] = UInt8(ascii: " ")
        return out
    }
}
