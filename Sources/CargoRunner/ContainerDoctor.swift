internal import CargoDocker
public import CargoSandbox

extension ContainerSettings {
    /// What this host's container engine is, asked just now, and which published escapes its parts have (docs/rules.md 22).
    public func examine() async -> Doctor.Finding {
        let name = "containers"
        do {
            let engine = try await connect()
            let information = try await engine.information()
            let parts = information.runtimes.joined(separator: ", ")
            return Doctor.Finding(
                name: name, state: .works,
                found: "\(engine.kind.rawValue) \(information.version) answered\(parts.isEmpty ? "" : " (\(parts))")",
                advice: ContainerSettings.warning(about: information.runtimes))
        } catch {
            return Doctor.Finding(
                name: name, state: .optional,
                found: "no container engine answers (\((error as? EngineError)?.description ?? "\(error)"))",
                advice: "start Docker or Podman for kind container; bundled images also run with --backend sandbox")
        }
    }

    /// What an owner should know before strangers' containers run here; nil when nothing is known.
    public func knownEscapes() async -> String? {
        guard let engine = try? await connect(), let information = try? await engine.information() else { return nil }
        return ContainerSettings.warning(about: information.runtimes)
    }

    private static func warning(about parts: [String]) -> String? {
        let known = parts.compactMap { part -> String? in
            let escapes = KnownEscapes.of(part)
            return escapes.isEmpty ? nil : "\(part) has \(escapes.joined(separator: ", "))"
        }
        guard !known.isEmpty else { return nil }
        return known.joined(separator: "; ")
            + ": escapes from containers; update it before strangers' containers run here, unless your distribution mended it under the old number"
    }
}
