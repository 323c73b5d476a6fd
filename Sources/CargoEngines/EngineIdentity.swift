internal import CargoArtifact
internal import CargoFiles
internal import CargoStore
internal import FoundationEssentials
internal import Glibc
internal import Synchronization
internal import SystemPackage

extension ReadyEngine {
    /// What the outcome of a run says of this engine. Reads the programs that it stands on; blocks.
    func record(model: Digest) -> EngineRecord {
        let programs = EngineManifest.grants(of: template).sorted().compactMap { name in
            entry.grants[name].map { ProgramIdentity.of(name, at: FilePath($0)) }
        }
        return EngineRecord(
            name: entry.name, version: cargo.config.version, digest: cargo.digest.description, model: model.description,
            programs: programs)
    }
}

/// What a granted path is, told without running anything of it.
enum ProgramIdentity {
    /// Bytes of `build` at most.
    static let longestBuild = 1024
    /// Packages of one environment that are looked at.
    static let mostPackages = 2048
    private static let recordLimit = 16 << 20
    /// Files whose digests are remembered.
    private static let mostKnown = 64

    /// A file that did not change has the digest that it had.
    private struct Stamp: Hashable {
        var path: FilePath
        var inode: UInt64
        var size: Int64
        var modified: Int64
        var changed: Int64
    }

    private static let known = Mutex<[Stamp: String]>([:])

    static func of(_ name: String, at path: FilePath) -> EngineRecord.Program {
        var status = stat()
        guard stat(path.string, &status) == 0 else { return .init(name: name) }
        if status.st_mode & S_IFMT == S_IFDIR {
            guard let packages = packages(in: path) else { return .init(name: name) }
            return .init(name: name, build: packages.build, digest: packages.digest)
        }
        let build = name == "llama-server" ? HostProgram.llamaBuild(beside: path) : nil
        return .init(name: name, build: build, digest: digest(of: path, status))
    }

    private static func digest(of path: FilePath, _ status: stat) -> String? {
        func nanoseconds(_ time: timespec) -> Int64 { Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec) }
        let stamp = Stamp(
            path: path, inode: UInt64(status.st_ino), size: Int64(status.st_size), modified: nanoseconds(status.st_mtim),
            changed: nanoseconds(status.st_ctim))
        if let before = known.withLock({ $0[stamp] }) { return before }
        guard let file = try? File.open(path) else { return nil }
        var hash = ContentHash()
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 16)
        defer { buffer.deallocate() }
        var offset: Int64 = 0
        while let count = try? file.read(into: buffer, at: offset) {
            guard count > 0 else {
                let digest = hash.digest().description
                known.withLock { known in
                    if known.count >= mostKnown { known.removeAll() }
                    known[stamp] = digest
                }
                return digest
            }
            hash.update(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
            offset += Int64(count)
        }
        return nil
    }

    /// The packages of a Python environment as its installer wrote them down: each `NAME-VERSION.dist-info` with its `RECORD`, which
    /// holds the digest of every file (Python packaging specifications, "Recording installed projects").
    private static func packages(in environment: FilePath) -> (build: String, digest: String)? {
        let lib = environment.appending("lib")
        let pythons = ((try? FileManager.default.contentsOfDirectory(atPath: lib.string)) ?? []).filter {
            $0.hasPrefix("python3")
        }
        guard let python = pythons.sorted().first else { return nil }
        let site = lib.appending(python).appending("site-packages")
        let all = (try? FileManager.default.contentsOfDirectory(atPath: site.string)) ?? []
        let suffix = ".dist-info"
        let names = all.filter { $0.hasSuffix(suffix) }.sorted().prefix(mostPackages)
        guard !names.isEmpty else { return nil }
        var hash = ContentHash()
        var words: [String] = []
        for name in names {
            let record = (try? File.contents(of: site.appending(name).appending("RECORD"), limit: recordLimit)) ?? []
            hash.update(Array("\(name) \(Digest(of: record).hex)\n".utf8))
            let parts = name.dropLast(suffix.count).split(separator: "-", maxSplits: 1)
            // What every environment has says nothing of this one.
            if let first = parts.first, !["pip", "setuptools", "wheel"].contains(first) {
                words.append(parts.joined(separator: " "))
            }
        }
        return (String(words.joined(separator: ", ").prefix(longestBuild)), hash.digest().description)
    }
}
