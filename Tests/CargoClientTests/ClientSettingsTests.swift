import Glibc
import SystemPackage
import Testing

@testable import CargoClient

@Suite struct ClientSettingsTests {
    @Test func `flags win over variables, variables over the file, an empty variable is none`() {
        let file = ClientSettings(url: "http://file", apiKey: "file")
        #expect(
            ClientSettings.merged(
                flags: ClientSettings(url: "http://flag"),
                environment: ["LONGSHORE_URL": "http://env", "LONGSHORE_API_KEY": "env"],
                file: file) == ClientSettings(url: "http://flag", apiKey: "env"))
        #expect(ClientSettings.merged(flags: ClientSettings(), environment: ["LONGSHORE_URL": ""], file: file) == file)
    }

    @Test func `what login writes is read back, and nobody else may read it`() throws {
        let scratch = try Scratch()
        let environment = ["LONGSHORE_CONFIG": scratch.path.appending("deep/config").string]
        let settings = ClientSettings(url: "http://127.0.0.1:1", apiKey: "secret")
        let path = try settings.save(environment: environment)
        #expect(try ClientSettings.load(environment: environment) == settings)
        var status = stat()
        #expect(stat(path.string, &status) == 0 && status.st_mode & 0o777 == 0o600)
        #expect(try ClientSettings(url: "http://127.0.0.1:2", apiKey: "other").save(environment: environment) == path)
        #expect(try ClientSettings.load(environment: environment).apiKey == "other")
    }

    @Test func `a config file that is not JSON is an error with its name`() throws {
        let scratch = try Scratch()
        try scratch.write("url: yaml", to: "config.json")
        let error = #expect(throws: ClientError.self) {
            try ClientSettings.load(environment: ["LONGSHORE_CONFIG": scratch.path.string])
        }
        #expect(error?.message.contains("config.json") == true)
    }

    @Test func `a key file holds a key in its first line`() throws {
        let scratch = try Scratch()
        try scratch.write("lsk_abc\n", to: "good")
        try scratch.write("two words\n", to: "bad")
        #expect(try ClientSettings.key(from: scratch.path.appending("good")) == "lsk_abc")
        #expect(throws: ClientError.self) { try ClientSettings.key(from: scratch.path.appending("bad")) }
        #expect(throws: ClientError.self) { try ClientSettings.key(from: scratch.path.appending("none")) }
    }

    @Test(arguments: ["", "ftp://host", "http://", "host:80", "http://user@host", "http://host?x=1"])
    func `a URL that is none of a coordinator is refused`(url: String) {
        #expect(throws: ClientError.self) { try CoordinatorClient(url: url, token: nil) }
    }
}
