internal import Crypto

/// SHA-256 over bytes that come in pieces.
///
/// A type of its own, so that rooms which hash need not import the cryptography module, whose `Digest`
/// protocol would stand beside ours.
public struct ContentHash: Sendable {
    private var hash = SHA256()

    public init() {}

    public mutating func update(_ bytes: UnsafeRawBufferPointer) { hash.update(bufferPointer: bytes) }

    public mutating func update(_ bytes: [UInt8]) { bytes.withUnsafeBytes { hash.update(bufferPointer: $0) } }

    /// The digest of everything so far; more may follow.
    public func digest() -> Digest { Digest(hash.finalize()) }
}
