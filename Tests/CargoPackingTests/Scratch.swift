import CargoFiles
import Glibc
import SystemPackage

/// Runs `body` with a folder of its own that is removed afterwards.
func withScratch<Result>(_ body: (Folder) throws -> Result) throws -> Result {
    var generator = SystemRandomNumberGenerator()
    let name = "longshore-test-" + String(generator.next(), radix: 36)
    let parent = try Folder.open("/tmp")
    try parent.makeFolder(name)
    defer { try? parent.removeTree(name) }
    return try body(try parent.folder(name))
}

/// Runs a shell command; its exit status and everything it printed.
func shell(_ command: String) -> (status: Int32, output: String) {
    guard let stream = popen("{ " + command + " ; } 2>&1", "r") else { return (-1, "popen failed") }
    var output: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
        let count = fread(&buffer, 1, buffer.count, stream)
        if count == 0 { break }
        output += buffer[..<count]
    }
    let status = pclose(stream)
    return (status >> 8 & 0xFF, String(decoding: output, as: UTF8.self))
}

/// Whether a program is installed.
func has(_ program: String) -> Bool { shell("command -v " + program).status == 0 }
