internal import CargoArtifact
internal import CargoFiles
internal import SystemPackage

/// What belongs to a stored cargo: written when all of it is there, so its presence says so.
struct CargoRecord: Codable, Hashable {
    var root: Descriptor
    /// Every blob, signatures and documents too.
    var blobs: [Descriptor]
    /// Layers that are unpacked under `trees`.
    var trees: [Digest]
    /// Layers of the cargo's image that are unpacked as root file systems: made at the first run that needs them.
    var roots: [Digest]?

    /// The names under `trees` of everything unpacked.
    var treeNames: [String] { trees.map(TreeRole.files.name) + (roots ?? []).map(TreeRole.root.name) }

    /// Most bytes of a record.
    static let limit = 16 << 20
}

extension CargoStore {
    func record(_ root: Digest) -> CargoRecord? {
        guard let file = try? cargos.open(root.hex), let bytes = try? file.contents(limit: CargoRecord.limit) else { return nil }
        return try? StrictJSON.decode(from: bytes, limit: CargoRecord.limit)
    }

    /// Whether a record stands and everything that it and these blobs name is here and verified.
    func isComplete(_ root: Digest, blobs: [Descriptor], manifest: ImageManifest) throws -> Bool {
        guard let record = record(root), Set(record.blobs.map(\.digest)).isSuperset(of: blobs.map(\.digest)) else { return false }
        for blob in blobs where try !isVerified(blob) { return false }
        for tree in record.trees where try trees.status(tree.hex)?.kind != .folder { return false }
        return true
    }

    /// Unpacks what must be unpacked, and writes the record. Every blob is here and verified.
    func complete(_ root: Digest, blobs: [Descriptor], manifest: ImageManifest) throws {
        var unpacked: [Digest] = []
        for layer in manifest.layers {
            guard try LayerRole(layer) == .tree else { continue }
            try unpack(layer)
            unpacked.append(layer.digest)
        }
        guard let descriptor = blobs.first(where: { $0.digest == root }) else {
            preconditionFailure("the root of a cargo is one of its blobs")
        }
        let before = record(root)
        let known = before?.blobs ?? []
        let own = Set(blobs.map(\.digest))
        let all = blobs + known.filter { !own.contains($0.digest) }
        let record = CargoRecord(root: descriptor, blobs: all, trees: unpacked, roots: before?.roots)
        try cargos.writeDurably(root.hex, try CanonicalJSON.encode(record))
    }

    /// Sets the time of last use, by which `gc` chooses.
    func use(_ root: Digest) throws {
        try cargos.open(root.hex, .readWrite).touch()
    }
}
