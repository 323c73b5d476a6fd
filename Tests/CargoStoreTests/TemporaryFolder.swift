import CargoFiles
import SystemPackage

/// Runs `body` with a folder of its own that is removed afterwards.
func withTemporaryFolder<Result>(_ body: (Folder) throws -> Result) throws -> Result {
    var generator = SystemRandomNumberGenerator()
    let name = "longshore-test-" + String(generator.next(), radix: 36)
    let parent = try Folder.open("/tmp")
    try parent.makeFolder(name)
    defer { try? parent.removeTree(name) }
    return try body(try parent.folder(name))
}
