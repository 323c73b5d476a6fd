import CargoQueue
import SystemPackage

/// Migrates the store of a data folder while nothing serves it.
public enum MigrateCommand {
    /// - Returns: what it did, as one line.
    public static func run(data: String, store: String?) throws -> String {
        let folder = try DataFolder(FilePath(data))
        let (before, after) =
            try store.map { try StoreMigration.run(postgres: $0) }
            ?? StoreMigration.run(sqlite: folder.path.appending("jobs.sqlite").string)
        return before == after
            ? "nothing to do: \(after) migrations were applied before"
            : "applied migrations \(before + 1) to \(after)"
    }
}
