internal import CargoArtifact

/// A Sigstore bundle v0.3 around one DSSE envelope, in protobuf's JSON form (sigstore_bundle.proto).
///
/// Fields that we do not write (transparency log entries, timestamps) are read over: they are not needed to
/// check a signature by a known key.
public struct SigstoreBundle: Hashable, Sendable, Codable {
    public struct VerificationMaterial: Hashable, Sendable, Codable {
        public struct KeyIdentifier: Hashable, Sendable, Codable {
            public var hint: String?
        }

        /// Absent when the bundle was made with a certificate.
        public var publicKey: KeyIdentifier?
    }

    public var mediaType: String
    public var verificationMaterial: VerificationMaterial
    public var dsseEnvelope: DSSEEnvelope

    public init(envelope: DSSEEnvelope, key: PublicKey) {
        mediaType = MediaType.sigstoreBundle
        verificationMaterial = VerificationMaterial(publicKey: .init(hint: key.hint))
        dsseEnvelope = envelope
    }

    public init(json: [UInt8]) throws {
        do {
            self = try StrictJSON.decode(from: json, limit: CargoLayout.maximumDocument)
        } catch {
            throw Refusal("bundle", "a signature is not a Sigstore bundle with a DSSE envelope")
        }
        guard mediaType == MediaType.sigstoreBundle else {
            throw Refusal("bundle", "a signature is a '\(mediaType.prefix(80))', not a Sigstore bundle v0.3")
        }
        guard verificationMaterial.publicKey != nil else {
            throw Refusal("bundle", "a signature was made with a certificate; only signatures by keys are taken")
        }
    }

    public func json() throws -> [UInt8] { try CanonicalJSON.encode(self) }
}

extension SigstoreBundle {
    /// Whether a bundle holds a valid signature by this key.
    public static func isSigned(_ bundle: [UInt8], by key: PublicKey) -> Bool {
        guard let envelope = try? SigstoreBundle(json: bundle).dsseEnvelope else { return false }
        return (try? DSSE.verify(envelope, type: envelope.payloadType, keys: [key])) != nil
    }
}
