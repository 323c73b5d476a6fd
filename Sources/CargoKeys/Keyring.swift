internal import CargoArtifact
internal import CargoFiles
public import CargoSigning
public import SystemPackage

/// A publisher's keys: `NAME.key`, `NAME.pub` and `NAME.delegation` in one folder, or one key in the environment.
public struct Keyring: Sendable {
    /// The variable that holds a private key as PEM, for machines that keep secrets so.
    public static let variable = "LONGSHORE_SIGNING_KEY"
    /// Most files of the folder that are listed.
    static let maximumFiles = 100_000

    public let folder: FilePath
    public let passphrases: PassphraseSource

    public init(folder: FilePath, passphrases: PassphraseSource) {
        self.folder = folder
        self.passphrases = passphrases
    }

    /// A private key by its name, or by the path of its file.
    public func signingKey(_ name: String) throws -> SigningKey {
        let path = file(name, "key")
        do {
            let key = try open(try KeyFile.readPrivateText(path), "the key '\(name)'")
            // The cipher of protected keys does not notice damage, and a damaged Ed25519 key is another key.
            guard try publicHalf(of: path).map({ $0 == key.publicKey }) ?? true else {
                throw KeyFailure(
                    "\(path) is not the private half of the .pub file beside it; one of them was damaged or replaced")
            }
            return key
        } catch let failure as FileFailure where failure.errno == .noSuchFileOrDirectory {
            throw KeyFailure("there is no key '\(name)' (\(path)); `longshore key create \(name)` makes one")
        }
    }

    private func publicHalf(of path: FilePath) throws -> PublicKey? {
        var path = path
        path.extension = "pub"
        do { return try KeyFile.readPublic(path) } catch let failure as FileFailure where failure.errno == .noSuchFileOrDirectory
        {
            return nil
        }
    }

    /// The private key in the environment; nil when there is none.
    public func environmentKey() throws -> SigningKey? {
        guard let text = passphrases.environment[Keyring.variable], !text.isEmpty else { return nil }
        do { return try open(text, "the key in \(Keyring.variable)") } catch let failure as KeyFailure {
            throw KeyFailure("\(Keyring.variable): \(failure)")
        }
    }

    private func open(_ text: String, _ what: String) throws -> SigningKey {
        switch try PrivateKeyText(pem: text) {
        case .plain(let key): key
        case .protected(let der): try ProtectedKey.open(der, with: try passphrases.passphrase(for: what))
        }
    }

    /// A public key by its name, or by the path of its file.
    public func publicKey(_ name: String) throws -> PublicKey {
        let path = file(name, "pub")
        do { return try KeyFile.readPublic(path) } catch let failure as FileFailure where failure.errno == .noSuchFileOrDirectory
        {
            throw KeyFailure("there is no public key '\(name)' (\(path)); `longshore key list` names those that are here")
        }
    }

    /// Writes `NAME.key` and `NAME.pub`.
    public func add(_ key: SigningKey, name: String, passphrase: Passphrase?) throws {
        let text: PrivateKeyText =
            if let passphrase { .protected(try ProtectedKey.seal(key, with: passphrase)) } else { .plain(key) }
        try KeyFile.write(text, publicKey: key.publicKey, name: name, folder: folder)
    }

    /// Where the delegation to a key lies when nobody says another place; nil for a key given by a path.
    public func delegationFile(_ name: String) -> FilePath? {
        name.contains("/") || name.hasSuffix(".pub") ? nil : folder.appending(name + ".delegation")
    }

    /// The delegation beside a key of this folder, as the envelope's bytes.
    public func delegation(to name: String) throws -> [UInt8]? {
        guard let path = delegationFile(name) else { return nil }
        do { return try File.contents(of: path, limit: CargoLayout.maximumDocument) } catch let failure as FileFailure
            where failure.errno == .noSuchFileOrDirectory
        { return nil }
    }

    private func file(_ name: String, _ suffix: String) -> FilePath {
        name.contains("/") || name.hasSuffix("." + suffix) ? FilePath(name) : folder.appending(name + "." + suffix)
    }

    /// One key of the folder.
    public struct Entry: Sendable {
        /// Whether the private half is here.
        public enum Secret: String, Sendable, Encodable { case plain, protected, absent }

        public let name: String
        public let key: PublicKey
        public let secret: Secret
        public let delegation: Delegation?
    }

    /// Every key of the folder, and a sentence for each file that is none.
    public func entries() throws -> (keys: [Entry], broken: [String]) {
        let open: Folder
        do { open = try Folder.open(folder) } catch let failure as FileFailure where failure.errno == .noSuchFileOrDirectory {
            return ([], [])
        }
        var entries: [Entry] = []
        var broken: [String] = []
        for file in try open.entries(limit: Keyring.maximumFiles).sorted() where file.hasSuffix(".pub") {
            let name = String(file.dropLast(4))
            do {
                let delegation = try delegation(to: name).map { try Delegation(unverified: $0) }
                entries.append(
                    Entry(
                        name: name, key: try KeyFile.readPublic(folder.appending(file)), secret: try secret(name, in: open),
                        delegation: delegation))
            } catch {
                broken.append("\(error)")
            }
        }
        return (entries, broken)
    }

    private func secret(_ name: String, in open: Folder) throws -> Entry.Secret {
        guard try open.status(name + ".key") != nil else { return .absent }
        return switch try PrivateKeyText(pem: try KeyFile.readPrivateText(folder.appending(name + ".key"))) {
        case .plain: .plain
        case .protected: .protected
        }
    }
}
