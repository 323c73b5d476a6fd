/// The tables of the PostgreSQL store; migrations go forward only, one coordinator at a time runs them.
///
/// Times are milliseconds since 1970, as in the SQLite store. `jobs` is hot and small; its index of ready jobs is in the order of claims.
enum PostgresSchema {
    /// Each entry is run once, in order, in a transaction of its own.
    static let migrations = [
        """
        CREATE TABLE accounts (id bigserial PRIMARY KEY, name text NOT NULL UNIQUE, created bigint NOT NULL);

        CREATE TABLE keys (
            hash bytea PRIMARY KEY, id text NOT NULL UNIQUE, account bigint NOT NULL REFERENCES accounts, name text NOT NULL,
            scopes text NOT NULL, host text, created bigint NOT NULL, revoked bigint
        );

        CREATE TABLE hosts (
            id text PRIMARY KEY, account bigint NOT NULL REFERENCES accounts, registered_by text NOT NULL, name text NOT NULL,
            public_key text, slots bigint, capabilities text, created bigint NOT NULL
        );
        CREATE UNIQUE INDEX hosts_by_key ON hosts (account, public_key) WHERE public_key IS NOT NULL;

        CREATE TABLE jobs (
            account bigint NOT NULL, id uuid NOT NULL, status smallint NOT NULL, priority smallint NOT NULL,
            tier smallint NOT NULL, attempt integer NOT NULL, failures integer NOT NULL, losses integer NOT NULL,
            max_attempts integer NOT NULL, cancel boolean NOT NULL, not_before bigint, created bigint NOT NULL,
            started bigint, finished bigint, cargo text, digest text, requirement text NOT NULL, host text,
            token text NOT NULL, avoided text NOT NULL, seq bigint NOT NULL, head bytea NOT NULL,
            ready boolean NOT NULL, lease_until bigint, generation bigint, PRIMARY KEY (account, id)
        ) WITH (fillfactor = 80);
        CREATE INDEX jobs_ready ON jobs (priority DESC, account, requirement, id) WHERE ready;
        CREATE INDEX jobs_delayed ON jobs (not_before) WHERE status = 0 AND NOT ready;
        CREATE INDEX jobs_running ON jobs (lease_until) WHERE status IN (1, 2);
        CREATE INDEX jobs_running_by_id ON jobs (id) WHERE status IN (1, 2);

        CREATE TABLE payloads (
            account bigint NOT NULL, id uuid NOT NULL, spec bytea NOT NULL, salt bytea NOT NULL, metadata bytea, files text,
            retention double precision, PRIMARY KEY (account, id)
        );

        CREATE TABLE results (
            account bigint NOT NULL, id uuid NOT NULL, attempt integer NOT NULL, exit text, error text, outputs text,
            PRIMARY KEY (account, id)
        );

        CREATE TABLE transitions (
            account bigint NOT NULL, id uuid NOT NULL, seq bigint NOT NULL, at bigint NOT NULL, actor text NOT NULL,
            status smallint NOT NULL, attempt integer NOT NULL, host text, detail bytea NOT NULL, hash bytea NOT NULL,
            PRIMARY KEY (account, id, seq)
        );

        CREATE TABLE attempts (
            id uuid NOT NULL, attempt integer NOT NULL, account bigint NOT NULL, host text NOT NULL, token text NOT NULL,
            claim text, claimed bigint NOT NULL, answer smallint, PRIMARY KEY (id, attempt)
        );
        CREATE INDEX attempts_by_claim ON attempts (host, claim) WHERE claim IS NOT NULL AND answer IS NULL;

        CREATE TABLE outputs (
            id uuid NOT NULL, attempt integer NOT NULL, account bigint NOT NULL, path text NOT NULL, size bigint NOT NULL,
            sha256 text NOT NULL, PRIMARY KEY (id, attempt, path)
        );

        CREATE TABLE idempotency (
            account bigint NOT NULL, operation text NOT NULL, key text NOT NULL, body bytea NOT NULL, job uuid NOT NULL,
            created bigint NOT NULL, PRIMARY KEY (account, operation, key)
        );

        CREATE TABLE uploads (
            account bigint NOT NULL, id text NOT NULL, size bigint NOT NULL, sha256 text NOT NULL, created bigint NOT NULL,
            PRIMARY KEY (account, id)
        );

        CREATE TABLE callbacks (
            account bigint NOT NULL, id uuid NOT NULL, url text NOT NULL, shape text NOT NULL, PRIMARY KEY (account, id)
        );

        CREATE TABLE webhooks (
            id uuid PRIMARY KEY, account bigint NOT NULL, job uuid NOT NULL, url text NOT NULL, shape text NOT NULL,
            status smallint NOT NULL, since bigint NOT NULL, attempts integer NOT NULL, due bigint NOT NULL
        );
        CREATE INDEX webhooks_due ON webhooks (due) WHERE status = 0;
        CREATE INDEX webhooks_by_job ON webhooks (account, job);

        CREATE TABLE webhook_attempts (
            id uuid NOT NULL, number integer NOT NULL, at bigint NOT NULL, answer integer, milliseconds bigint NOT NULL,
            problem text, PRIMARY KEY (id, number)
        );

        CREATE TABLE webhook_secrets (
            account bigint NOT NULL, number integer NOT NULL, secret text NOT NULL, until bigint,
            PRIMARY KEY (account, number)
        );

        CREATE TABLE expiry (at bigint NOT NULL, account bigint NOT NULL, id uuid NOT NULL, PRIMARY KEY (at, account, id));

        CREATE TABLE shares (hash bytea PRIMARY KEY, account bigint NOT NULL, id uuid NOT NULL, until bigint NOT NULL);
        CREATE INDEX shares_by_job ON shares (account, id);

        CREATE TABLE blob_uses (owner text NOT NULL, sha256 text NOT NULL, PRIMARY KEY (owner, sha256));
        CREATE INDEX blob_uses_by_blob ON blob_uses (sha256);
        CREATE INDEX uploads_by_age ON uploads (created);
        CREATE INDEX idempotency_by_age ON idempotency (created);
        CREATE INDEX jobs_open ON jobs (account, id) WHERE status < 3;

        CREATE TABLE pulse (one boolean PRIMARY KEY CHECK (one), at bigint NOT NULL);
        INSERT INTO pulse VALUES (true, 0);
        """,
        "CREATE TABLE secrets (name text PRIMARY KEY, value text NOT NULL)",
        PostgresJobStore.recordsMigration,
        """
        CREATE TABLE account_bytes (account bigint PRIMARY KEY, bytes bigint NOT NULL);
        ALTER TABLE attempts ADD COLUMN log_bytes bigint NOT NULL DEFAULT 0, ADD COLUMN home text NOT NULL DEFAULT '';
        INSERT INTO account_bytes SELECT account, sum(bytes) FROM (
            SELECT account, count(*) * 1024 + sum(length(spec) + coalesce(length(metadata), 0)) bytes FROM payloads GROUP BY 1
            UNION ALL SELECT account, sum(size) FROM uploads GROUP BY 1
            UNION ALL SELECT account, sum(size) FROM outputs GROUP BY 1) b GROUP BY 1;
        CREATE TABLE coordinators (id text PRIMARY KEY, url text NOT NULL, seen bigint NOT NULL);
        """,
        PostgresJobStore.sharingMigration,
    ]

    /// One number among the advisory locks of the database: who migrates.
    private static let lock: Int64 = 0x4C4F_4E47_5348_4F52

    /// Brings the database up to this program; refuses one that a newer program has touched.
    /// - Returns: how many migrations it had, and how many it has now.
    @discardableResult
    static func migrate(_ connection: PostgresConnection) throws -> (before: Int, after: Int) {
        try connection.run("SELECT pg_advisory_lock($1)", [.int(lock)])
        defer { _ = try? connection.run("SELECT pg_advisory_unlock($1)", [.int(lock)]) }
        try connection.script(
            "CREATE TABLE IF NOT EXISTS meta (name text PRIMARY KEY, value bigint NOT NULL);"
                + "INSERT INTO meta VALUES ('schema', 0), ('generation', 1) ON CONFLICT DO NOTHING")
        let have = try connection.run("SELECT value FROM meta WHERE name = 'schema'").first?.int(0) ?? 0
        guard have <= migrations.count else {
            throw StoreError.unavailable(
                "The database has schema \(have) and this program knows \(migrations.count): run the newer program.")
        }
        for (index, migration) in migrations.enumerated() where index >= have {
            try connection.script("BEGIN;\(migration);UPDATE meta SET value = \(index + 1) WHERE name = 'schema';COMMIT")
        }
        return (Int(have), migrations.count)
    }
}
