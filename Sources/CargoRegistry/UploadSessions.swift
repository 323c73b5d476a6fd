import CargoArtifact
import CargoFiles
import CargoStore
import CargoWire
import Synchronization

/// Blob uploads that come in several requests. They live in memory: after a restart a client begins again.
final class UploadSessions: Sendable {
    /// Open uploads of all accounts at most; each holds one file.
    static let most = 1000
    /// An upload without a request for so long is dropped.
    static let patience = Duration.seconds(3600)

    private struct Session {
        var account: Int64
        var name: CargoName
        var writer: BlobWriter
        var busy: Bool
        var lastUse: ContinuousClock.Instant
    }

    private let sessions = Mutex<[String: Session]>([:])

    func begin(_ name: CargoName, account: Int64, writer: BlobWriter) throws -> String {
        let id = UUIDv7.make()
        let now = ContinuousClock.now
        try sessions.withLock { sessions in
            for (old, session) in sessions where !session.busy && session.lastUse.duration(to: now) > UploadSessions.patience {
                sessions[old] = nil
            }
            guard sessions.count < UploadSessions.most else {
                throw RegistryError(429, "TOOMANYREQUESTS", "Too many uploads are open; finish or cancel some.")
            }
            sessions[id] = Session(account: account, name: name, writer: writer, busy: false, lastUse: now)
        }
        return id
    }

    /// The writer, for one request at a time.
    func take(_ id: String, _ name: CargoName, account: Int64) throws -> BlobWriter {
        try sessions.withLock { sessions in
            guard let session = sessions[id], session.account == account, session.name == name else {
                throw RegistryError.uploadUnknown
            }
            guard !session.busy else {
                throw RegistryError(409, "BLOB_UPLOAD_INVALID", "Another request is writing to this upload; send one at a time.")
            }
            sessions[id]?.busy = true
            return session.writer
        }
    }

    func giveBack(_ id: String) {
        sessions.withLock { sessions in
            sessions[id]?.busy = false
            sessions[id]?.lastUse = .now
        }
    }

    func end(_ id: String) { sessions.withLock { _ = $0.removeValue(forKey: id) } }
}
