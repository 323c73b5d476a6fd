import Glibc

/// The user id of this host under which one job runs, held until the last reference goes.
///
/// A supervisor that is root gives every running job an id of its own, so that jobs share no files, limits or
/// signals with each other or with the store (docs/rules.md 7). An ordinary user's jobs run as that user.
public final class JobUser: Sendable {
    /// Above everything that distributions, systemd and container managers hand out (systemd's UIDS-GIDS document).
    static let first: UInt32 = 0x7000_0000
    /// Jobs that can run at once on a host.
    static let most: UInt32 = 4096

    public let id: UInt32
    /// Whether `id` is another one than the supervisor's.
    public let isSeparate: Bool
    private let lock: Descriptor?

    private init(id: UInt32, isSeparate: Bool, lock: Descriptor?) {
        self.id = id
        self.isSeparate = isSeparate
        self.lock = lock
    }

    /// Takes the lowest id that no supervisor on this host uses: a lock on a file, which its holder's end lets go.
    static func reserve() throws(SandboxError) -> JobUser {
        guard geteuid() == 0 else { return JobUser(id: geteuid(), isSeparate: false, lock: nil) }
        let folder = "/run/longshore-users"
        mkdir(folder, 0o700)
        for offset in 0..<most {
            guard let file = try? Descriptor.open("\(folder)/\(offset)", O_RDWR | O_CREAT | O_NOFOLLOW, mode: 0o600) else {
                break
            }
            if flock(file.number, LOCK_EX | LOCK_NB) == 0 { return JobUser(id: first + offset, isSeparate: true, lock: file) }
        }
        throw SandboxError(
            .failed, mechanism: "user",
            "no user id is free for the job; at most \(most) run at once, and \(folder) must be writable")
    }
}
