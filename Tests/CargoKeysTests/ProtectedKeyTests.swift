import CargoFiles
import CargoSigning
import Glibc
import SystemPackage
import Testing

@testable import CargoKeys

/// Keys under a passphrase, against the `openssl` program in both directions.
@Suite struct ProtectedKeyTests {
    private func withFolder(_ body: (FilePath) throws -> Void) throws {
        var generator = SystemRandomNumberGenerator()
        let name = "longshore-keys-" + String(generator.next(), radix: 36)
        let parent = try Folder.open("/tmp")
        try parent.makeFolder(name)
        defer { try? parent.removeTree(name) }
        try body(try parent.folder(name).path)
    }

    private func shell(_ command: String) -> (status: Int32, output: String) {
        guard let stream = popen("{ " + command + " ; } 2>&1", "r") else { return (-1, "popen failed") }
        var output: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while case let count = fread(&buffer, 1, buffer.count, stream), count > 0 { output += buffer[..<count] }
        return (pclose(stream) >> 8 & 0xFF, String(decoding: output, as: UTF8.self))
    }

    private func write(_ text: String, _ path: FilePath) throws {
        try Folder.open(path.removingLastComponent()).writeDurably(try #require(path.lastComponent?.string), Array(text.utf8))
    }

    private func ring(_ folder: FilePath, _ passphrase: String?) -> Keyring {
        Keyring(
            folder: folder, passphrases: PassphraseSource(environment: passphrase.map { ["LONGSHORE_KEY_PASSPHRASE": $0] } ?? [:])
        )
    }

    @Test(arguments: KeyType.allCases) func `openssl opens what is written, with PBES2, PBKDF2 and AES-256`(_ type: KeyType)
        throws
    {
        try withFolder { (folder: FilePath) throws in
            let key = SigningKey(type: type)
            try ring(folder, nil).add(key, name: "k", passphrase: try Passphrase("päss word".utf8))
            let text = shell("cat \(folder)/k.key; stat -c %a \(folder)/k.key").output
            #expect(text.hasPrefix("-----BEGIN ENCRYPTED PRIVATE KEY-----\n") && text.hasSuffix("600\n"))
            let read = shell("openssl pkey -in \(folder)/k.key -passin 'pass:päss word' -pubout")
            #expect(read.status == 0 && read.output == key.publicKey.pem, "\(read.output)")
            let scheme = shell("openssl asn1parse -in \(folder)/k.key").output
            for part in ["PBES2", "PBKDF2", "hmacWithSHA256", "aes-256-cbc", "0927C0"] {
                #expect(scheme.contains(part), "\(part) is missing in \(scheme)")
            }
            #expect(shell("openssl pkey -in \(folder)/k.key -passin pass:wrong -noout").status != 0)
            let signed = try ring(folder, "päss word").signingKey("k").publicKey
            #expect(signed == key.publicKey)
        }
    }

    @Test(arguments: [
        ("ed25519", "-v2 aes-256-cbc"), ("EC -pkeyopt ec_paramgen_curve:P-256", "-v2 aes-256-cbc"),
        ("ed25519", "-v2 aes-128-cbc -v2prf hmacWithSHA512 -iter 10000"), ("ed25519", "-scrypt"),
    ]) func `what openssl protects is opened, and the key signs`(_ algorithm: String, _ scheme: String) throws {
        try withFolder { (folder: FilePath) throws in
            let made = shell(
                "umask 077; openssl genpkey -algorithm \(algorithm) | openssl pkcs8 -topk8 \(scheme) -passout pass:secret -out \(folder)/k.key"
            )
            try #require(made.status == 0, "\(made.output)")
            let key = try ring(folder, "secret").signingKey("k")
            let pem = shell("openssl pkey -in \(folder)/k.key -passin pass:secret -pubout").output
            #expect(key.publicKey.pem == pem)
            #expect(try PublicKey(pem: pem).isValid(signature: try key.sign([1, 2, 3]), for: [1, 2, 3]))
        }
    }

    @Test func `a wrong passphrase, none, or a damaged file is a sentence and no key`() throws {
        try withFolder { (folder: FilePath) throws in
            try ring(folder, nil).add(SigningKey(), name: "k", passphrase: try Passphrase("right".utf8))
            #expect(throws: KeyFailure("the passphrase does not open the key")) { try ring(folder, "wrong").signingKey("k") }
            #expect(throws: KeyFailure.self) { try KeyFile.readPrivate(folder.appending("k.key")) }
            guard case .protected(let der) = try PrivateKeyText(pem: try KeyFile.readPrivateText(folder.appending("k.key")))
            else {
                Issue.record("the key is not protected")
                return
            }
            // Salt, initial vector, and each block of the key itself: the cipher alone does not notice all of them.
            for position in [0, 45, 90, 103, 110, 119, 125, 134, 140, der.count - 1] {
                var changed = der
                changed[position] ^= 1
                try write(PrivateKeyText.protected(changed).pem, folder.appending("k.key"))
                #expect(throws: KeyFailure.self, "byte \(position)") { try ring(folder, "right").signingKey("k") }
            }
            for cut in [0, 1, 10, der.count - 1] {
                #expect(throws: KeyFailure.self) {
                    try ProtectedKey.open(Array(der.prefix(cut)), with: try Passphrase("right".utf8))
                }
            }
        }
    }

    @Test func `passphrases come from a file's first line, else from the environment`() throws {
        try withFolder { (folder: FilePath) throws in
            try write("from file\r\nsecond line\n", folder.appending("p"))
            try ring(folder, nil).add(SigningKey(), name: "k", passphrase: try Passphrase("from file".utf8))
            var source = PassphraseSource(environment: ["LONGSHORE_KEY_PASSPHRASE_FILE": folder.appending("p").string])
            _ = try Keyring(folder: folder, passphrases: source).signingKey("k")
            source = PassphraseSource(file: folder.appending("p"), environment: ["LONGSHORE_KEY_PASSPHRASE": "wrong"])
            _ = try Keyring(folder: folder, passphrases: source).signingKey("k")
            try write("\n", folder.appending("p"))
            #expect(throws: KeyFailure.self) { try source.given() }
            try write(String(repeating: "x", count: 2000), folder.appending("p"))
            #expect(throws: (any Error).self) { try source.given() }
        }
    }

    @Test func `the environment holds a key, plain or protected`() throws {
        try withFolder { (folder: FilePath) throws in
            let key = SigningKey(type: .p256)
            #expect(try ring(folder, nil).environmentKey() == nil)
            let sealed = PrivateKeyText.protected(try ProtectedKey.seal(key, with: try Passphrase("secret".utf8))).pem
            for text in [key.pem, sealed] {
                let source = PassphraseSource(environment: [Keyring.variable: text, "LONGSHORE_KEY_PASSPHRASE": "secret"])
                #expect(try Keyring(folder: folder, passphrases: source).environmentKey()?.publicKey == key.publicKey)
            }
            let broken = PassphraseSource(environment: [Keyring.variable: "no key"])
            #expect(throws: KeyFailure.self) { try Keyring(folder: folder, passphrases: broken).environmentKey() }
        }
    }

    @Test func `the ring lists each key with its secret and delegation, and names what is broken`() throws {
        try withFolder { (folder: FilePath) throws in
            let ring = ring(folder, "secret")
            let (one, two) = (SigningKey(), SigningKey(type: .p256))
            try ring.add(one, name: "one", passphrase: nil)
            try ring.add(two, name: "two", passphrase: try Passphrase("secret".utf8))
            try write(SigningKey().publicKey.pem, folder.appending("three.pub"))
            try write("rubbish", folder.appending("four.pub"))
            let delegation = Delegation(key: two.publicKey, names: ["acme/*"], expires: 2_000_000_000)
            try write(String(decoding: try delegation.signed(by: one), as: UTF8.self), folder.appending("two.delegation"))
            let (entries, broken) = try ring.entries()
            #expect(entries.map(\.name) == ["one", "three", "two"] && broken.count == 1)
            #expect(entries.map(\.secret) == [.plain, .absent, .protected])
            #expect(entries.last?.delegation == delegation)
            #expect(throws: KeyFailure.self) { try ring.add(one, name: "one", passphrase: nil) }
        }
    }
}
