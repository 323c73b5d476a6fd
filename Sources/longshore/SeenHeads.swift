import CargoArtifact
import CargoClient
import CargoFiles
import CargoSigning
import CargoWire
import FoundationEssentials
import SystemPackage

/// What coordinators have signed in front of this user: heads of audit trails, and the key of each coordinator, below
/// `$LONGSHORE_CONFIG/seen`. So a coordinator cannot rewrite a trail unseen (docs/rules.md 18).
struct SeenHeads {
    /// `http(s)://HOST[:PORT]`.
    let url: String

    /// Heads kept of one coordinator; the oldest jobs' go first.
    private static let most = 10_000

    private var path: FilePath {
        let name = url.utf8.map { byte in
            switch byte {
            case 48...57, 65...90, 97...122, 45, 46: String(UnicodeScalar(byte))
            default: "_"
            }
        }
        return ConfigFolder.path.appending("seen").appending(name.joined())
    }

    /// Keeps the head of a job that has ended, the first time; a later one is believed only with the trail between. What cannot be kept is only said: the job's result matters more.
    func keep(_ job: Job) {
        guard let head = job.auditHead else { return }
        do {
            if UUIDv7.isValid(job.id), try contents(job.id + ".json") == nil { try write(head, of: job.id) }
        } catch { Streams.note("the head of the audit trail could not be kept: \(error)") }
    }

    private func write(_ head: JSONValue, of job: String) throws {
        guard UUIDv7.isValid(job) else { return }
        let folder = try Folder.open(path, create: 0o700)
        try folder.writeDurably(job + ".json", Array(try JSONEncoder().encode(head)))
        let names = try folder.entries().filter { $0.hasSuffix(".json") }.sorted()
        // Ids begin with their time.
        for name in names.dropLast(Self.most) { _ = try folder.remove(name) }
    }

    /// Why a trail is not the one that was signed before, as one sentence; nil when it is.
    func objection(to audit: JobAudit) throws -> String? {
        guard let signed = audit.signedHead, let text = audit.key else {
            return "the coordinator has not signed the head of the chain"
        }
        let key = try PublicKey(pem: text)
        let folder = try Folder.open(path, create: 0o700)
        if let pinned = try contents("coordinator.pub") {
            guard try PublicKey(pem: String(decoding: pinned, as: UTF8.self)) == key else {
                return "the coordinator signs with another key than before; when its operator says why, remove "
                    + path.appending("coordinator.pub").string
            }
        } else {
            try folder.writeDurably("coordinator.pub", Array(text.utf8))
        }
        if let objection = audit.objection(to: signed, key: key) { return objection }
        if let before = try contents(audit.id + ".json"),
            let objection = audit.objection(to: try JSONDecoder().decode(JSONValue.self, from: Data(before)), key: key)
        {
            return "this is not the trail that the coordinator signed before: " + objection
        }
        try write(signed, of: audit.id)
        return nil
    }

    private func contents(_ name: String) throws -> [UInt8]? {
        do {
            return try File.contents(of: path.appending(name), limit: 65536)
        } catch let failure as FileFailure where failure.errno == .noSuchFileOrDirectory {
            return nil
        }
    }
}
