import ArgumentParser
import CargoArtifact
import CargoCommands
import CargoCoordinator
import CargoWire
import FoundationEssentials

/// `admin`: keys.
struct Admin: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Manages a coordinator.", subcommands: [Key.self])

    struct Key: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Manages API keys.", subcommands: [Create.self, List.self, Rotate.self, Revoke.self])
    }

    /// Which data folder's keys, and whose.
    struct Place: ParsableArguments {
        @Option(help: ArgumentHelp("The coordinator's data folder; a server that runs on it is asked.", valueName: "DIR"))
        var data: String

        @Option(
            help: ArgumentHelp("The PostgreSQL database of that folder's server, when it has one.", valueName: "postgres://…"))
        var store: String?

        @Option(help: ArgumentHelp("The account that the key acts for; made with its first key.", valueName: "NAME"))
        var account = "default"

        @Flag(help: "Print JSON.")
        var json = false

        func validate() throws { try Serve.check(store: store) }

        var command: KeyCommand { KeyCommand(data: data, store: store, account: account) }

        func print(_ key: KeyView) throws {
            json ? try printJSON(key) : say(key.key ?? key.id)
        }

        func printJSON(_ value: some Encodable) throws {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
            say(String(decoding: try encoder.encode(value), as: UTF8.self))
        }
    }
}

extension Admin.Key {
    /// `admin key create`: prints the new key, the only time it is known in clear.
    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Makes an API key and prints it.")

        @OptionGroup var place: Admin.Place

        @Option(help: ArgumentHelp("What the key may do: read, write, host, publish, admin. Repeatable.", valueName: "SCOPE"))
        var scope: [String]

        @Option(help: ArgumentHelp("A name to know it by.", valueName: "NAME"))
        var name = ""

        @Option(help: ArgumentHelp("How long it is good for, such as 720h.", valueName: "TIME"))
        var expires: Seconds?

        @Option(name: .customLong("requests-per-minute"), help: "The most requests to models a minute.")
        var requestsPerMinute: Int?

        @Option(name: .customLong("tokens-per-day"), help: "The most tokens of models a day.")
        var tokensPerDay: Int?

        @Flag(name: .customLong("not-durable"), help: "Requests to models are kept in memory only.")
        var notDurable = false

        func validate() throws {
            for scope in scope where !KeyCommand.scopes.contains(scope) {
                throw ValidationError("'\(scope)' is no scope; they are \(KeyCommand.scopes.joined(separator: ", ")).")
            }
        }

        func run() async throws {
            var policy = KeyPolicy()
            policy.requestsPerMinute = requestsPerMinute
            policy.tokensPerDay = tokensPerDay
            if notDurable { policy.durable = false }
            try place.print(
                try await place.command.create(
                    KeyRequest(
                        name: name, scopes: scope.compactMap(Scope.init(rawValue:)), expiresIn: expires,
                        policy: policy == KeyPolicy() ? nil : policy)))
        }
    }

    /// `admin key list`.
    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Lists the keys of an account, without their secrets.")

        @OptionGroup var place: Admin.Place

        func run() async throws {
            let keys = try await place.command.list()
            if place.json { return try place.printJSON(KeyList(keys: keys)) }
            for key in keys {
                let state = key.revokedAt.map { "revoked \($0)" } ?? key.expiresAt.map { "until \($0)" } ?? "good"
                say(
                    "\(key.id)  \(key.scopes.map(\.rawValue).joined(separator: ","))  \(state)  last used \(key.lastUsedAt ?? "never")  \(key.name)"
                )
            }
        }
    }

    /// `admin key rotate`.
    struct Rotate: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Gives a key a new secret and prints it.")

        @OptionGroup var place: Admin.Place

        @Option(help: ArgumentHelp("How long the old secret stays good, such as 1h.", valueName: "TIME"))
        var overlap: Seconds?

        @Argument(help: ArgumentHelp("The key's id, key_….", valueName: "ID"))
        var id: String

        func run() async throws { try place.print(try await place.command.rotate(id, overlap: overlap)) }
    }

    /// `admin key revoke`.
    struct Revoke: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Ends a key at once.")

        @OptionGroup var place: Admin.Place

        @Argument(help: ArgumentHelp("The key's id, key_….", valueName: "ID"))
        var id: String

        func run() async throws { try await place.command.revoke(id) }
    }
}
