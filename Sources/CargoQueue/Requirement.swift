public import CargoScheduler
public import CargoWire

/// What a host must have to be given a job; jobs with equal requirements share a bucket of the ready queue.
public struct Requirement: Hashable, Sendable {
    /// The cargo's kind, or `image` for a container by name.
    public var kind: String
    /// Context tier, 1–4.
    public var tier: Int
    /// Hard filter; nil anywhere.
    public var region: String?
    /// Hard filter like the region: the law that holds where a host stands.
    public var jurisdiction: String?
    /// Whose closed hosts may have it; nil: of an account that has none.
    public var audience: Audience?
    /// Hosts that lost or failed these jobs; given to them only when no other known host fits.
    public var avoided: [String]
    /// The container image that the job names: hosts that hold it are preferred, none is required to.
    public var image: String?
    /// The served model that the job is a request to; only hosts with a free slot of it get it.
    public var model: String?
    /// How much of the host it needs, and what it may cost.
    public var room: Room?

    public init(
        kind: String, tier: Int, region: String? = nil, jurisdiction: String? = nil, audience: Audience? = nil,
        avoided: [String] = [], image: String? = nil, model: String? = nil, room: Room? = nil
    ) {
        self.kind = kind
        self.tier = tier
        self.region = region
        self.jurisdiction = jurisdiction
        self.audience = audience
        self.avoided = avoided
        self.image = image
        self.model = model
        self.room = room
    }

    /// A request to a model that is being served.
    public init(model: String, tier: Int, region: String? = nil, audience: Audience? = nil) {
        self.init(kind: Requirement.request, tier: tier, region: region, audience: audience, model: model)
    }

    /// Whether a host with these capabilities could run it; `avoided` is not asked here.
    public func fits(_ capabilities: HostCapabilities) -> Bool {
        if let model {
            guard capabilities.models?.contains(where: { $0.id == model && $0.active < $0.slots }) == true else { return false }
        } else if kind == Requirement.image {
            guard capabilities.docker == true else { return false }
        } else {
            guard (capabilities.kinds ?? ["process"]).contains(kind) else { return false }
        }
        let report = capabilities.report
        guard tier <= report?.maxContextTier ?? capabilities.maxContextTier ?? 4, isVisible(to: capabilities) else {
            return false
        }
        if let room, room.leftOut(capabilities, report, asked: report?.asked(for: model) ?? 0) != nil { return false }
        guard jurisdiction == nil || capabilities.jurisdiction == jurisdiction else { return false }
        guard let region else { return true }
        return capabilities.region == region
    }

    /// Whether its account may use the host at all, or know that there is one.
    func isVisible(to capabilities: HostCapabilities) -> Bool { Audience.admits(audience, host: capabilities.circles) }

    /// Whether the job starts there without fetching an image first.
    func isAtHand(_ capabilities: HostCapabilities) -> Bool {
        guard let image else { return false }
        return capabilities.images?.contains(image) == true
    }

    /// The kind of a job that names an image instead of a cargo: only hosts that advertise `docker` get it.
    public static let image = "image"

    /// The kind of a job that is one request to a model that is being served.
    public static let request = "request"

    /// As one short text, for the job's row: kind, tier, region, image, audience, model, jurisdiction, room.
    var stored: String { text(image: image) }

    /// The same without what is only preferred: strangers choose image names, and there must not be a group for each.
    var required: String { text(image: nil) }

    private func text(image: String?) -> String {
        let fields = [
            kind, "\(tier)", region, image, audience?.stored, model.map(Requirement.escaped), jurisdiction, room?.stored,
        ]
        let last = fields.lastIndex { $0?.isEmpty == false } ?? 0
        return fields.prefix(max(3, last + 1)).map { $0 ?? "" }.joined(separator: "|")
    }

    /// Names of models are the clients' choice; a bar in one must not look like the next field.
    private static func escaped(_ text: String) -> String {
        text.contains("|") || text.contains("%") ? text.replacing("%", with: "%25").replacing("|", with: "%7C") : text
    }

    private static func plain(_ text: String) -> String {
        text.contains("%") ? text.replacing("%7C", with: "|").replacing("%25", with: "%") : text
    }

    init(stored: String, avoided: [String]) {
        let parts = stored.split(separator: "|", omittingEmptySubsequences: false).map(String.init)
        kind = parts.first ?? "process"
        tier = parts.count > 1 ? Int(parts[1]) ?? 1 : 1
        region = parts.count > 2 && !parts[2].isEmpty ? parts[2] : nil
        image = parts.count > 3 && !parts[3].isEmpty ? parts[3] : nil
        audience = parts.count > 4 ? Audience(stored: parts[4]) : nil
        model = parts.count > 5 && !parts[5].isEmpty ? Requirement.plain(parts[5]) : nil
        jurisdiction = parts.count > 6 && !parts[6].isEmpty ? parts[6] : nil
        room = parts.count > 7 ? Room(stored: parts[7]) : nil
        self.avoided = avoided
    }
}
