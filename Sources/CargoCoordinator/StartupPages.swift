import CargoFiles
import SystemPackage

#if canImport(Glibc)
    import Glibc
#endif

/// Gives back the pages of program text that only the start needed: the kernel maps sixteen for each one that is touched, and
/// most of a start is never run again. What is needed again is mapped anew from the page cache.
enum StartupPages {
    static func giveBack() {
        guard let maps = try? File.open("/proc/self/maps") else { return }
        var text: [UInt8] = []
        // Files of /proc have no size: read until the end, at most 1 MiB.
        while text.count < 1 << 20, let piece = try? maps.some(65536), !piece.isEmpty { text += piece }
        for range in ranges(of: String(decoding: text, as: UTF8.self)) {
            // Text is never written to, so nothing of it is lost.
            _ = madvise(UnsafeMutableRawPointer(bitPattern: range.lowerBound), Int(range.count), MADV_DONTNEED)
        }
    }

    /// Where a process maps files to run them: lines such as `55d0-55d9 r-xp 00001000 08:01 1234 /usr/bin/x` (proc(5)).
    static func ranges(of maps: String) -> [Range<UInt>] {
        maps.split(separator: "\n").compactMap { line in
            let fields = line.split(separator: " ", maxSplits: 5, omittingEmptySubsequences: true)
            guard fields.count == 6, fields[1] == "r-xp", fields[5].drop(while: { $0 == " " }).first == "/" else { return nil }
            let ends = fields[0].split(separator: "-").compactMap { UInt($0, radix: 16) }
            return ends.count == 2 && ends[0] < ends[1] ? ends[0]..<ends[1] : nil
        }
    }
}

extension File {
    /// The next bytes, at most `most`; none at the end.
    fileprivate func some(_ most: Int) throws -> [UInt8] {
        try [UInt8](unsafeUninitializedCapacity: most) { buffer, count in
            count = try descriptor.read(into: UnsafeMutableRawBufferPointer(buffer))
        }
    }
}
