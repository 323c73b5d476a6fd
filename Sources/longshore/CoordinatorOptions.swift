import ArgumentParser
import CargoClient
import SystemPackage

/// Which coordinator a command speaks to; flags win over `LONGSHORE_*` and `config.json`.
struct CoordinatorOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The coordinator. Default: LONGSHORE_URL, then 'longshore login'.", valueName: "url"))
    var url: String?

    @Option(
        name: .customLong("api-key-file"), help: ArgumentHelp("A file with the API key in its first line.", valueName: "file"))
    var apiKeyFile: String?

    func client(connections: Int = 8) throws -> CoordinatorClient {
        var flags = ClientSettings(url: url)
        if let apiKeyFile { flags.apiKey = try ClientSettings.key(from: FilePath(apiKeyFile)) }
        return try ClientSettings.load(flags: flags).client(connections: connections)
    }
}
