internal import CargoArtifact
internal import CargoFiles
public import SystemPackage

extension CargoStore {
    /// The image that a cargo carries as folders to lay over each other, the lowest first, each layer unpacked once and shared by
    /// every cargo that has it. Unpacks what no earlier run did, which takes as long as reading the image.
    ///
    /// Empty for a cargo without an image. Blocks; call from `blocking`. Throws `Refusal`.
    public func unpackImage(of cargo: StoredCargo) throws -> [FilePath] {
        guard let image = cargo.image else { return [] }
        // A layer that stands twice is laid once, at its upper place: its lower one is covered whole.
        var seen: Set<Digest> = []
        let layers = Array(image.layers.map(\.descriptor).reversed().filter { seen.insert($0.digest).inserted }.reversed())
        let names = layers.map { TreeRole.root.name($0.digest) }
        let known = Set(record(cargo.digest)?.roots ?? [])
        if try !known.isSuperset(of: seen) || names.contains(where: { try trees.status($0)?.kind != .folder }) {
            let lock = try lock(cargo.digest.hex)
            let growing = try self.lock(CargoStore.growth, .shared)
            for layer in layers {
                guard layer.mediaType == MediaType.files else {
                    throw Refusal("media-type", "the image's layer \(layer.digest) is no gzipped tar; pack the image again")
                }
                guard try isVerified(layer) else {
                    throw Refusal("missing-blob", "the image's layer \(layer.digest) was damaged on disk; run the cargo again")
                }
                try unpack(layer, as: .root)
            }
            if var record = record(cargo.digest) {
                record.roots = seen.union(record.roots ?? []).sorted()
                try cargos.writeDurably(cargo.digest.hex, try CanonicalJSON.encode(record))
            }
            try growing.unlock()
            try lock.unlock()
        }
        return names.map { root.appending("trees").appending($0) }
    }
}
