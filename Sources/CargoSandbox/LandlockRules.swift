/// A Landlock ruleset as data: a second, independent word on what a job may do with files, beside the mounts.
///
/// Computed for the ABI that the kernel has: rights that it does not know are not asked for. ABIs 1–7 are known
/// (Linux 5.13–6.15); a newer kernel gets the rules of ABI 7.
struct LandlockRules: Hashable, Sendable {
    struct FileRights: OptionSet, Hashable, Sendable {
        let rawValue: UInt64

        static let execute = FileRights(rawValue: 1 << 0)
        static let writeFile = FileRights(rawValue: 1 << 1)
        static let readFile = FileRights(rawValue: 1 << 2)
        static let readFolder = FileRights(rawValue: 1 << 3)
        static let makeCharacterDevice = FileRights(rawValue: 1 << 6)
        static let makeBlockDevice = FileRights(rawValue: 1 << 11)
        static let truncate = FileRights(rawValue: 1 << 14)
        static let deviceControl = FileRights(rawValue: 1 << 15)

        static let reading: FileRights = [.execute, .readFile, .readFolder]

        /// Every right of an ABI.
        static func known(to abi: Int) -> FileRights {
            FileRights(rawValue: (1 << (abi >= 5 ? 16 : abi >= 3 ? 15 : abi >= 2 ? 14 : 13)) - 1)
        }
    }

    struct TCPRights: OptionSet, Hashable, Sendable {
        let rawValue: UInt64

        static let bind = TCPRights(rawValue: 1 << 0)
        static let connect = TCPRights(rawValue: 1 << 1)
    }

    struct Scopes: OptionSet, Hashable, Sendable {
        let rawValue: UInt64

        static let abstractSockets = Scopes(rawValue: 1 << 0)
        static let signals = Scopes(rawValue: 1 << 1)
    }

    struct FileRule: Hashable, Sendable {
        var path: String
        var rights: FileRights
    }

    struct PortRule: Hashable, Sendable {
        var port: Int
        var rights: TCPRights
    }

    var handledFiles: FileRights
    var handledTCP: TCPRights
    var scopes: Scopes
    /// How much of `struct landlock_ruleset_attr` this kernel reads.
    var attributeBytes: Int
    var files: [FileRule]
    var ports: [PortRule]

    /// Rules for a job: everything may be read and executed, `writable` folders written, `devices` written and
    /// controlled, `/proc` written where its own permissions allow.
    /// `tcp`: nil leaves TCP alone; else only these ports of peers may be connected to, and none bound.
    init(abi: Int, writable: [String], devices: [String], tcp: [Int]?) {
        let known = FileRights.known(to: abi)
        handledFiles = known
        handledTCP = abi >= 4 && tcp != nil ? [.bind, .connect] : []
        scopes = abi >= 6 ? [.abstractSockets, .signals] : []
        attributeBytes = abi >= 6 ? 24 : abi >= 4 ? 16 : 8
        let everywhere = FileRule(path: "/", rights: .reading)
        let proc = FileRule(path: "/proc", rights: FileRights([.readFile, .readFolder, .writeFile]).intersection(known))
        let folders = writable.map {
            FileRule(path: $0, rights: known.subtracting([.makeCharacterDevice, .makeBlockDevice, .deviceControl]))
        }
        let nodes = devices.map {
            FileRule(path: $0, rights: FileRights([.readFile, .writeFile, .truncate, .deviceControl]).intersection(known))
        }
        files = [everywhere, proc] + folders + nodes
        ports = handledTCP.isEmpty ? [] : (tcp ?? []).map { PortRule(port: $0, rights: .connect) }
    }
}
