// rooms: CargoArtifact CargoSigning
// options: -max_len=16384
import CargoArtifact
import CargoSigning

private let key = SigningKey()
private let policy = TrustPolicy(rules: [.init(names: ["*"], keys: [key.publicKey], roots: [key.publicKey])])
private let root = Digest(of: [1])

/// Any bytes are a bundle, envelope, delegation, revocation list, key or trust file that is not accepted: no key of the policy signed them.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = Array(UnsafeBufferPointer(start: start, count: count))
    if let envelope = try? DSSEEnvelope(json: bytes) {
        precondition((try? DSSE.verify(envelope, type: envelope.payloadType, keys: [key.publicKey])) == nil)
        precondition((try? DSSEEnvelope(json: envelope.json())) == envelope)
    }
    precondition((try? policy.verify(root: root, bundles: [bytes], delegations: [bytes], now: 0)) == nil)
    precondition((try? RevocationList(envelope: bytes, keys: [key.publicKey])) == nil)
    if let delegation = try? Delegation(unverified: bytes), let again = try? delegation.signed(by: key) {
        precondition((try? Delegation(unverified: again)) == delegation)
    }
    if let read = try? TrustPolicy(json: bytes) { precondition((try? TrustPolicy(json: read.json())) == read) }
    let text = String(decoding: bytes, as: UTF8.self)
    if let read = try? PublicKey(pem: text) { precondition((try? PublicKey(pem: read.pem)) == read) }
    _ = try? SigningKey(pem: text)
    return 0
}
