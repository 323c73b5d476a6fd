import CargoArtifact
import CargoQueue
import CargoWire
import HTTPTypes
import Hummingbird

/// Groups: accounts that lend each other their hosts. What belongs to a group of others is answered as if it did not exist.
extension Gateway {
    func addGroups(to router: Router<GatewayContext>) {
        router.post("/groups") { request, _ in
            let principal = try caller(request, .write)
            let ask = try await body(GroupRequest.self, of: request, limit: 65536)
            guard (1...100).contains(ask.name.utf8.count), ask.name.utf8.allSatisfy({ $0 >= 32 && $0 != 127 }) else {
                throw GatewayError(422, "invalid_group", "A group's 'name' has 1 to 100 bytes, no control characters.")
            }
            let group = try await queue.groups.create(
                named: ask.name, by: principal.account, accountName: accountName(principal))
            return try Answer.json(group, status: .created)
        }
        router.get("/groups") { request, _ in
            try Answer.json(GroupList(groups: queue.groups.groups(of: try caller(request, .read).account)))
        }
        router.post("/groups/join") { request, _ in
            let principal = try caller(request, .write)
            let ask = try await body(JoinRequest.self, of: request, limit: 65536)
            return try Answer.json(
                try await queue.groups.join(by: ask.invite, principal.account, accountName: accountName(principal)))
        }
        router.get("/groups/:group") { request, context in
            let principal = try caller(request, .read)
            return try Answer.json(try queue.groups.group(group(context), of: principal.account))
        }
        router.delete("/groups/:group") { request, context in
            let principal = try caller(request, .write)
            try await queue.groups.delete(group(context), by: principal.account)
            return Response(status: .noContent)
        }
        router.post("/groups/:group/invites") { request, context in
            let principal = try caller(request, .write)
            let bytes = try await bytes(of: request, limit: 65536)
            let ask = bytes.isEmpty ? InviteRequest() : try StrictJSON.decode(InviteRequest.self, from: bytes, limit: 65536)
            let (seconds, uses) = (ask.seconds?.value ?? 7 * 86_400, ask.uses ?? 1)
            guard (1...30 * 86_400).contains(seconds), (1...500).contains(uses) else {
                throw GatewayError(422, "invalid_invite", "'seconds' is at most 2592000, 30 days; 'uses' is from 1 to 500.")
            }
            let invite = try await queue.groups.invite(
                to: group(context), by: principal.account, seconds: seconds, uses: uses)
            return try Answer.json(invite, status: .created)
        }
        router.post("/groups/:group/leave") { request, context in
            let principal = try caller(request, .write)
            try await queue.groups.leave(
                group(context), principal.account, hosts: queue.directory.hosts(of: principal.account).map(\.id))
            return Response(status: .noContent)
        }
        router.delete("/groups/:group/members/:member") { request, context in
            let principal = try caller(request, .write)
            let name = context.parameters.get("member")?.removingPercentEncoding() ?? ""
            let directory = queue.directory
            try await queue.groups.remove(
                member: name, from: group(context), by: principal.account, hosts: { directory.hosts(of: $0).map(\.id) })
            return Response(status: .noContent)
        }
        router.put("/groups/:group/hosts/:host") { request, context in
            let principal = try caller(request, .write)
            let host = try ownHost(context, principal)
            try await queue.groups.add(host: host.id, to: group(context), by: principal.account)
            return try Answer.json(try queue.groups.group(group(context), of: principal.account))
        }
        router.delete("/groups/:group/hosts/:host") { request, context in
            let principal = try caller(request, .write)
            let host = try ownHost(context, principal)
            try await queue.groups.remove(host: host.id, from: group(context), by: principal.account)
            return Response(status: .noContent)
        }
    }

    private func group(_ context: GatewayContext) -> String { context.parameters.get("group") ?? "" }

    private func accountName(_ principal: Principal) -> String { queue.directory.accountName(principal.account) ?? "" }

    /// A host of the caller's own account.
    func ownHost(_ context: GatewayContext, _ principal: Principal) throws -> HostRecord {
        guard let host = queue.directory.host(context.parameters.get("host") ?? ""), host.account == principal.account else {
            throw GatewayError(404, "unknown_host", "There is no such host of this account; `GET /hosts` lists them.")
        }
        return host
    }
}

extension GatewayError {
    init(_ refused: Groups.Refused) {
        switch refused {
        case .notFound: self.init(404, "not_found", "There is no such group, member or invitation for this key.")
        case .notOwner: self.init(403, "forbidden", "Only the account that owns the group may do this.")
        case .ownerStays: self.init(409, "owner_stays", "The owner cannot leave; delete the group with DELETE /groups/{id}.")
        case .full(let sentence): self.init(409, "full", sentence)
        }
    }
}

extension String {
    /// Decodes `%XX`; nil where that is broken or no UTF-8.
    func removingPercentEncoding() -> String? {
        var bytes: [UInt8] = []
        var rest = utf8.makeIterator()
        while let byte = rest.next() {
            guard byte == 37 else {
                bytes.append(byte)
                continue
            }
            guard let high = rest.next(), let low = rest.next(),
                let value = UInt8(String(decoding: [high, low], as: UTF8.self), radix: 16)
            else { return nil }
            bytes.append(value)
        }
        return String(validating: bytes, as: UTF8.self)
    }
}
