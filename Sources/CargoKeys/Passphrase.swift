internal import CargoFiles
internal import CargoSigning
internal import Glibc
public import SystemPackage

/// What opens a protected key.
public struct Passphrase: Sendable {
    /// Most bytes, as OpenSSL's own programs take them.
    public static let maximumSize = 1023

    private let bytes: [UInt8]

    public init(_ bytes: some Sequence<UInt8>) throws {
        self.bytes = Array(bytes)
        guard (1...Passphrase.maximumSize).contains(self.bytes.count), !self.bytes.contains(0) else {
            throw KeyFailure("a passphrase has 1 to \(Passphrase.maximumSize) bytes, none of them zero")
        }
    }

    func withCharacters<Value>(_ body: (UnsafeBufferPointer<CChar>) -> Value) -> Value {
        bytes.withUnsafeBufferPointer { $0.withMemoryRebound(to: CChar.self, body) }
    }
}

/// Where passphrases come from: a file, the environment, or the person at the terminal, in this order.
public struct PassphraseSource: Sendable {
    /// The passphrase is this file's first line, as in `openssl -passin file:F`.
    public var file: FilePath?
    /// `LONGSHORE_KEY_PASSPHRASE`, and `LONGSHORE_KEY_PASSPHRASE_FILE`.
    public var environment: [String: String]

    public init(file: FilePath? = nil, environment: [String: String]) {
        self.file = file
        self.environment = environment
    }

    /// The one that was given in advance; nil when nobody gave one.
    public func given() throws -> Passphrase? {
        if let file { return try PassphraseSource.read(file) }
        if let text = environment["LONGSHORE_KEY_PASSPHRASE"], !text.isEmpty { return try Passphrase(text.utf8) }
        if let path = environment["LONGSHORE_KEY_PASSPHRASE_FILE"], !path.isEmpty {
            return try PassphraseSource.read(FilePath(path))
        }
        return nil
    }

    /// The one for the key that `what` names, asked for on the terminal when it was not given.
    public func passphrase(for what: String) throws -> Passphrase {
        if let given = try given() { return given }
        guard let terminal = Terminal() else {
            throw KeyFailure(
                "\(what) is protected by a passphrase; give it with --passphrase-file FILE or LONGSHORE_KEY_PASSPHRASE")
        }
        return try Passphrase(try terminal.ask("Passphrase of \(what): "))
    }

    /// One for a new key, asked for twice.
    public func newPassphrase(for what: String) throws -> Passphrase {
        if let given = try given() { return given }
        guard let terminal = Terminal() else {
            throw KeyFailure("there is no terminal to ask on; give the passphrase with --passphrase-file FILE")
        }
        let first = try terminal.ask("New passphrase of \(what): ")
        guard try terminal.ask("The same again: ") == first else {
            throw KeyFailure("the two passphrases differ; nothing was written")
        }
        return try Passphrase(first)
    }

    private static func read(_ path: FilePath) throws -> Passphrase {
        let bytes = try File.contents(of: path, limit: Passphrase.maximumSize + 2)
        var line = bytes.prefix { $0 != 10 }
        if line.last == 13 { line.removeLast() }
        do { return try Passphrase(line) } catch { throw KeyFailure("\(path): \(error)") }
    }
}

/// The terminal that controls this process, whatever its standard streams are.
private struct Terminal: ~Copyable {
    private let descriptor: Int32

    init?() {
        descriptor = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC)
        if descriptor < 0 { return nil }
    }

    deinit { close(descriptor) }

    /// One line, not shown while it is typed. Ctrl-C ends with a failure, so that the terminal is set back.
    func ask(_ question: String) throws -> [UInt8] {
        var shown = termios()
        guard tcgetattr(descriptor, &shown) == 0 else {
            throw KeyFailure("the terminal cannot be set up to ask for a passphrase")
        }
        var hidden = shown
        hidden.c_lflag &= ~tcflag_t(ECHO | ISIG)
        tcsetattr(descriptor, TCSAFLUSH, &hidden)
        defer { tcsetattr(descriptor, TCSAFLUSH, &shown) }
        tell(question)
        defer { tell("\n") }
        var line: [UInt8] = []
        while line.count <= Passphrase.maximumSize {
            var byte: UInt8 = 0
            let count = read(descriptor, &byte, 1)
            if count < 0, errno == EINTR { continue }
            guard count == 1, byte != 3 else { throw KeyFailure("no passphrase was given") }
            if byte == 10 { break }
            line.append(byte)
        }
        return line
    }

    private func tell(_ text: String) {
        let bytes = Array(text.utf8)
        _ = bytes.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
    }
}
