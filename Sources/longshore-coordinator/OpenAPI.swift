import ArgumentParser
import CargoCoordinator

/// `openapi`: the API's document on standard output.
struct OpenAPI: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "openapi", abstract: "Prints the OpenAPI document of the HTTP API.")

    func run() throws { say(try OpenAPICommand.text()) }
}
