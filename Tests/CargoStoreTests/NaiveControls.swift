import CArchive
import CargoFiles
import Glibc
import SystemPackage

/// What many a service unpacks uploads with: the control of each attack. Where it takes the bytes, the attack is real.
enum Peer {
    /// Debian's Python: `tarfile` without a filter, or with the one that filters nothing where newer versions ask for one.
    private static let script = """
        import sys, tarfile
        more = {"filter": "fully_trusted"} if hasattr(tarfile, "data_filter") else {}
        tarfile.open(sys.argv[1]).extractall(sys.argv[2], **more)
        """

    /// Unpacks a gzipped tar into a new folder `peer` and returns it with the exit status; stopped after 10 s, and no file
    /// grows past `largestFile` bytes.
    static func unpack(
        _ layer: [UInt8], in folder: Folder, largestFile: Int? = nil
    ) throws -> (tree: Folder, status: Int32) {
        try? folder.removeTree("peer")
        try folder.makeFolder("peer", permissions: 0o755)
        try folder.open("peer.tar.gz", .writeOnly, options: [.create, .truncate]).write(layer)
        try folder.writeAtomically("peer.py", Array(script.utf8))
        let limit = largestFile.map { "ulimit -f \($0 / 512);" } ?? ""
        let status = system(
            "cd '\(folder.path)' && \(limit) timeout 10 /usr/bin/python3 peer.py peer.tar.gz peer >/dev/null 2>&1")
        let tree = try folder.folder("peer")
        try folder.remove("peer.tar.gz")
        try folder.remove("peer.py")
        return (tree, (status >> 8) & 0xFF)
    }

    /// Bytes that libarchive hands out when it guesses compression and format, at most `limit`.
    static func bytes(of layer: [UInt8], limit: Int) -> Int {
        guard let reader = archive_read_new() else { return 0 }
        defer { archive_read_free(reader) }
        archive_read_support_filter_all(reader)
        archive_read_support_format_all(reader)
        return layer.withUnsafeBytes { bytes in
            guard archive_read_open_memory(reader, bytes.baseAddress, bytes.count) == ARCHIVE_OK else { return 0 }
            var entry: OpaquePointer?
            var total = 0
            while total < limit, archive_read_next_header(reader, &entry) == ARCHIVE_OK {
                var block: UnsafeRawPointer?
                var count = 0
                var offset: Int64 = 0
                while total < limit, archive_read_data_block(reader, &block, &count, &offset) == ARCHIVE_OK { total += count }
            }
            return total
        }
    }

    /// Unpacks a cargo archive with `tar` and believes what it finds: the names of blobs that are not their SHA-256, and the
    /// digest of the first manifest that `index.json` names; nil when `tar` or JSON refuse it.
    static func believe(_ archive: FilePath, in folder: Folder) throws -> (wrong: Int, root: String)? {
        try? folder.removeTree("peer")
        try folder.makeFolder("peer")
        defer { try? folder.removeTree("peer") }
        let at = folder.path.appending("peer")
        let script = """
            cd '\(at)' && tar -xf '\(archive)' 2>/dev/null || exit 1
            /usr/bin/python3 -c 'import json; print(json.load(open("index.json"))["manifests"][0]["digest"], end="")' >root 2>/dev/null || exit 1
            for b in blobs/sha256/*; do [ "$(sha256sum <$b | cut -c1-64)" = "${b##*/}" ] || printf x >>wrong; done
            """
        guard system(script) == 0 else { return nil }
        let peer = try folder.folder("peer")
        let root = String(decoding: try peer.open("root").contents(limit: 200), as: UTF8.self)
        return (Int(try peer.status("wrong")?.size ?? 0), root)
    }
}

/// A zstd frame that unpacks to a tar of one file of zeros: each four bytes of it stand for 128 KiB (RFC 8878, RLE blocks).
enum ZstandardBomb {
    static func bytes(header: [UInt8], megabytes: Int) -> [UInt8] {
        // Magic, a descriptor without checksum and size, a window of 2 MiB.
        var out: [UInt8] = [0x28, 0xB5, 0x2F, 0xFD, 0x00, 0x58]
        func block(_ type: Int, _ size: Int, _ content: [UInt8], isLast: Bool = false) {
            let word = size << 3 | type << 1 | (isLast ? 1 : 0)
            out += [UInt8(word & 0xFF), UInt8(word >> 8 & 0xFF), UInt8(word >> 16)] + content
        }
        block(0, header.count, header)
        for _ in 0..<megabytes * 8 { block(1, 128 << 10, [0]) }
        block(1, 1024, [0], isLast: true)
        return out
    }
}
