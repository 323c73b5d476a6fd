import CargoClient
import CargoRunner
import FoundationEssentials
import SystemPackage

/// The files that `--input PATH[=NAME]` names; a folder stands for the regular files below it.
enum InputFiles {
    /// A folder may hold at most this many.
    static let maximum = 100_000

    static func expand(_ words: [String]) throws -> [RunRequest.Input] {
        var inputs: [RunRequest.Input] = []
        var names: Set<String> = []
        for word in words {
            let (path, name) = split(word)
            var isFolder = false
            guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) else {
                throw ClientError(status: 0, code: "no_input", message: "there is no input file '\(path)'")
            }
            for (inner, source) in isFolder ? try files(below: path) : [("", path)] {
                let full = inner.isEmpty ? name : name + "/" + inner
                guard OutputFolder.parts(of: full) != nil else {
                    throw ClientError(
                        status: 0, code: "bad_input", message: "'\(printable(full))' cannot be the name of an input")
                }
                guard names.insert(full).inserted else {
                    throw ClientError(
                        status: 0, code: "bad_input", message: "two inputs are called '\(full)'; rename one: --input PATH=NAME")
                }
                inputs.append(RunRequest.Input(name: full, path: FilePath(source)))
            }
        }
        return inputs
    }

    /// A path that exists is taken whole, also with an equals sign in it.
    private static func split(_ word: String) -> (path: String, name: String) {
        if !FileManager.default.fileExists(atPath: word), let equals = word.lastIndex(of: "="), equals != word.startIndex {
            return (String(word[..<equals]), String(word[word.index(after: equals)...]))
        }
        let path = FilePath(word).lexicallyNormalized()
        return (word, path.lastComponent?.string ?? "input")
    }

    private static func files(below folder: String) throws -> [(String, String)] {
        var found: [(String, String)] = []
        for inner in try FileManager.default.subpathsOfDirectory(atPath: folder).sorted() {
            let path = folder + "/" + inner
            let kind = try FileManager.default.attributesOfItem(atPath: path)[.type] as? FileAttributeType
            if kind == .typeRegular { found.append((inner, path)) }
            guard found.count <= maximum else {
                throw ClientError(status: 0, code: "bad_input", message: "'\(folder)' holds more than \(maximum) files")
            }
        }
        return found
    }
}
