import Foundation
import GRDB

/// The tables of the SQLite store; migrations go forward only.
///
/// `jobs` is hot and small; payloads and results stand apart, so that claims and state changes touch few pages.
enum SQLiteSchema {
    static var migrator: DatabaseMigrator {
        var migrator = DatabaseMigrator()
        migrator.registerMigration("1 jobs, keys, hosts") { database in
            try database.execute(
                sql: """
                    CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
                    INSERT INTO meta VALUES ('generation', '1');

                    CREATE TABLE accounts (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, created INTEGER NOT NULL);

                    CREATE TABLE keys (
                        hash BLOB PRIMARY KEY, id TEXT NOT NULL UNIQUE, account INTEGER NOT NULL REFERENCES accounts,
                        name TEXT NOT NULL, scopes TEXT NOT NULL, host TEXT, created INTEGER NOT NULL, revoked INTEGER
                    ) WITHOUT ROWID;

                    CREATE TABLE hosts (
                        id TEXT PRIMARY KEY, account INTEGER NOT NULL REFERENCES accounts, registered_by TEXT NOT NULL,
                        name TEXT NOT NULL, public_key TEXT, slots INTEGER, capabilities TEXT, created INTEGER NOT NULL
                    ) WITHOUT ROWID;
                    CREATE UNIQUE INDEX hosts_by_key ON hosts (account, public_key) WHERE public_key IS NOT NULL;

                    CREATE TABLE jobs (
                        account INTEGER NOT NULL, id BLOB NOT NULL, status INTEGER NOT NULL, priority INTEGER NOT NULL,
                        tier INTEGER NOT NULL, attempt INTEGER NOT NULL, failures INTEGER NOT NULL,
                        losses INTEGER NOT NULL, max_attempts INTEGER NOT NULL, cancel INTEGER NOT NULL,
                        not_before INTEGER, created INTEGER NOT NULL, started INTEGER, finished INTEGER,
                        cargo TEXT, digest TEXT, requirement TEXT NOT NULL, host TEXT, token TEXT NOT NULL,
                        avoided TEXT NOT NULL, seq INTEGER NOT NULL, head BLOB NOT NULL,
                        PRIMARY KEY (account, id)
                    ) WITHOUT ROWID;
                    CREATE INDEX jobs_open ON jobs (id) WHERE status < 3;

                    CREATE TABLE payloads (
                        account INTEGER NOT NULL, id BLOB NOT NULL, spec BLOB NOT NULL, salt BLOB NOT NULL, metadata BLOB,
                        files TEXT, retention REAL, PRIMARY KEY (account, id)
                    ) WITHOUT ROWID;

                    CREATE TABLE results (
                        account INTEGER NOT NULL, id BLOB NOT NULL, attempt INTEGER NOT NULL, exit TEXT, error TEXT,
                        outputs TEXT, PRIMARY KEY (account, id)
                    ) WITHOUT ROWID;

                    CREATE TABLE transitions (
                        account INTEGER NOT NULL, id BLOB NOT NULL, seq INTEGER NOT NULL, at INTEGER NOT NULL,
                        actor TEXT NOT NULL, status INTEGER NOT NULL, attempt INTEGER NOT NULL, host TEXT,
                        detail BLOB NOT NULL, hash BLOB NOT NULL, PRIMARY KEY (account, id, seq)
                    ) WITHOUT ROWID;

                    CREATE TABLE attempts (
                        id BLOB NOT NULL, attempt INTEGER NOT NULL, account INTEGER NOT NULL, host TEXT NOT NULL,
                        token TEXT NOT NULL, claim TEXT, claimed INTEGER NOT NULL, answer INTEGER,
                        PRIMARY KEY (id, attempt)
                    ) WITHOUT ROWID;

                    CREATE TABLE outputs (
                        id BLOB NOT NULL, attempt INTEGER NOT NULL, account INTEGER NOT NULL, path TEXT NOT NULL,
                        size INTEGER NOT NULL, sha256 TEXT NOT NULL, PRIMARY KEY (id, attempt, path)
                    ) WITHOUT ROWID;

                    CREATE TABLE idempotency (
                        account INTEGER NOT NULL, operation TEXT NOT NULL, key TEXT NOT NULL, body BLOB NOT NULL,
                        job BLOB NOT NULL, created INTEGER NOT NULL, PRIMARY KEY (account, operation, key)
                    ) WITHOUT ROWID;

                    CREATE TABLE uploads (
                        account INTEGER NOT NULL, id TEXT NOT NULL, size INTEGER NOT NULL, sha256 TEXT NOT NULL,
                        created INTEGER NOT NULL, PRIMARY KEY (account, id)
                    ) WITHOUT ROWID;
                    """)
        }
        migrator.registerMigration("2 retention, shares, uses of blobs") { database in
            try database.execute(
                sql: """
                    CREATE TABLE expiry (at INTEGER NOT NULL, account INTEGER NOT NULL, id BLOB NOT NULL, PRIMARY KEY (at, account, id))
                        WITHOUT ROWID;
                    INSERT INTO expiry SELECT finished + 604800000, account, id FROM jobs WHERE status > 2;

                    CREATE TABLE shares (
                        hash BLOB PRIMARY KEY, account INTEGER NOT NULL, id BLOB NOT NULL, until INTEGER NOT NULL
                    ) WITHOUT ROWID;
                    CREATE INDEX shares_by_job ON shares (account, id);

                    -- One row for each blob that an upload (owner: its id) or a job (owner: its id as text) names.
                    CREATE TABLE blob_uses (
                        owner TEXT NOT NULL, sha256 TEXT NOT NULL, PRIMARY KEY (owner, sha256)
                    ) WITHOUT ROWID;
                    CREATE INDEX blob_uses_by_blob ON blob_uses (sha256);
                    CREATE INDEX uploads_by_age ON uploads (created);
                    CREATE INDEX idempotency_by_age ON idempotency (created);
                    """)
        }
        migrator.registerMigration("3 webhooks", migrate: SQLiteJobStore.createWebhookTables)
        migrator.registerMigration("4 secrets of the coordinator") { database in
            try database.execute(sql: "CREATE TABLE secrets (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID")
        }
        migrator.registerMigration("records, details of keys", migrate: SQLiteJobStore.createRecords)
        migrator.registerMigration("bytes of accounts") { database in
            try database.execute(
                sql: """
                    CREATE TABLE account_bytes (account INTEGER PRIMARY KEY, bytes INTEGER NOT NULL);
                    ALTER TABLE attempts ADD COLUMN log_bytes INTEGER NOT NULL DEFAULT 0;
                    INSERT INTO account_bytes SELECT account, sum(bytes) FROM (
                        SELECT account, count(*) * 1024 + sum(length(spec) + coalesce(length(metadata), 0)) bytes FROM payloads GROUP BY 1
                        UNION ALL SELECT account, sum(size) FROM uploads GROUP BY 1
                        UNION ALL SELECT account, sum(size) FROM outputs GROUP BY 1) GROUP BY 1;
                    """)
        }
        return migrator
    }

    /// Opens the database: WAL, `synchronous=FULL` for the connection that writes, readers that cannot write.
    static func open(path: String) throws -> DatabasePool {
        var configuration = Configuration()
        configuration.maximumReaderCount = 2
        configuration.busyMode = .timeout(5)
        configuration.label = "jobs"
        let pool = try DatabasePool(path: path, configuration: configuration)
        // The pool sets NORMAL while it opens; FULL has to come after it, and is read back because all durability
        // stands on it.
        try pool.writeWithoutTransaction { database in
            try database.execute(sql: "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000; PRAGMA cache_size = -16384")
            let level = try Int.fetchOne(database, sql: "PRAGMA synchronous")
            guard level == 2 else {
                throw StoreError.unavailable(
                    "SQLite did not accept synchronous=FULL (it reads \(level ?? -1)); nothing would be durable.")
            }
        }
        try migrator.migrate(pool)
        return pool
    }
}
