import CargoArtifact
import CargoQueue
import CargoWire
import FoundationEssentials
import HTTPTypes
import Hummingbird
import NIOCore

/// Hosts as accounts see them, and how one is paired, reports, rotates its credentials and goes.
extension Gateway {
    func addHostList(to router: Router<GatewayContext>) {
        router.get("/hosts") { request, _ in
            let principal = try caller(request, .read)
            return try Answer.json(HostList(hosts: visibleHosts(to: principal).map { view($0, for: principal) }))
        }
        // On a connection that has served other requests before: a tunnel is made with a connection's first.
        router.get("/hosts/tunnel") { request, _ -> Response in
            _ = try caller(request, .host)
            throw GatewayError(426, "upgrade_required", "A tunnel is a WebSocket that a host opens with its own token.")
        }
        router.get("/hosts/:host") { request, context in
            let principal = try caller(request, .read)
            guard let host = queue.directory.host(context.parameters.get("host") ?? ""), sees(principal, host) else {
                throw GatewayError(404, "unknown_host", "There is no such host for this key; `GET /hosts` lists them.")
            }
            var shown = view(host, for: principal)
            shown.publicKey = host.publicKey
            shown.sealing = try await queue.directory.sealing(of: host.id)
            return try Answer.json(shown)
        }
        router.patch("/hosts/:host") { request, context in
            let principal = try caller(request, .write)
            let host = try ownHost(context, principal)
            let ask = try await body(HostSharing.self, of: request, limit: 65536)
            if ask.open {
                try await queue.groups.open(host.id, of: host.account)
            } else {
                try await queue.groups.close(host.id, of: host.account)
            }
            return try Answer.json(view(host, for: principal))
        }
        router.delete("/hosts/:host") { request, context in
            let principal = try caller(request, .write)
            let host = try ownHost(context, principal)
            try await queue.directory.removeHost(host.id)
            try await queue.groups.forget(host.id, of: host.account)
            queue.board.forget(host.id)
            queue.scheduler.forget(host.id)
            tunnels.drop(host.id)
            return Response(status: .noContent)
        }
        router.post("/hosts/heartbeat") { request, _ in
            let principal = try caller(request, .host)
            let report = try await body(HostReport.self, of: request, limit: 1 << 20)
            return try Answer.json(try await reported(report, by: principal))
        }
        router.post("/hosts/rotate") { request, _ in
            let principal = try caller(request, .host)
            guard let host = principal.host.flatMap(queue.directory.host),
                let key = queue.directory.key(principal.keyID, of: principal.account)
            else { throw GatewayError(403, "forbidden", "Only a host's own token rotates its credentials.") }
            let bytes = try await bytes(of: request, limit: 65536)
            let ask = bytes.isEmpty ? HostRotation() : try StrictJSON.decode(HostRotation.self, from: bytes, limit: 65536)
            if let publicKey = ask.publicKey {
                try HostProof.check(ask, of: host)
                var registration = HostRegistration(name: host.name, publicKey: publicKey)
                registration.sealing = ask.sealing
                try HostProof.checkSealing(registration)
                try await queue.directory.changeHost(host.id, publicKey: publicKey, sealing: ask.sealing)
            }
            // Calls under way end under the old token.
            guard let minted = try await queue.directory.rotateKey(key, overlap: 60) else {
                throw GatewayError(401, "unauthorized", "This host's token has ended.")
            }
            return try Answer.json(RegisteredHost(id: host.id, name: host.name, token: minted.token))
        }
        addPairing(to: router)
    }

    private func addPairing(to router: Router<GatewayContext>) {
        router.post("/hosts/pairings") { request, context in
            let ask = try await body(PairingRequest.self, of: request, limit: 65536)
            try Gateway.check(ask.host)
            guard let key = ask.host.publicKey.flatMap({ Data(base64Encoded: $0) }) else {
                throw GatewayError(422, "missing_key", "A host that pairs sends its 'public_key' and 'proof'.")
            }
            let pairing = try await queue.pairings.begin(
                ask.host, fingerprint: CargoArtifact.Digest(of: [UInt8](key)).hex,
                from: context.channel.remoteAddress?.ipAddress ?? "")
            return try Answer.json(pairing, status: .created)
        }
        router.get("/hosts/pairings/:code") { request, context in
            let principal = try pairer(request)
            return try Answer.json(try await queue.pairings.view(context.parameters.get("code") ?? "", for: principal))
        }
        router.post("/hosts/pairings/:code") { request, context in
            let principal = try pairer(request)
            let ask = try await body(PairingConfirmation.self, of: request, limit: 65536)
            let groups = try (ask.groups ?? []).map { name in
                try queue.groups.audience(of: principal.account, group: name).circles.first ?? name
            }
            guard ask.open != true || groups.isEmpty else {
                throw GatewayError(422, "invalid_pairing", "A host is either 'open' to everyone or serves 'groups'.")
            }
            try await queue.pairings.confirm(
                context.parameters.get("code") ?? "", fingerprint: ask.fingerprint, open: ask.open ?? false, groups: groups,
                by: principal)
            return Response(status: .noContent)
        }
        router.post("/hosts/pairings/:code/answer") { request, context in
            let ask = try await body(PairingSecret.self, of: request, limit: 65536)
            let answer = try await queue.pairings.answer(
                context.parameters.get("code") ?? "", secret: ask.secret, directory: queue.directory, groups: queue.groups)
            switch answer {
            case .waiting: return Answer.bytes(ByteBuffer(string: #"{"status":"waiting"}"#), status: .accepted)
            case .paired(let host): return try Answer.json(host, status: .created)
            }
        }
    }

    /// Whoever may bring hosts in.
    private func pairer(_ request: Request) throws -> Principal {
        let principal = try caller(request, .host)
        guard principal.host == nil else {
            throw GatewayError(403, "forbidden", "A host's own token lets no other host in; use an account's key.")
        }
        return principal
    }

    // MARK: What a caller may see

    /// Own hosts, those of the caller's groups, and those that are open to everyone.
    func visibleHosts(to principal: Principal) -> [HostRecord] {
        queue.directory.allHosts.filter { sees(principal, $0) }
    }

    private func sees(_ principal: Principal, _ host: HostRecord) -> Bool {
        host.account == principal.account || queue.groups.mayUse(host.id, principal.account)
    }

    private func view(_ host: HostRecord, for principal: Principal) -> HostView {
        let own = host.account == principal.account
        let circles = queue.groups.circles(ofHost: host.id)
        let groups = Set(queue.groups.groups(of: principal.account).map(\.id))
        let seen = queue.board.seen(host.id)
        var view = HostView(
            id: host.id, name: host.name, status: seen.map(queue.board.isActive) == true ? "active" : "silent", own: own,
            open: circles == nil, groups: (circles ?? []).filter { groups.contains($0) })
        view.capabilities = seen?.capabilities
        view.capabilities?.circles = nil
        if own {
            view.fingerprint = host.publicKey.flatMap { Data(base64Encoded: $0) }
                .map { CargoArtifact.Digest(of: [UInt8]($0)).hex }
        }
        if own || circles != nil {
            view.report = seen?.report
        } else {
            // Of a stranger's open host what a choice needs: not what others' jobs left there, nor how busy its machine is.
            view.capabilities?.images = nil
            view.capabilities?.metrics = nil
            view.report = seen?.report.map { full in
                var report = HostReport()
                (report.prices, report.speed, report.formats) = (full.prices, full.speed, full.formats)
                report.maxContextTier = full.maxContextTier
                return report
            }
        }
        view.gpu = seen?.capabilities.metrics?.gpus.first?.name
        view.models = (seen?.capabilities.models ?? []).map(\.id)
        view.lastSeenAt = seen?.wall.text
        return view
    }

    /// A host's report, whichever way it came.
    func reported(_ report: HostReport, by principal: Principal) async throws -> HostReportReply {
        guard let host = principal.host else {
            throw GatewayError(403, "forbidden", "A host reports with its own token, which POST /hosts gave it.")
        }
        try Gateway.check(report.models, most: 1000)
        let counts = 0...1_000_000
        guard counts.contains(report.slots ?? 0), counts.contains(report.activeJobs ?? 0) else {
            throw GatewayError(422, "invalid_report", "'slots' and 'active_jobs' are from 0 to a million.")
        }
        guard report.formats?.count ?? 0 <= 100, report.prices?.count ?? 0 <= 1000,
            report.speed?.count ?? 0 <= 1000, (report.prices ?? [:]).values.allSatisfy({ $0 >= 0 && $0 < 1e12 }),
            (report.speed ?? [:]).values.allSatisfy({ $0 >= 0 && $0 < 1e9 })
        else {
            throw GatewayError(
                422, "invalid_report", "A report has at most 1,000 models, prices and speeds, and none of them is negative.")
        }
        var seen = queue.board.saw(host, report: report)
        seen.capabilities.circles = queue.groups.circles(ofHost: host)
        queue.scheduler.heard(host, seen)
        return HostReportReply(fetch: try await fetchHints(for: host, seen), seconds: 10)
    }
}

extension GatewayError {
    init(_ refused: Pairings.Refused) {
        switch refused {
        case .notFound: self.init(404, "not_found", "There is no such code, or its time is over; the host shows a new one.")
        case .tooMany(let seconds):
            self.init(429, "too_many", "Too many pairings are tried at once; wait and try again.", retryAfter: seconds)
        case .otherFingerprint:
            self.init(409, "other_fingerprint", "Another host waits under this code: its fingerprint is not the one confirmed.")
        }
    }
}
