public import CargoWire
internal import Glibc

/// The model servers of this machine that were here already: finds them, follows what they have, and answers with them.
///
/// Nothing is configured: a program that listens on one of the usual ports of the loopback, belongs to the agent's own user or to root
/// and answers as a model server does, is one. Another user's server could read what strangers ask, so it is left alone until the
/// owner of this host attaches it by its address (docs/rules.md 25).
public actor EndpointService: ModelService {
    /// Ollama's, LM Studio's, llama-server's, vLLM's.
    public static let usualPorts = [11434, 1234, 8080, 8000]

    /// How it looks around.
    public struct Settings: Sendable {
        /// Ports of 127.0.0.1 that are looked at; empty: only what is attached.
        public var ports = EndpointService.usualPorts
        /// Servers that the host's owner named.
        public var attached: [EndpointAddress] = []
        /// Servers that the host's owner described; asked at each look.
        public var named: @Sendable () async -> [NamedServer] = { [] }
        /// Between two looks.
        public var interval = Duration.seconds(5)
        /// For each question to a server that is being looked at.
        public var patience = Duration.seconds(2)
        /// A program that is no model server is asked again after so long.
        public var secondLook = Duration.seconds(60)
        public var bounds = ServerBounds()
        /// Told one sentence when something was found, lost or left alone.
        public var report: @Sendable (String) -> Void = { _ in }

        public init() {}
    }

    /// One server that is followed or was judged.
    private struct Server {
        var finding: ServerProbe.Finding?
        /// Who listened when it was judged: another listener is another server.
        var listeners: Set<ListeningSockets.Listener> = []
        var judged: ContinuousClock.Instant
        /// Looks in a row that failed.
        var failures = 0
        var isForeign = false
    }

    private struct Target: Hashable {
        var address: EndpointAddress
        var name: String
    }

    private let settings: Settings
    private let user: UInt32
    private let sockets: @Sendable () -> ListeningSockets
    private var servers: [EndpointAddress: Server] = [:]
    private var active: [Target: Int] = [:]
    /// As of the last look.
    private var named: [EndpointAddress: NamedServer] = [:]
    /// The first look, which whoever asks for models awaits.
    private var firstLook: Task<Void, Never>?

    public init(_ settings: Settings = Settings()) { self.init(settings, user: geteuid(), sockets: ListeningSockets.current) }

    /// With another eye for who listens.
    init(_ settings: Settings, user: UInt32, sockets: @escaping @Sendable () -> ListeningSockets) {
        self.settings = settings
        self.user = user
        self.sockets = sockets
    }

    /// Looks around until the task is cancelled.
    public func run() async {
        while !Task.isCancelled {
            await look()
            try? await Task.sleep(for: settings.interval)
        }
    }

    public func models() async -> [ServedModel] {
        if servers.isEmpty {
            let look = firstLook ?? Task { await self.look() }
            firstLook = look
            await look.value
        }
        var all: [ServedModel] = []
        var place: [String: Int] = [:]
        for (address, model) in offered() {
            let busy = active[Target(address: address, name: model.name)] ?? 0
            if let known = place[model.id] {
                all[known].slots += model.slots
                all[known].active += busy
                if model.presence == .loaded { all[known].presence = .loaded }
                continue
            }
            place[model.id] = all.count
            all.append(
                ServedModel(
                    id: model.id, source: .endpoint, operations: model.operations, presence: model.presence,
                    context: model.context,
                    format: model.format, quantization: model.quantization, active: busy, slots: model.slots))
        }
        return all
    }

    /// Each server that is followed now, for people: its address, its kind and its models' names.
    public func found() -> [(address: EndpointAddress, dialect: Dialect, models: [String])] {
        order().compactMap { address in
            servers[address]?.finding.map { (address, $0.dialect, $0.models.map(\.id)) }
        }
    }

    /// Those that were named go first, then by port as they are configured.
    private func order() -> [EndpointAddress] {
        var seen: Set<EndpointAddress> = []
        let described = named.values.sorted { $0.name < $1.name }.map(\.address)
        return (described + settings.attached + settings.ports.map { EndpointAddress(loopback: $0) }).filter {
            seen.insert($0).inserted
        }
    }

    private func offered() -> [(EndpointAddress, FoundModel)] {
        order().flatMap { address in (servers[address]?.finding?.models ?? []).map { (address, $0) } }
    }

    // MARK: Looking

    /// One look at each port and each attached server.
    func look() async {
        let sockets = settings.ports.isEmpty ? ListeningSockets() : sockets()
        let described = Dictionary(await settings.named().map { ($0.address, $0) }) { first, _ in first }
        for (address, server) in named where described[address] != server { lose(address) }
        named = described
        let chosen = Set(settings.attached + described.keys)
        await withTaskGroup(of: Void.self) { group in
            for address in chosen { group.addTask { await self.follow(address, listeners: []) } }
            for port in settings.ports {
                let address = EndpointAddress(loopback: port)
                guard !chosen.contains(address) else { continue }
                guard let listeners = sockets.byPort[port] else {
                    lose(address)
                    continue
                }
                guard sockets.isOwned(port, by: [0, user]) else {
                    leaveAlone(address, listeners)
                    continue
                }
                group.addTask { await self.follow(address, listeners: listeners) }
            }
        }
    }

    private func lose(_ address: EndpointAddress) {
        guard let server = servers.removeValue(forKey: address), let finding = server.finding else { return }
        settings.report("\(finding.dialect.title) at \(address) is gone")
    }

    private func leaveAlone(_ address: EndpointAddress, _ listeners: Set<ListeningSockets.Listener>) {
        if servers[address]?.isForeign == true, servers[address]?.listeners == listeners { return }
        lose(address)
        servers[address] = Server(listeners: listeners, judged: .now, isForeign: true)
        settings.report(
            "what listens at \(address) belongs to another user and is left alone; attach it with --endpoint \(address)")
    }

    private func follow(_ address: EndpointAddress, listeners: Set<ListeningSockets.Listener>) async {
        var known = servers[address]
        if known?.listeners != listeners || known?.isForeign == true { known = nil }
        if let known, known.finding == nil, known.failures == 0, !settings.attached.contains(address),
            ContinuousClock.now - known.judged < settings.secondLook
        {
            return
        }
        let probe = ServerProbe(dial: address.dial, basePath: address.basePath ?? "/v1", patience: settings.patience)
        var next = Server(listeners: listeners, judged: .now)
        do {
            if let server = named[address] {
                next.finding = try await server.look(probe, shown: known?.finding?.shown ?? [:])
            } else {
                if let finding = known?.finding {
                    next.finding = try await probe.look(finding.dialect, shown: finding.shown)
                }
                if next.finding == nil { next.finding = try await probe.recognise() }
            }
        } catch {
            // One silent look may be a server that is busy; two are a server that is gone.
            next.failures = (known?.failures ?? 0) + 1
            if next.failures < 2 { next.finding = known?.finding }
        }
        let before = servers[address]?.finding
        servers[address] = next
        tell(address, before: before, after: next.finding)
    }

    private func tell(_ address: EndpointAddress, before: ServerProbe.Finding?, after: ServerProbe.Finding?) {
        switch (before, after) {
        case (nil, let after?):
            settings.report("found \(after.dialect.title) at \(address) with \(after.models.count) models")
        case (let before?, nil): settings.report("\(before.dialect.title) at \(address) is gone")
        case (let before?, let after?) where Set(before.models.map(\.id)) != Set(after.models.map(\.id)):
            settings.report("\(after.dialect.title) at \(address) has \(after.models.count) models now")
        default: break
        }
    }

    // MARK: Answering

    /// The least busy server that has the model, as of now.
    private func begin(_ request: ModelRequest) throws(ModelFailure) -> (server: ModelServer, target: Target) {
        let able = offered().filter { $0.1.id == request.model }
        guard !able.isEmpty else { throw ModelFailure(.modelNotFound, message: "This host has no model '\(request.model)'.") }
        let fit = able.filter { $0.1.operations.contains(request.operation) }
        let choice = fit.min { left, right in
            active[Target(address: left.0, name: left.1.name)] ?? 0 < active[Target(address: right.0, name: right.1.name)] ?? 0
        }
        guard let (address, model) = choice else {
            throw ModelFailure(
                .badRequest, message: "The model '\(request.model)' does not answer \(request.operation.rawValue).")
        }
        if !settings.attached.contains(address), named[address] == nil, case .tcp(_, let port) = address.place,
            !sockets().isOwned(port, by: [0, user])
        {
            lose(address)
            throw ModelFailure(.unavailable, message: "The model server at \(address) is not the one that was found there.")
        }
        let target = Target(address: address, name: model.name)
        active[target, default: 0] += 1
        var bounds = settings.bounds
        if let silence = named[address]?.silence { (bounds.idle, bounds.firstByte) = (silence, silence) }
        let server = ModelServer(
            address.dial, dialect: servers[address]?.finding?.dialect ?? .openAI, basePath: address.basePath ?? "/v1",
            bounds: bounds, fields: named[address]?.fields ?? [])
        return (server, target)
    }

    private func end(_ target: Target) {
        active[target, default: 1] -= 1
        if active[target] == 0 { active[target] = nil }
    }

    @concurrent public func answer(
        _ request: ModelRequest, account: String,
        head: @Sendable (AnswerHead) async throws -> Void, body: @Sendable ([UInt8]) async throws -> Void
    ) async throws -> ModelUsage? {
        if await servers.isEmpty { _ = await models() }
        let (server, target) = try await begin(request)
        do {
            let usage = try await server.answer(request, as: target.name, account: account, head: head, body: body)
            await end(target)
            return usage
        } catch {
            await end(target)
            throw error
        }
    }
}

extension Dialect {
    /// For people.
    public var title: String {
        switch self {
        case .openAI: "a server in OpenAI's shape"
        case .llamaCpp: "llama.cpp"
        case .lmStudio: "LM Studio"
        case .vLLM: "vLLM"
        case .ollama: "Ollama"
        }
    }
}
