internal import CLinux
internal import Glibc
internal import SystemPackage

/// What overlayfs reads in a folder that is laid over others (kernel: filesystems/overlayfs.rst, "whiteouts and opaque
/// directories"), as an ordinary user may write it.
extension Folder {
    /// A name directly below that hides what lies below it in the layers underneath.
    public func makeWhiteout(_ name: String) throws {
        try check(clinux_make_whiteout(descriptor.rawValue, name), "make a whiteout", path.appending(name).string)
    }

    /// From now on this folder hides everything in the folders underneath.
    public func makeOpaque() throws {
        try check(clinux_make_opaque(descriptor.rawValue), "mark as opaque", path.string)
    }

    public var isOpaque: Bool { clinux_is_opaque(descriptor.rawValue) == 1 }
}
