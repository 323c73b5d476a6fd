public import CargoArtifact

/// A body that a busy coordinator gets often, read from a parsed value without `Codable`, which costs more than all else of
/// a submit together.
///
/// `init(plain:)` takes a value only when it knows every field of it to the last; with anything else it gives nil and the
/// text goes to the decoder, which alone says what is wrong. So both must agree on what they take, which tests compare, and
/// a field that is new needs no line here to work.
public protocol PlainBody: Decodable {
    init?(plain value: JSONValue)
}

extension JobRequest: PlainBody {
    public init?(plain value: JSONValue) {
        guard case .object(let members) = value else { return nil }
        self.init()
        for (name, value) in members {
            switch (name, value) {
            case ("id", .string(let text)): id = text
            case ("cargo", .string(let text)): cargo = text
            case ("image", .string(let text)): image = text
            case ("args", .array(let elements)):
                guard let texts = elements.texts else { return nil }
                args = texts
            case ("env", .object(let fields)):
                var texts: [String: String] = [:]
                for (name, value) in fields {
                    guard case .string(let text) = value else { return nil }
                    texts[name] = text
                }
                env = texts
            case ("params", .object(let fields)): params = fields
            case ("input", .string), ("input", .object): input = value
            case ("metadata", .string), ("metadata", .object): metadata = value
            case ("tier", .integer(let number)): tier = Int(number)
            case ("priority", .integer(let number)): priority = Int(number)
            case ("attempts", .integer(let number)): attempts = Int(number)
            default: return nil
            }
        }
    }
}

extension ClaimRequest: PlainBody {
    public init?(plain value: JSONValue) {
        guard case .object(let members) = value else { return nil }
        self.init()
        for (name, value) in members {
            switch (name, value) {
            case ("wait", .integer(let number)): wait = Double(number)
            case ("wait", .number(let number)): wait = number
            case ("slots", .integer(let number)): slots = Int(number)
            case ("claim_id", .string(let text)): claimID = text
            case ("host", .string(let text)): host = text
            case ("capabilities", .object(let fields)):
                guard let plain = HostCapabilities(plain: fields) else { return nil }
                capabilities = plain
            default: return nil
            }
        }
    }
}

extension HostCapabilities {
    fileprivate init?(plain members: [String: JSONValue]) {
        self.init()
        for (name, value) in members {
            switch (name, value) {
            case ("kinds", .array(let elements)):
                guard let texts = elements.texts else { return nil }
                kinds = texts
            case ("images", .array(let elements)):
                guard let texts = elements.texts else { return nil }
                images = texts
            case ("docker", .bool(let flag)): docker = flag
            case ("encryption", .bool(let flag)): encryption = flag
            case ("max_context_tier", .integer(let number)): maxContextTier = Int(number)
            case ("region", .string(let text)): region = text
            case ("cpu", .integer(let number)): cpu = Double(number)
            case ("cpu", .number(let number)): cpu = number
            default: return nil
            }
        }
    }
}

extension Lease {
    init?(plain value: JSONValue) {
        guard case .object(let members) = value, case .integer(let generation)? = members["generation"],
            case .integer(let epoch)? = members["epoch"], case .string(let token)? = members["token"],
            case .string(let host)? = members["host"]
        else { return nil }
        self.init(generation: Int(generation), epoch: Int(epoch), token: token, host: host)
        switch members["seconds"] {
        case nil: break
        case .integer(let number): seconds = Double(number)
        case .number(let number): seconds = number
        default: return nil
        }
    }
}

extension Completion: PlainBody {
    public init?(plain value: JSONValue) {
        guard case .object(let members) = value, let lease = members["lease"].flatMap(Lease.init(plain:)) else { return nil }
        self.init(lease: lease, exit: ExitReport(exitCode: nil), outputs: [])
        for (name, value) in members {
            switch (name, value) {
            case ("lease", _), ("exit_code", .null), ("signal", .null): break
            case ("outputs", .array(let elements)):
                guard elements.isEmpty else { return nil }
            case ("exit_code", .integer(let number)): exit.exitCode = Int(number)
            case ("timed_out", .bool(let flag)): exit.timedOut = flag
            case ("oom_killed", .bool(let flag)): exit.oomKilled = flag
            case ("wall_seconds", .integer(let number)): exit.wallSeconds = Double(number)
            case ("wall_seconds", .number(let number)): exit.wallSeconds = number
            case ("cpu_seconds", .integer(let number)): exit.cpuSeconds = Double(number)
            case ("cpu_seconds", .number(let number)): exit.cpuSeconds = number
            case ("max_rss_bytes", .integer(let number)): exit.maxRSSBytes = number
            case ("log_bytes", .integer(let number)): logBytes = number
            case ("log_sha256", .string(let text)): logSHA256 = text
            case ("log_truncated", .bool(let flag)): logTruncated = flag
            case ("log_lines_split", .integer(let number)): logLinesSplit = Int(number)
            case ("outcome", .object): outcome = value
            default: return nil
            }
        }
    }
}

extension Heartbeat: PlainBody {
    public init?(plain value: JSONValue) {
        guard case .object(let members) = value, let lease = members["lease"].flatMap(Lease.init(plain:)) else { return nil }
        self.init(lease: lease)
        for (name, value) in members {
            switch (name, value) {
            case ("lease", _): break
            case ("state", .string(let text)):
                guard let known = JobStatus(rawValue: text) else { return nil }
                state = known
            case ("logs", .array(let elements)):
                var chunks: [LogChunk] = []
                for element in elements {
                    guard let chunk = LogChunk(plain: element) else { return nil }
                    chunks.append(chunk)
                }
                logs = chunks
            case ("progress", .object), ("progress", .string): progress = value
            default: return nil
            }
        }
    }
}

extension LogChunk {
    fileprivate init?(plain value: JSONValue) {
        guard case .object(let members) = value, case .string(let stream)? = members["stream"],
            let stream = Stream(rawValue: stream), case .integer(let offset)? = members["offset"]
        else { return nil }
        self.init(stream: stream, offset: offset)
        for (name, value) in members {
            switch (name, value) {
            case ("stream", _), ("offset", _): break
            case ("data", .string(let text)): data = text
            case ("data_base64", .string(let text)): dataBase64 = text
            default: return nil
            }
        }
    }
}

extension [JSONValue] {
    /// All of them, where all are strings.
    fileprivate var texts: [String]? {
        var texts: [String] = []
        texts.reserveCapacity(count)
        for case .string(let text) in self { texts.append(text) }
        return texts.count == count ? texts : nil
    }
}
