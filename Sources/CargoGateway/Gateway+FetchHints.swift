import CargoArtifact
import CargoFiles
import CargoQueue
import CargoRegistry
import CargoScheduler
import CargoWire

/// What an idle host might fetch: models that requests wait for, as cargos that are here and that it could run.
extension Gateway {
    func fetchHints(for host: String, _ seen: HostBoard.Seen) async throws -> [FetchHint] {
        var hints: [FetchHint] = []
        for wanted in queue.scheduler.wanted(by: host, seen) {
            var hint = FetchHint(model: wanted.model, waiting: wanted.waiting)
            guard let reference = try await newest(wanted.model) else {
                // A model of a server that this host's owner runs himself: only the owner can get it.
                if wanted.isServed { hints.append(hint) }
                continue
            }
            let (name, cargo) = reference
            guard (seen.capabilities.kinds ?? []).contains(cargo.config.kind.rawValue),
                Gateway.fits(cargo.config.resources, seen)
            else { continue }
            (hint.cargo, hint.digest) = (name.description, cargo.digest.description)
            hints.append(hint)
        }
        return hints
    }

    private static func fits(_ resources: Resources, _ seen: HostBoard.Seen) -> Bool {
        let gpus = resources.gpu.map { $0.count ?? ($0.vram == nil ? 0 : 1) }
        let room = Room(
            memory: resources.memory?.bytes, vram: gpus == 0 ? nil : resources.gpu?.vram?.bytes, gpus: gpus, price: nil)
        return room?.leftOut(seen.capabilities, seen.report, asked: 0) == nil
    }

    /// A model's cargo: the version that its name says, else the newest release that is here.
    private func newest(_ model: String) async throws -> (CargoReference, RegistryIndex.KnownCargo)? {
        let registry = registry
        return try await blocking {
            let reference: CargoReference
            if let exact = CargoReference(model) {
                reference = exact
            } else {
                guard let name = CargoName(model), let tags = try registry.tags(name) else { return nil }
                let versions = tags.compactMap { CargoVersion($0) }
                guard let version = versions.filter(\.isRelease).max() ?? versions.max() else { return nil }
                reference = CargoReference(name: name, selector: .version(version))
            }
            guard let cargo = try registry.cargo(reference.name, tagOrDigest: reference.tagOrDigest) else { return nil }
            return (reference, cargo)
        }
    }
}
