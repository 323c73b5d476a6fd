public import ArgumentParser
import CargoArtifact
import CargoClient
import CargoCommands
public import CargoWire

/// `longshore keys`: the API keys of one's own account.
struct APIKeys: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "keys", abstract: "Make, list, rotate and revoke API keys; show what they used.",
        discussion: "A key makes only keys of its own account that may no more than itself. 'longshore key' is about signatures.",
        subcommands: [List.self, Create.self, Rotate.self, Revoke.self, Usage.self], defaultSubcommand: List.self)

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List this account's keys (the default).")
        @Flag(help: "Print JSON.") var json = false
        @OptionGroup var coordinator: CoordinatorOptions

        func run() async throws {
            let keys = try await coordinator.client().keys()
            if json { return try Streams.json(CargoWire.KeyList(keys: keys)) }
            Streams.result(
                JobText.table(
                    ["ID", "SCOPES", "STATE", "LAST USED", "NAME"],
                    keys.map { key in
                        [
                            key.id, key.scopes.map(\.rawValue).joined(separator: ","),
                            key.revokedAt.map { "revoked \($0)" } ?? key.expiresAt.map { "until \($0)" } ?? "good",
                            key.lastUsedAt ?? "never", key.name,
                        ]
                    }))
        }
    }

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Make a key and print it, the only time it is shown.")

        @Option(help: ArgumentHelp("read, write, host, publish. Repeatable.", valueName: "scope"))
        var scope: [Scope]

        @Option(help: "A name to know it by.")
        var name: String?

        @Option(help: ArgumentHelp("How long it is good for, such as 720h.", valueName: "time"))
        var expires: Seconds?

        @Option(name: .customLong("requests-per-minute"), help: "The most requests to models a minute.")
        var requestsPerMinute: Int?

        @Option(name: .customLong("tokens-per-minute"), help: "The most tokens of models a minute.")
        var tokensPerMinute: Int?

        @Option(name: .customLong("tokens-per-day"), help: "The most tokens of models a day.")
        var tokensPerDay: Int?

        @Option(name: .customLong("credits-per-day"), help: "The most credits a day.")
        var creditsPerDay: Double?

        @Flag(name: .customLong("not-durable"), help: "Requests to models are kept in memory only.")
        var notDurable = false

        @Flag(help: "Print JSON.") var json = false
        @OptionGroup var coordinator: CoordinatorOptions

        func run() async throws {
            var policy = KeyPolicy()
            policy.requestsPerMinute = requestsPerMinute
            policy.tokensPerMinute = tokensPerMinute
            policy.tokensPerDay = tokensPerDay
            policy.creditsPerDay = creditsPerDay
            if notDurable { policy.durable = false }
            let key = try await coordinator.client().createKey(
                KeyRequest(name: name, scopes: scope, expiresIn: expires, policy: policy == KeyPolicy() ? nil : policy))
            json ? try Streams.json(key) : Streams.result(key.key ?? "")
        }
    }

    struct Rotate: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Give a key a new secret and print it.")
        @Argument(help: "key_…") var id: String

        @Option(help: ArgumentHelp("How long the old secret stays good, such as 1h.", valueName: "time"))
        var overlap: Seconds?

        @Flag(help: "Print JSON.") var json = false
        @OptionGroup var coordinator: CoordinatorOptions

        func run() async throws {
            let key = try await coordinator.client().rotateKey(id, overlap: overlap)
            json ? try Streams.json(key) : Streams.result(key.key ?? "")
        }
    }

    struct Revoke: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "End a key at once.")
        @Argument(help: "key_…") var id: String
        @OptionGroup var coordinator: CoordinatorOptions

        func run() async throws { try await coordinator.client().revokeKey(id) }
    }

    struct Usage: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Show requests, tokens and latency by key and model.")
        @Argument(help: "key_…; all of the account when missing.") var id: String?
        @Option(help: "Days until today, 1 to 366.") var days = 30
        @Flag(help: "Print JSON.") var json = false
        @OptionGroup var coordinator: CoordinatorOptions

        func run() async throws {
            let report = try await coordinator.client().usage(of: id, days: days)
            if json { return try Streams.json(report) }
            Streams.result(
                JobText.table(
                    ["KEY", "MODEL", "REQUESTS", "FAILED", "PROMPT", "COMPLETION", "P50 MS", "P99 MS"],
                    report.usage.map { use in
                        [
                            use.key, use.model, "\(use.requests)", "\(use.failed)", "\(use.promptTokens)",
                            "\(use.completionTokens)", "\(use.latency.p50)", "\(use.latency.p99)",
                        ]
                    }))
        }
    }
}

extension Scope: ExpressibleByArgument {}
