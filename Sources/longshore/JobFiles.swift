import CargoClient
import CargoFiles
import CargoWire
import FoundationEssentials
import SystemPackage

/// The files of a submit: small ones travel inside it, large ones before it.
enum JobFiles {
    /// A file of at most this many bytes travels inside the request.
    static let inline = 32 << 10
    /// All that travels inside one request.
    static let inlineTotal = 512 << 10

    static func send(_ words: [String], _ client: CoordinatorClient) async throws -> [JobRequest.File] {
        var files: [JobRequest.File] = []
        var names: Set<String> = []
        var left = inlineTotal
        for word in words {
            let (path, name) = split(word)
            guard OutputFolder.parts(of: name) != nil else {
                throw ClientError(status: 0, code: "bad_input", message: "'\(printable(name))' cannot be the name of an input")
            }
            guard names.insert(name).inserted else {
                throw ClientError(
                    status: 0, code: "bad_input", message: "two files are called '\(name)'; rename one: --file PATH=NAME")
            }
            let file = try File.open(path)
            let status = try file.status()
            guard status.kind == .regular else {
                throw ClientError(status: 0, code: "bad_input", message: "\(path) is not a regular file")
            }
            if status.size <= Int64(min(inline, left)) {
                let bytes = try file.contents(limit: inline)
                left -= bytes.count
                files.append(.init(name: name, content: Data(bytes).base64EncodedString()))
            } else {
                files.append(.init(name: name, upload: try await client.upload(file).id))
            }
        }
        return files
    }

    /// A path that exists is taken whole, also with an equals sign in it.
    private static func split(_ word: String) -> (FilePath, String) {
        if !FileManager.default.fileExists(atPath: word), let equals = word.lastIndex(of: "="), equals != word.startIndex {
            return (FilePath(String(word[..<equals])), String(word[word.index(after: equals)...]))
        }
        let path = FilePath(word)
        return (path, path.lastComponent?.string ?? "input")
    }
}
