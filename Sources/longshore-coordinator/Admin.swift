import ArgumentParser
import CargoCoordinator
import Logging

/// `admin`: keys.
struct Admin: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Manages a coordinator.", subcommands: [Key.self])

    struct Key: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Manages API keys.", subcommands: [Create.self])
    }
}

extension Admin.Key {
    /// `admin key create`: prints the new key, the only time it is known in clear.
    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Makes an API key and prints it.")

        @Option(help: ArgumentHelp("The coordinator's data folder; a server that runs on it is asked.", valueName: "DIR"))
        var data: String

        @Option(
            help: ArgumentHelp("The PostgreSQL database of that folder's server, when it has one.", valueName: "postgres://…"))
        var store: String?

        @Option(help: ArgumentHelp("What the key may do: read, write, host, publish, admin. Repeatable.", valueName: "SCOPE"))
        var scope: [String]

        @Option(help: ArgumentHelp("The account that it acts for; made when missing.", valueName: "NAME"))
        var account = "default"

        @Option(help: ArgumentHelp("A name to know it by.", valueName: "NAME"))
        var name = ""

        @Flag(help: "Print JSON.")
        var json = false

        func validate() throws {
            try Serve.check(store: store)
            for scope in scope where !KeyCommand.scopes.contains(scope) {
                throw ValidationError("'\(scope)' is no scope; they are \(KeyCommand.scopes.joined(separator: ", ")).")
            }
        }

        func run() async throws {
            let made = try await KeyCommand.create(data: data, store: store, name: name, scopes: scope, account: account)
            say(json ? "{\"id\":\"\(made.id)\",\"key\":\"\(made.key)\"}" : made.key)
        }
    }
}
