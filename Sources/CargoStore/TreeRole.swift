internal import CargoArtifact

/// Where an unpacked layer will stand, which decides what it may hold.
public enum TreeRole: Hashable, Sendable {
    /// Below `/cargo`: symbolic links stay inside.
    case files
    /// One layer of a root file system: symbolic links lead wherever they say, because nothing follows them outside of
    /// that root, and whiteouts take away what lies below.
    case root

    /// Folders at the top that a sandbox always puts there itself: what a layer has at or below them is left out.
    static let covered: Set = ["dev", "proc", "job", "cargo"]

    /// The name under `trees`: the same layer in both roles is two trees.
    func name(_ layer: Digest) -> String { self == .files ? layer.hex : layer.hex + ".root" }
}

/// An entry of an image's layer that stands for something taken away (OCI image specification, layer.md, "Whiteouts").
enum Whiteout: Hashable {
    /// This name in the layers below.
    case name(String)
    /// Everything that the layers below have in this folder.
    case everything
    /// What an old storage driver left; says nothing.
    case leftover

    private static let prefix = ".wh."

    /// Nil for an entry that is none.
    init?(_ path: SafePath) throws {
        let marked = path.parts.filter { $0.hasPrefix(Whiteout.prefix) }
        guard let last = path.parts.last, !marked.isEmpty else { return nil }
        if last == ".wh..wh..opq", marked.count == 1 {
            self = .everything
            return
        }
        if marked[0].hasPrefix(".wh..wh.") {
            self = .leftover
            return
        }
        let name = String(last.dropFirst(Whiteout.prefix.utf8.count))
        guard marked.count == 1, last.hasPrefix(Whiteout.prefix), !["", ".", ".."].contains(name) else {
            throw Refusal("whiteout", "the whiteout '\(path.text.prefix(200))' in a layer takes away nothing that could be there")
        }
        self = .name(name)
    }
}
