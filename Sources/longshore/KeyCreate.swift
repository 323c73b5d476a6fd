public import ArgumentParser
import CargoArtifact
import CargoKeys
public import CargoSigning
import SystemPackage

/// Makes a key pair.
struct KeyCreate: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Make a key pair: keys/NAME.key (readable by you alone) and keys/NAME.pub.",
        discussion: """
            With --passphrase, --passphrase-file or LONGSHORE_KEY_PASSPHRASE the private key is encrypted (PKCS#8, PBES2 with \
            PBKDF2 and AES-256), as OpenSSL reads it too.
            """)

    @Argument(help: "Letters, digits, '-' and '_'.")
    var name: String

    @Option(help: "ed25519 or p256.")
    var type: KeyType = .ed25519

    @Flag(name: .customLong("passphrase"), help: "Protect the private key by a passphrase, which is asked for.")
    var asksForPassphrase = false

    @OptionGroup var passphrase: PassphraseOptions

    @Flag(help: "Print JSON.")
    var json = false

    private struct Answer: Encodable {
        var name: String
        var type: String
        var path: String
        var publicKey: String
        var fingerprint: Digest
        var isProtected: Bool

        enum CodingKeys: String, CodingKey {
            case name, type, path, fingerprint
            case publicKey = "public_key"
            case isProtected = "protected"
        }
    }

    func validate() throws {
        let isPlain = name.utf8.allSatisfy {
            (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0) || $0 == 45 || $0 == 95
        }
        guard isPlain, (1...64).contains(name.utf8.count), !name.hasPrefix("-") else {
            throw ValidationError("a key's name is letters, digits, '-' and '_', at most 64.")
        }
    }

    func run() throws {
        let keyring = passphrase.keyring
        let key = SigningKey(type: type)
        let secret =
            try asksForPassphrase
            ? keyring.passphrases.newPassphrase(for: "the key '\(name)'") : keyring.passphrases.given()
        try keyring.add(key, name: name, passphrase: secret)
        let path = keyring.folder.appending(name + ".pub").string
        if json {
            try Streams.json(
                Answer(
                    name: name, type: type.rawValue, path: keyring.folder.appending(name + ".key").string, publicKey: path,
                    fingerprint: key.publicKey.fingerprint, isProtected: secret != nil))
        } else {
            Streams.result(path)
            Streams.note(
                "made the \(type.rawValue) key '\(name)', \(key.publicKey.fingerprint)"
                    + (secret == nil ? ", without a passphrase" : ", protected by a passphrase"))
        }
    }
}

extension KeyType: ExpressibleByArgument {}
