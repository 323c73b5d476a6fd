internal import CargoFiles
internal import Glibc
internal import SystemPackage

/// Processors, memory and disk as the kernel counts them (proc(5)).
struct MachineReading: Hashable, Sendable {
    /// Time of all processors since the start, in ticks: at work, and altogether.
    struct Processors: Hashable, Sendable {
        var busy: UInt64
        var all: UInt64

        /// Percent between two readings; nil when no time went by.
        func percent(since earlier: Processors) -> Double? {
            guard all > earlier.all, busy >= earlier.busy else { return nil }
            return min(100, Double(busy - earlier.busy) / Double(all - earlier.all) * 100)
        }
    }

    var processors: Processors?
    var memoryTotal: Int64?
    var memoryFree: Int64?
    var diskTotal: Int64?
    var diskFree: Int64?

    /// - Parameter folder: whose disk is looked at.
    static func current(folder: FilePath) -> MachineReading {
        var reading = MachineReading(stat: text("/proc/stat"), meminfo: text("/proc/meminfo"))
        var room = statvfs()
        if folder.withPlatformString({ statvfs($0, &room) }) == 0 {
            reading.diskTotal = Int64(clamping: UInt64(room.f_blocks) &* UInt64(room.f_frsize))
            reading.diskFree = Int64(clamping: UInt64(room.f_bavail) &* UInt64(room.f_frsize))
        }
        return reading
    }

    init(stat: String, meminfo: String) {
        // cpu user nice system idle iowait irq softirq steal guest guest_nice; guests are counted in user and nice already.
        if let line = stat.split(separator: "\n").first, line.hasPrefix("cpu ") {
            let ticks = line.split(separator: " ").dropFirst().prefix(8).compactMap { UInt64($0) }
            if ticks.count >= 5 {
                let all = ticks.reduce(0, &+)
                processors = Processors(busy: all &- ticks[3] &- ticks[4], all: all)
            }
        }
        for line in meminfo.split(separator: "\n") {
            let words = line.split(separator: " ")
            guard words.count >= 2, let kibibytes = Int64(words[1]), kibibytes < 1 << 50 else { continue }
            if words[0] == "MemTotal:" { memoryTotal = kibibytes * 1024 }
            if words[0] == "MemAvailable:" { memoryFree = kibibytes * 1024 }
        }
    }

    /// 64 KiB at most: the first lines are what counts.
    private static func text(_ path: FilePath) -> String {
        guard let file = try? File.open(path) else { return "" }
        var piece = [UInt8](repeating: 0, count: 65536)
        let count = (try? piece.withUnsafeMutableBytes { try file.readNext(into: $0) }) ?? 0
        return String(decoding: piece[..<count], as: UTF8.self)
    }
}
