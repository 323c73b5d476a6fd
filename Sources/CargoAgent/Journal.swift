import CargoClient
import CargoWire
import FoundationEssentials
import Glibc
import SystemPackage

/// What this host holds of attempts that the coordinator has not acknowledged yet, on disk: an outcome survives the agent.
///
/// `ROOT/JOB.EPOCH/` holds `claim.json`, the job's `input/` and `output/`, and once it ended `outcome.json`. The folder
/// goes when the coordinator took the outcome or refused the lease.
struct Journal: Sendable {
    /// Written at the claim.
    struct Claimed: Codable, Sendable {
        var coordinator: String
        var job: String
        var lease: Lease
    }

    /// Written at the end, with the log that the coordinator did not have on disk by then.
    struct Outcome: Codable, Sendable {
        var completion: Completion?
        var failure: Failure?
        var logStart: Int64
        var log: [LogChunk]
    }

    /// One attempt's folder.
    struct Entry: Sendable {
        let folder: FilePath
        let claimed: Claimed
        var input: FilePath { folder.appending("input") }
        var output: FilePath { folder.appending("output") }

        func write(_ outcome: Outcome) throws {
            try Journal.write(try JSONEncoder().encode(outcome), to: folder.appending("outcome.json"), durable: true)
        }

        func outcome() -> Outcome? {
            guard let data = try? Data(contentsOf: folder.appending("outcome.json")) else { return nil }
            return try? JSONDecoder().decode(Outcome.self, from: data)
        }

        func remove() { Journal.remove(folder) }
    }

    let root: FilePath

    init(root: FilePath) throws {
        self.root = root
        try FileManager.default.createDirectory(
            atPath: root.string, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    }

    /// Begins an attempt. The note of the claim is not forced to disk: losing it only means waiting for the lease's end.
    func begin(_ claimed: Claimed) throws -> Entry {
        // The id comes from the coordinator: only one that cannot leave the folder becomes a name.
        guard UUIDv7.isValid(claimed.job) else {
            throw ClientError(status: 0, code: "bad_answer", message: "the coordinator names a job '\(printable(claimed.job))'")
        }
        let folder = root.appending("\(claimed.job).\(claimed.lease.epoch)")
        Journal.remove(folder)
        guard mkdir(folder.string, 0o700) == 0 else { throw Errno(rawValue: errno) }
        let entry = Entry(folder: folder, claimed: claimed)
        guard mkdir(entry.input.string, 0o700) == 0 else { throw Errno(rawValue: errno) }
        try Journal.write(try JSONEncoder().encode(claimed), to: folder.appending("claim.json"), durable: false)
        return entry
    }

    /// What an earlier life of this agent left behind for `coordinator`; folders without a readable claim are removed.
    func left(for coordinator: String) -> [Entry] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: root.string)) ?? []
        var entries: [Entry] = []
        for name in names.sorted() {
            let folder = root.appending(name)
            guard let data = try? Data(contentsOf: folder.appending("claim.json")),
                let claimed = try? JSONDecoder().decode(Claimed.self, from: data)
            else {
                Journal.remove(folder)
                continue
            }
            if claimed.coordinator == coordinator { entries.append(Entry(folder: folder, claimed: claimed)) }
        }
        return entries
    }

    private static func remove(_ folder: FilePath) { try? FileManager.default.removeItem(atPath: folder.string) }

    private static func write(_ data: Data, to path: FilePath, durable: Bool) throws {
        let temporary = FilePath(path.string + ".new")
        unlink(temporary.string)
        let file = try FileDescriptor.open(
            temporary, .writeOnly, options: [.create, .exclusiveCreate, .noFollow, .closeOnExec], permissions: .ownerReadWrite)
        try file.closeAfter {
            _ = try file.writeAll(data)
            if durable, fsync(file.rawValue) != 0 { throw Errno(rawValue: errno) }
        }
        guard rename(temporary.string, path.string) == 0 else { throw Errno(rawValue: errno) }
        if durable {
            let folder = try FileDescriptor.open(path.removingLastComponent(), .readOnly, options: [.directory, .closeOnExec])
            try folder.closeAfter { if fsync(folder.rawValue) != 0 { throw Errno(rawValue: errno) } }
        }
    }
}

extension Data {
    fileprivate init(contentsOf path: FilePath) throws {
        guard let data = FileManager.default.contents(atPath: path.string) else { throw Errno.noSuchFileOrDirectory }
        self = data
    }
}
