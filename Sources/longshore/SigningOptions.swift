import ArgumentParser
import CargoArtifact
import CargoFiles
import CargoKeys
import CargoPacking
import CargoSigning
import FoundationEssentials
import SystemPackage

/// A time in the future: a span such as `90d`, or `2030-12-31T00:00:00Z`.
struct Expiry: ExpressibleByArgument, Sendable {
    /// Since 1970.
    let seconds: Int64

    init?(argument: String) {
        guard let seconds = Timestamp.seconds(argument) ?? Seconds(argument).map({ Timestamp.now() + Int64($0.value) }) else {
            return nil
        }
        self.seconds = seconds
    }
}

/// How a protected key is opened.
struct PassphraseOptions: ParsableArguments {
    @Option(
        name: .customLong("passphrase-file"),
        help: ArgumentHelp(
            "The key's passphrase is this file's first line. Default: LONGSHORE_KEY_PASSPHRASE, else it is asked for.",
            valueName: "file"))
    var file: String?

    /// For commands that touch public keys alone.
    static var keyringForReading: Keyring {
        Keyring(folder: ConfigFolder.keys, passphrases: PassphraseSource(environment: [:]))
    }

    var keyring: Keyring {
        Keyring(
            folder: ConfigFolder.keys,
            passphrases: PassphraseSource(file: file.map { FilePath($0) }, environment: ProcessInfo.processInfo.environment))
    }
}

/// Which keys sign, and what the signature says besides.
struct SigningOptions: ParsableArguments {
    @Option(help: "Sign with this key: a name in keys/, or a path. Repeatable. Default: LONGSHORE_SIGNING_KEY (PEM).")
    var key: [String] = []

    @OptionGroup var passphrase: PassphraseOptions

    @Option(
        help: ArgumentHelp(
            "What a root key wrote to let the key sign ('key delegate'). Default: NAME.delegation beside the key. Repeatable.",
            valueName: "file"))
    var delegation: [String] = []

    @Option(help: "The release counter. Default: it follows from the version.")
    var counter: Int64?

    @Option(help: "The signature counts until then: a span such as 90d, or a time such as 2030-12-31T00:00:00Z.")
    var expires: Expiry?

    func validate() throws {
        if let counter, counter < 0 || counter >= 1 << 53 { throw ValidationError("--counter is 0 or more.") }
    }

    var options: SignatureOptions { SignatureOptions(counter: counter, expires: expires?.seconds) }

    /// A key that signs, and the delegation that lies beside its file.
    struct Signer {
        let key: SigningKey
        let delegation: [UInt8]?
    }

    /// The keys that were named, else the one in the environment, else none.
    func signers() throws -> [Signer] {
        let keyring = passphrase.keyring
        if key.isEmpty { return try keyring.environmentKey().map { [Signer(key: $0, delegation: nil)] } ?? [] }
        return try key.map { Signer(key: try keyring.signingKey($0), delegation: try keyring.delegation(to: $0)) }
    }

    /// What travels with the signatures of a cargo of this name. One that was named must be of use; one that merely lies
    /// beside a key is left out, with a word, when it is not.
    func delegations(of signers: [Signer], for name: String) throws -> [[UInt8]] {
        var envelopes: [[UInt8]] = []
        for file in delegation {
            let envelope = try File.contents(of: FilePath(file), limit: CargoLayout.maximumDocument)
            if let reason = try uselessness(envelope, for: name) { throw KeyFailure("\(file) \(reason)") }
            let key = try Delegation(unverified: envelope).key
            guard signers.contains(where: { $0.key.publicKey == key }) else {
                throw KeyFailure("\(file) is for the key \(key.fingerprint), which does not sign here")
            }
            envelopes.append(envelope)
        }
        for envelope in signers.compactMap(\.delegation) where !envelopes.contains(envelope) {
            if let reason = try uselessness(envelope, for: name) {
                Streams.note("the delegation beside the key \(reason); it is left out")
            } else {
                envelopes.append(envelope)
            }
        }
        return envelopes
    }

    private func uselessness(_ envelope: [UInt8], for name: String) throws -> String? {
        let delegation = try Delegation(unverified: envelope)
        if delegation.expires <= Timestamp.now() { return "ended at \(Timestamp.text(delegation.expires))" }
        return delegation.covers(name) ? nil : "is for \(delegation.names.joined(separator: ", ")), not '\(name)'"
    }
}
