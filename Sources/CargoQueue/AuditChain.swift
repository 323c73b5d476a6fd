import CargoWire
import Crypto
public import FoundationEssentials

/// The tamper-evident chain through a job's transitions: each hash covers the one before it and every field of its row.
public enum AuditChain {
    /// What the first row's hash stands on.
    public static let origin = Data(repeating: 0, count: 32)

    public static func hash(_ transition: Transition, of id: JobID, after previous: Data) -> Data {
        var hasher = SHA256()
        hasher.update(data: previous)
        var head: [UInt8] = []
        head.reserveCapacity(256)
        for field in [
            "longshore.audit.v1", id.description, String(transition.sequence), String(transition.at.milliseconds),
            transition.actor, transition.status.rawValue, String(transition.attempt), transition.host ?? "",
        ] {
            head += field.utf8
            head.append(10)
        }
        hasher.update(data: head)
        hasher.update(data: transition.detail)
        return Data(hasher.finalize())
    }

    /// The sequence number of the first row that does not follow from the one before it; nil when the chain holds.
    public static func firstBreak(in transitions: [Transition], of id: JobID) -> Int64? {
        var previous = origin
        for (index, transition) in transitions.enumerated() {
            guard transition.sequence == Int64(index + 1), hash(transition, of: id, after: previous) == transition.hash else {
                return transition.sequence
            }
            previous = transition.hash
        }
        return nil
    }

    /// A payload's commitment: salted, so that a payload that was deleted stays unguessable.
    public static func commitment(to payload: Data, salt: Data) -> String {
        var hasher = SHA256()
        hasher.update(data: salt)
        hasher.update(data: payload)
        return "sha256:" + hexadecimal(hasher.finalize())
    }
}

/// Lower-case hexadecimal digits.
public func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
    var text: [UInt8] = []
    text.reserveCapacity(2 * bytes.underestimatedCount)
    for byte in bytes {
        text.append(byte >> 4 < 10 ? byte >> 4 + 48 : byte >> 4 + 87)
        text.append(byte & 15 < 10 ? byte & 15 + 48 : byte & 15 + 87)
    }
    return String(decoding: text, as: UTF8.self)
}
