public import CargoWire
import Crypto
import FoundationEssentials
import Synchronization

/// Hosts that ask to be let in without a key: a code that a person reads from one screen and types at another (docs/rules.md 27).
public final class Pairings: Sendable {
    /// Why nothing came of it.
    public enum Refused: Error, Hashable, Sendable {
        /// No such code, or its time is over, or it was used.
        case notFound
        /// Too many of these, from everyone together: seconds to wait.
        case tooMany(Double)
        /// The confirmed fingerprint is another host's.
        case otherFingerprint
    }

    /// How a host's request stands.
    public enum Answer: Sendable {
        case waiting
        case paired(RegisteredHost)
    }

    private struct Record: Codable {
        struct Yes: Codable {
            var account: Int64
            var key: String
            var open: Bool
            var groups: [String]
        }
        var secret: Data
        var host: HostRegistration
        var fingerprint: String
        var until: Int64
        var yes: Yes?
    }

    private enum Gate { case asked, tried }

    private struct Gates {
        var asked = RateGate()
        var tried = RateGate()
        /// By who asks: an address, an account.
        var own: [String: RateGate] = [:]
    }

    public static let seconds = 600.0
    /// Of everyone together, a minute. 32 characters in six places against 60 guesses a minute: a code that lives for ten
    /// minutes is hit once in a million times.
    private static let askedPerMinute = 30
    private static let triedPerMinute = 60
    /// Of one address, and of one account: nobody uses up what is everyone's.
    private static let ownPerMinute = 20
    private static let mostAskers = 10_000
    private static let mostWaiting = 1000
    /// Without I, O, 0 and 1.
    static let alphabet = Array("ABCDEFGHJKLMNPQRSTUVWXYZ23456789")
    private static let kind = "pairing"

    private let store: any RecordStore
    private let clocks: Clocks
    private let gates = Mutex(Gates())

    init(store: any RecordStore, clocks: Clocks) {
        self.store = store
        self.clocks = clocks
    }

    /// A code for a host whose proof was checked.
    /// - Parameter address: where it asks from.
    public func begin(_ host: HostRegistration, fingerprint: String, from address: String) async throws -> Pairing {
        try pass(.asked, "from " + address)
        let now = clocks.wall()
        let known = try await store.records(Self.kind, account: nil, from: "", until: nil)
        for old in known where (try? JSONDecoder().decode(Record.self, from: old.value).until) ?? 0 <= now.milliseconds {
            try await store.change(Self.kind, old.id, account: 0) { _ in nil }
        }
        guard known.count < Self.mostWaiting else { throw Refused.tooMany(Self.seconds) }
        let code = String((0..<6).map { _ in Self.alphabet.randomElement() ?? "A" })
        let secret = RandomText.hexadecimal(bytes: 32)
        let record = Record(
            secret: Directory.hash(secret), host: host, fingerprint: fingerprint,
            until: now.advanced(bySeconds: Self.seconds).milliseconds)
        try await store.change(Self.kind, code, account: 0) { old in
            // One in a billion; the next try makes another.
            guard old == nil else { throw Refused.tooMany(1) }
            return try JSONEncoder().encode(record)
        }
        return Pairing(code: code, secret: secret, fingerprint: fingerprint, expiresIn: Self.seconds)
    }

    /// What waits under a code.
    public func view(_ code: String, for principal: Principal) async throws -> PairingView {
        try pass(.tried, "by \(principal.account)")
        let record = try await record(code)
        guard record.yes == nil else { throw Refused.notFound }
        return PairingView(
            code: code, name: record.host.name, fingerprint: record.fingerprint,
            expiresAt: Timestamp(milliseconds: record.until).text)
    }

    /// A person's yes; good once.
    public func confirm(_ code: String, fingerprint: String, open: Bool, groups: [String], by principal: Principal) async throws {
        try pass(.tried, "by \(principal.account)")
        let now = clocks.wall().milliseconds
        let yes = Record.Yes(account: principal.account, key: principal.keyID, open: open, groups: groups)
        try await store.change(Self.kind, Self.normal(code), account: 0) { old in
            guard let old, var record = try? JSONDecoder().decode(Record.self, from: old), record.until > now else {
                throw Refused.notFound
            }
            guard record.fingerprint == fingerprint else { throw Refused.otherFingerprint }
            if let known = record.yes {
                guard known.account == yes.account, known.key == yes.key else { throw Refused.notFound }
            }
            record.yes = yes
            return try JSONEncoder().encode(record)
        }
    }

    /// What the host hears. Once it was let in it may ask again until the code's end: its answer may have been lost.
    public func answer(_ code: String, secret: String, directory: Directory, groups: Groups) async throws -> Answer {
        let record = try await record(code)
        guard record.secret == Directory.hash(secret) else { throw Refused.notFound }
        guard let yes = record.yes else { return .waiting }
        let principal = Principal(account: yes.account, keyID: yes.key, scopes: [.host], host: nil)
        let host = try await directory.registerHost(record.host, by: principal)
        if !yes.open { try await groups.close(host.id, of: yes.account) }
        for group in yes.groups { try await groups.add(host: host.id, to: group, by: yes.account) }
        return .paired(host)
    }

    private func record(_ code: String) async throws -> Record {
        let code = Self.normal(code)
        let now = clocks.wall().milliseconds
        guard code.count == 6, code.allSatisfy(Self.alphabet.contains),
            let found = try await store.records(Self.kind, account: nil, from: code, until: code + "!").first,
            let record = try? JSONDecoder().decode(Record.self, from: found.value), record.until > now
        else { throw Refused.notFound }
        return record
    }

    private static func normal(_ code: String) -> String { code.uppercased() }

    private func pass(_ gate: Gate, _ asker: String) throws {
        let now = clocks.uptime()
        let wait = gates.withLock { gates in
            if gates.own.count >= Self.mostAskers { gates.own = [:] }
            let wait = gates.own[asker, default: RateGate()].admit(
                requestsPerMinute: Self.ownPerMinute, tokensPerMinute: nil, now: now)
            if let wait { return wait as Double? }
            return switch gate {
            case .asked: gates.asked.admit(requestsPerMinute: Self.askedPerMinute, tokensPerMinute: nil, now: now)
            case .tried: gates.tried.admit(requestsPerMinute: Self.triedPerMinute, tokensPerMinute: nil, now: now)
            }
        }
        if let wait { throw Refused.tooMany(wait) }
    }
}
