internal import CargoFiles
public import SystemPackage

/// Key files: PEM, private ones readable by their owner alone.
public enum KeyFile {
    /// Most bytes of a key file.
    static let maximumSize = 16 << 10

    /// Reads a private key without a passphrase, refused when others may read the file.
    public static func readPrivate(_ path: FilePath) throws -> SigningKey {
        try SigningKey(pem: try readPrivateText(path))
    }

    /// The PEM text of a private key file, refused when others may read it.
    public static func readPrivateText(_ path: FilePath) throws -> String {
        let file = try File.open(path)
        let status = try file.status()
        guard status.permissions & 0o077 == 0 else {
            throw KeyFailure("\(path) may be read by others; run `chmod 600 \(path)`")
        }
        guard let text = String(validating: try file.contents(limit: maximumSize), as: UTF8.self) else {
            throw KeyFailure("\(path) is no key file")
        }
        return text
    }

    public static func readPublic(_ path: FilePath) throws -> PublicKey {
        guard let text = String(validating: try File.contents(of: path, limit: maximumSize), as: UTF8.self) else {
            throw KeyFailure("\(path) is no key file")
        }
        do { return try PublicKey(pem: text) } catch { throw KeyFailure("\(path): \(error)") }
    }

    /// Writes `NAME.key` (0600) and `NAME.pub` into a folder that is made (0700) if missing; never over an existing key.
    public static func write(_ key: SigningKey, name: String, folder: FilePath) throws {
        try write(.plain(key), publicKey: key.publicKey, name: name, folder: folder)
    }

    /// The same for a private key that may be protected.
    public static func write(_ key: PrivateKeyText, publicKey: PublicKey, name: String, folder: FilePath) throws {
        let folder = try Folder.open(folder, create: 0o700)
        guard try folder.status(name + ".key") == nil else {
            throw KeyFailure("\(folder.path.appending(name + ".key")) exists already; choose another name")
        }
        try writeNew(name + ".key", key.pem, in: folder)
        try folder.writeDurably(name + ".pub", Array(publicKey.pem.utf8), permissions: 0o644)
    }

    /// The key in this file, made at the first call: a host's identity. Safe when several processes call at once.
    public static func loadOrMake(_ path: FilePath, type: KeyType = .ed25519) throws -> SigningKey {
        try SigningKey(pem: try textOrMake(path) { SigningKey(type: type).pem })
    }

    static func textOrMake(_ path: FilePath, making fresh: () -> String) throws -> String {
        do { return try readPrivateText(path) } catch let failure as FileFailure where failure.errno == .noSuchFileOrDirectory {}
        let folder = try Folder.open(path.removingLastComponent(), create: 0o700)
        try writeNew(path.lastComponent?.string ?? "key", fresh(), in: folder)
        return try readPrivateText(path)
    }

    /// Puts the file there unless one is already.
    private static func writeNew(_ name: String, _ text: String, in folder: Folder) throws {
        let temporary = try folder.makeTemporary(permissions: 0o600)
        defer { _ = try? folder.remove(temporary.name) }
        try temporary.file.write(Array(text.utf8))
        try temporary.file.sync()
        if try folder.renameNew(temporary.name, to: name) { try folder.sync() }
    }
}
