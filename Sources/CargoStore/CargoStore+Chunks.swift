internal import CargoArtifact

extension CargoStore {
    /// The sums of a layer's pieces from the cargo's chunk table, which stands before the layers and so is stored already.
    ///
    /// nil where there are none; a table that cannot be read only costs the repair by pieces.
    func chunks(of blob: Descriptor, in manifest: ImageManifest) -> ChunkSums? {
        guard let layer = manifest.layers.first(where: { $0.mediaType == MediaType.chunks }), layer.digest != blob.digest,
            let bytes = try? blobs.contents(of: layer.digest, limit: ChunkTable.maximumSize),
            let table = try? ChunkTable(json: bytes)
        else { return nil }
        return table.sums(of: blob)
    }
}
