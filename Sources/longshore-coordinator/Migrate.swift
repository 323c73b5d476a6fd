import ArgumentParser
import CargoCoordinator

/// `migrate`: brings the tables up to this program.
struct Migrate: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Brings a store's tables up to this program.",
        discussion: "`serve` does the same at its start. Migrations go forward only: keep a copy of the data folder before.")

    @Option(help: ArgumentHelp("The data folder; no coordinator may be running on it.", valueName: "DIR"))
    var data: String

    @Option(help: ArgumentHelp("The PostgreSQL database, when it has one.", valueName: "postgres://…"))
    var store: String?

    func validate() throws { try Serve.check(store: store) }

    func run() throws { say(try MigrateCommand.run(data: data, store: store)) }
}
