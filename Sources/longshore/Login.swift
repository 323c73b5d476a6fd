import ArgumentParser
import CargoClient
import SystemPackage

/// Remembers a coordinator and a key for the commands after it.
struct Login: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Remember a coordinator and an API key.",
        discussion: "Writes $LONGSHORE_CONFIG/config.json (~/.config/longshore), readable by you alone.")

    @Argument(help: "http(s)://HOST[:PORT]")
    var url: String

    @Option(
        name: .customLong("api-key-file"), help: ArgumentHelp("A file with the API key in its first line.", valueName: "file"))
    var apiKeyFile: String

    func run() async throws {
        let settings = ClientSettings(url: url, apiKey: try ClientSettings.key(from: FilePath(apiKeyFile)))
        let client = try settings.client()
        do {
            _ = try await client.jobs(limit: 1)
        } catch let error as ClientError where error.status == 403 {
            // A key that may not read jobs (a host's, a publisher's) is a key all the same.
        }
        let path = try ClientSettings(url: client.url, apiKey: settings.apiKey).save()
        Streams.note("logged in to \(client.url); remembered in \(path)")
    }
}
