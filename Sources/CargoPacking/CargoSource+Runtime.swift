internal import CargoArtifact

/// The blocks of `cargo.yaml` about how a cargo runs.
extension CargoSource {
    static func environment(_ value: YAMLValue) throws -> [String: String] {
        var environment: [String: String] = [:]
        for (name, value) in try value.dictionary() {
            try checkName(name, value)
            environment[name] = try value.string()
        }
        return environment
    }

    static func environmentNames(_ value: YAMLValue) throws -> [String] {
        try value.list().map { element in
            let name = try element.string()
            try checkName(name, element)
            return name
        }
    }

    /// Names that would change how a program is loaded, or that the runtime sets itself (docs/rules.md 4).
    private static func checkName(_ name: String, _ value: YAMLValue) throws {
        let bytes = Array(name.utf8)
        let isName = bytes.allSatisfy { (65...90).contains($0) || (97...122).contains($0) || (48...57).contains($0) || $0 == 95 }
        guard let first = bytes.first, isName, !(48...57).contains(first) else {
            throw value.failure("'\(name)' is no name of an environment variable")
        }
        let reserved = ["LD_", "CARGO_", "NVIDIA_", "LLAMA_ARG_"]
        guard name != "PATH", !reserved.contains(where: name.hasPrefix) else {
            throw value.failure("'\(name)' is set by the runtime alone")
        }
    }

    static func resources(_ value: YAMLValue) throws -> Resources {
        let members = try value.members(["cpu", "memory", "disk", "pids", "time", "cpu-time", "gpu"])
        var resources = Resources()
        resources.cpu = try members["cpu"]?.number(0.01...4096)
        resources.memory = try members["memory"]?.bytes()
        resources.disk = try members["disk"]?.bytes()
        resources.pids = try members["pids"]?.integer(1...4_194_304)
        resources.time = try members["time"]?.seconds()
        resources.cpuTime = try members["cpu-time"]?.seconds()
        if let gpu = members["gpu"] {
            let members = try gpu.members(["count", "vram"])
            resources.gpu = Resources.GPU(count: try members["count"]?.integer(0...64), vram: try members["vram"]?.bytes())
        }
        return resources
    }

    static func network(_ value: YAMLValue) throws -> CargoNetwork {
        if value.isMapping {
            guard let targets = try value.members(["egress"])["egress"] else { throw value.failure("'egress' is missing") }
            return .egress(
                try targets.list().map { target in
                    let text = try target.string()
                    guard let colon = text.lastIndex(of: ":"), let port = Int(text[text.index(after: colon)...]),
                        (1...65535).contains(port), colon != text.startIndex,
                        text[..<colon].utf8.allSatisfy({ $0 > 32 && $0 < 127 && $0 != UInt8(ascii: "/") })
                    else { throw target.failure("an egress target is host:port") }
                    return text
                })
        }
        switch try value.string() {
        case "none": return .none
        case "loopback": return .loopback
        case "host": return .host
        default: throw value.failure("network is none, loopback, host or egress: [host:port, …]")
        }
    }

    static func outputs(_ value: YAMLValue) throws -> CargoConfig.Outputs {
        let members = try value.members(["max-bytes", "max-files"])
        return CargoConfig.Outputs(
            maxBytes: try members["max-bytes"]?.bytes(), maxFiles: try members["max-files"]?.integer(0...10_000_000))
    }

    static func pricing(_ value: YAMLValue) throws -> CargoConfig.Pricing {
        let members = try value.members(["per-job", "per-second", "per-1k-input-tokens", "per-1k-output-tokens", "per-image"])
        var pricing = CargoConfig.Pricing()
        pricing.perJob = try members["per-job"]?.number(0...1e12)
        pricing.perSecond = try members["per-second"]?.number(0...1e12)
        pricing.per1kInputTokens = try members["per-1k-input-tokens"]?.number(0...1e12)
        pricing.per1kOutputTokens = try members["per-1k-output-tokens"]?.number(0...1e12)
        pricing.perImage = try members["per-image"]?.number(0...1e12)
        return pricing
    }
}
