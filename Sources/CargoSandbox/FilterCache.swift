import CSeccomp
internal import CargoArtifact
internal import CargoFiles
import Glibc
import SystemPackage

/// Compiled filters on disk, so that a program that runs one job need neither read a profile's JSON nor compile it.
///
/// A filter decides what strangers may call: a file is taken only when it is ours alone (our user, 0600, one name, no
/// link), in a folder that is ours alone, and holds the digest of its own key and content. Whatever else lies there is
/// compiled anew and replaced.
struct FilterCache: Sendable {
    /// Changes whenever this program would compile the same profile to something else.
    private static let form = 1
    private static let head = Array("LSBPF001".utf8)
    private static let digestBytes = 64
    /// The kernel's 4096 instructions.
    private static let mostBytes = 4096 * 8

    private let folder: FilePath

    /// `folder` is made when the first filter is kept.
    init(folder: FilePath) { self.folder = folder }

    /// What a compiled filter depends on: profile, tracing, architecture, and who compiled it.
    struct Key: Hashable, Sendable {
        let digest: Digest

        init(profile: [UInt8], tracing: Bool) {
            let library = seccomp_version().map { "\($0.pointee.major).\($0.pointee.minor).\($0.pointee.micro)" } ?? "unknown"
            let words = "\(form) \(Digest(of: profile)) \(SeccompFilter.architecture) libseccomp-\(library) \(tracing)"
            digest = Digest(of: Array(words.utf8))
        }

        var fileName: String { digest.hex + ".bpf" }
    }

    /// The kept filter, or nil when there is none that can be trusted.
    func filter(for key: Key) -> [UInt8]? {
        guard let place = try? Folder.open(folder), FilterCache.isOurs(place),
            let file = try? place.open(key.fileName, .readOnly, options: [.nonBlocking]), let status = try? file.status(),
            status.kind == .regular, status.owner == geteuid(), status.permissions & 0o7777 == 0o600, status.links == 1
        else { return nil }
        let start = FilterCache.head.count + FilterCache.digestBytes
        guard status.size > start, status.size <= start + FilterCache.mostBytes,
            let bytes = try? file.bytes(at: 0, count: Int(status.size)), bytes.count == Int(status.size),
            bytes.starts(with: FilterCache.head)
        else { return nil }
        let program = Array(bytes[start...])
        guard program.count % 8 == 0, Array(bytes[FilterCache.head.count..<start]) == seal(program, key) else { return nil }
        return program
    }

    /// Keeps a filter; a cache that cannot be written costs time alone.
    func keep(_ program: [UInt8], for key: Key) {
        guard let place = try? Folder.open(folder, create: 0o700), FilterCache.isOurs(place) else { return }
        try? place.writeAtomically(key.fileName, FilterCache.head + seal(program, key) + program, permissions: 0o600)
    }

    private func seal(_ program: [UInt8], _ key: Key) -> [UInt8] {
        Array(Digest(of: Array(key.digest.hex.utf8) + program).hex.utf8)
    }

    private static func isOurs(_ folder: Folder) -> Bool {
        var status = stat()
        return fstat(folder.descriptor.rawValue, &status) == 0 && status.st_uid == geteuid()
            && status.st_mode & 0o7777 == 0o700
    }
}
