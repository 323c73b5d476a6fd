internal import CLinux
internal import CargoFiles
internal import SystemPackage

/// Removes folders that strangers filled: at any depth with a few descriptors open and no recursion.
///
/// A folder inside is first moved up beside the one that is being emptied, so a tower of a hundred thousand folders is
/// removed like a hundred thousand folders in a row.
enum TreeRemoval {
    /// Removes `name` from `folder`, which holds nothing but such names: what an interruption leaves there is found again.
    static func remove(_ name: String, from folder: Folder) throws {
        guard clinux_remove_tree(folder.descriptor.rawValue, name) == 0 else {
            throw RunFailure(.runtime, "a job's folder below \(folder.path) could not be removed; look at its permissions")
        }
    }
}
