import GRDB

/// Brings a store's tables up to this program without serving it: forward only, each step in a transaction of its own.
public enum StoreMigration {
    /// - Parameter path: of the SQLite database, which no other process has open; made where it is missing.
    /// - Returns: how many migrations it had, and how many it has now.
    public static func run(sqlite path: String) throws -> (before: Int, after: Int) {
        let database = try DatabaseQueue(path: path)
        let before = try database.read { try SQLiteSchema.migrator.appliedIdentifiers($0).count }
        try database.close()
        let opened = try SQLiteSchema.open(path: path)
        let after = try opened.read { try SQLiteSchema.migrator.appliedIdentifiers($0).count }
        try opened.close()
        return (before, after)
    }

    /// - Parameter url: anything libpq reads. Coordinators that run may go on meanwhile.
    public static func run(postgres url: String) throws -> (before: Int, after: Int) {
        do {
            return try PostgresSchema.migrate(try PostgresConnection(url))
        } catch let error as PostgresError {
            throw StoreError.unavailable("The database cannot be used: \(error)")
        }
    }
}
