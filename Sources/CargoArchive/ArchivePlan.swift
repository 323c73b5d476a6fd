/// Where everything lies in an archive, computed before a byte of it is written.
struct ArchivePlan {
    struct Entry {
        var header: Int64
        var headerBytes: [UInt8]
        var offset: Int64
        var size: Int64
    }

    private(set) var entries: [Entry] = []
    private var end: Int64 = 0

    /// Bytes of the whole archive.
    var total: Int64 { end + Int64(TarHeader.trailer) }

    mutating func add(_ name: String, size: Int64) {
        let header = TarHeader.bytes(name: name, size: size, at: end)
        let offset = end + Int64(header.count)
        entries.append(Entry(header: end, headerBytes: header, offset: offset, size: size))
        end = offset + size + Int64(TarHeader.padding(after: size))
    }
}
