import CargoFiles
import CargoQueue
import CargoWire
import SystemPackage

#if canImport(Glibc)
    import Glibc
#endif

/// The data folder of one coordinator: one process owns it at a time, on a local file system (docs/rules.md 13).
final class DataFolder: Sendable {
    let path: FilePath
    private let folder: Folder

    /// Why a folder cannot be served.
    struct Unusable: Error, CustomStringConvertible {
        let description: String
    }

    /// Makes the folder where it is missing, and locks it until this object goes.
    init(_ path: FilePath) throws {
        self.path = path
        folder = try Folder.open(path, create: 0o700)
        try DataFolder.refuseNetwork(path)
        guard try folder.tryLock(.exclusive) else { throw InUse(path: path) }
    }

    /// Lets the next one have it, whoever still holds this object.
    func release() {
        // What cannot be unlocked is unlocked when the last descriptor closes.
        _ = try? folder.unlock()
    }

    /// Another process serves this folder.
    struct InUse: Error, CustomStringConvertible {
        let path: FilePath
        var description: String {
            "\(path) is used by another longshore-coordinator: stop that one first, or give --data another folder."
        }
    }

    /// SQLite's locks and shared memory do not hold across machines.
    private static func refuseNetwork(_ path: FilePath) throws {
        let device = try File.open(path, options: [.directory]).status().device
        let mounts = String(decoding: try readProc("/proc/self/mountinfo"), as: UTF8.self)
        guard let type = fileSystem(device: device, mounts: mounts) else { return }
        if isShared(type) {
            throw Unusable(
                description:
                    "\(path) lies on \(type): a data folder must be on a local disk, because its locks do not hold elsewhere.")
        }
    }

    /// Whether a type of file system may be another machine's, or a program's that answers as it likes.
    static func isShared(_ type: String) -> Bool {
        let network: Set<String> = [
            "nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "coda", "ceph", "glusterfs", "lustre", "gfs2", "ocfs2", "9p", "beegfs",
            "orangefs", "gpfs", "panfs", "ncpfs", "fuse",
        ]
        return network.contains(type) || type.hasPrefix("fuse.")
    }

    /// The type of the file system with this device number, from the text of proc(5)'s mountinfo.
    static func fileSystem(device: UInt64, mounts: String) -> String? {
        // Device numbers as Linux packs them (makedev(3)).
        let major = (device >> 8) & 0xFFF | (device >> 32) & ~0xFFF
        let minor = device & 0xFF | (device >> 12) & ~0xFF
        let wanted = "\(major):\(minor)"
        for line in mounts.split(separator: "\n") {
            let fields = line.split(separator: " ")
            guard fields.count > 2, fields[2] == wanted, let dash = fields.firstIndex(of: "-"), dash + 1 < fields.count else {
                continue
            }
            return String(fields[dash + 1])
        }
        return nil
    }

    /// Files of /proc have no size: read until the end, at most 16 MiB.
    private static func readProc(_ path: FilePath) throws -> [UInt8] {
        let file = try File.open(path)
        var bytes: [UInt8] = []
        while bytes.count < 16 << 20 {
            let piece = try [UInt8](unsafeUninitializedCapacity: 65536) { buffer, count in
                count = try file.descriptor.read(into: UnsafeMutableRawBufferPointer(buffer))
            }
            if piece.isEmpty { break }
            bytes += piece
        }
        return bytes
    }

    private static let keyName = "admin.key"
    private static let addressName = "address"

    private static let identityName = "coordinator.id"

    /// Who this coordinator is among those that share a database: logs lie on its disk under this name, so it stays.
    func identity() throws -> String {
        if (try? folder.status(DataFolder.identityName)) != nil {
            let bytes = try File.contents(of: path.appending(DataFolder.identityName), limit: 64)
            let known = String(decoding: bytes.prefix { $0 != 10 }, as: UTF8.self)
            let isHex = known.utf8.allSatisfy { (48...57).contains($0) || (97...102).contains($0) }
            guard known.utf8.count == 32, isHex else {
                throw Unusable(
                    description:
                        "\(path.appending(DataFolder.identityName)) is damaged: restore it, because logs lie under this name.")
            }
            return known
        }
        let fresh = hexadecimal((0..<16).map { _ in UInt8.random(in: .min ... .max) })
        try folder.writeDurably(DataFolder.identityName, Array((fresh + "\n").utf8))
        return fresh
    }

    var hasAdminKey: Bool { (try? folder.status(DataFolder.keyName)) != nil }

    func writeAdminKey(_ token: String) throws { try folder.writeDurably(DataFolder.keyName, Array((token + "\n").utf8)) }

    /// Where the server that holds the lock listens, for commands that reach it from this machine.
    func writeAddress(_ address: String) throws { try folder.writeDurably(DataFolder.addressName, Array((address + "\n").utf8)) }

    /// What a command needs to talk to the server that holds this folder.
    static func running(_ path: FilePath) throws -> (address: String, key: String) {
        func line(_ name: String) throws -> String {
            let bytes = try File.contents(of: path.appending(name), limit: 4096)
            return String(decoding: bytes.prefix { $0 != 10 }, as: UTF8.self)
        }
        return (try line(addressName), try line(keyName))
    }
}
