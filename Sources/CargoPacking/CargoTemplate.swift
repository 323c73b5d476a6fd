public import CargoArtifact
internal import CargoFiles
public import SystemPackage

/// A small working example of each kind, as `longshore init` writes it.
public struct CargoTemplate: Sendable {
    public let kind: CargoKind

    public init(kind: CargoKind) { self.kind = kind }

    /// Writes the files into a folder and returns their names; refused when one of them exists already.
    public func write(to path: FilePath) throws -> [String] {
        let folder = try Folder.open(path, create: 0o755)
        let name = CargoTemplate.name(of: path)
        let files = contents(name: name)
        for (file, _) in files where try folder.status(file) != nil {
            throw SourceFailure(path.appending(file).string, "exists already; choose an empty folder")
        }
        for (file, text) in files { try folder.writeDurably(file, Array(text.utf8), permissions: 0o644) }
        return files.map(\.0)
    }

    /// A name that a cargo may have, from a folder's.
    private static func name(of path: FilePath) -> String {
        let last = path.lastComponent?.string.lowercased() ?? ""
        let plain = String(last.unicodeScalars.map { ("a"..."z").contains($0) || ("0"..."9").contains($0) ? Character($0) : "-" })
        let parts = plain.split(separator: "-")
        let joined = parts.joined(separator: "-").prefix(64)
        return CargoName("example/" + joined) == nil ? "hello" : String(joined)
    }

    private func contents(name: String) -> [(String, String)] {
        let head = """
            # yaml-language-server: $schema=../docs/cargo.schema.json
            name: example/\(name)
            version: 0.1.0
            kind: \(kind.rawValue)

            """
        let ignore = (".cargoignore", ".git\n.env\n*.md\n")
        switch kind {
        case .process, .engine: return [("cargo.yaml", head + process), ("main.sh", CargoTemplate.script), ignore]
        case .container: return [("cargo.yaml", head + CargoTemplate.container), ("README.md", CargoTemplate.imageNote), ignore]
        case .gguf, .onnx: return [("cargo.yaml", head + model), ("README.md", modelNote), ignore]
        case .wasm:
            return [
                ("cargo.yaml", head + CargoTemplate.wasm), ("main.wat", CargoTemplate.wat), ("README.md", CargoTemplate.watNote),
                ignore,
            ]
        }
    }

    private var process: String {
        """
        description: Counts the bytes of its input files.
        command: [/bin/sh, main.sh]
        resources: {cpu: 1, memory: 256MiB, pids: 32, time: 1m}

        """
    }

    private static let script = """
        set -eu
        for file in "$CARGO_INPUT"/*; do
            [ -f "$file" ] || continue
            wc -c < "$file" > "$CARGO_OUTPUT/$(basename "$file").count"
        done
        echo "done"

        """

    private static let container = """
        description: Runs a command of an image that travels inside the cargo.
        image: {bundled: image.tar}
        command: [/bin/echo, hello]
        resources: {cpu: 1, memory: 256MiB, pids: 64, time: 5m}

        """

    private static let imageNote = """
        Put the image beside cargo.yaml before packing:

            docker save -o image.tar alpine:3.20

        """

    private var model: String {
        """
        description: A model.
        model:
          weights: model.\(kind.rawValue)
        # memory is estimated from the model's header when it is left out
        resources: {cpu: 2, time: 10m}

        """
    }

    private var modelNote: String {
        """
        Put model.\(kind.rawValue) beside cargo.yaml before packing. The files of a split model, and an ONNX model's external
        data, are found from the first file and become layers of their own.

        """
    }

    private static let wasm = """
        description: A WebAssembly module for WASI.
        command: [main.wasm]
        files: [main.wasm]
        resources: {cpu: 1, memory: 256MiB, time: 1m}

        """

    private static let wat = #"""
        (module
          (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 1)
          (data (i32.const 8) "hello\0a")
          (func (export "_start")
            (i32.store (i32.const 0) (i32.const 8))
            (i32.store (i32.const 4) (i32.const 6))
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 20)))))

        """#

    private static let watNote = """
        Translate the module before packing:

            wat2wasm main.wat -o main.wasm

        """
}
