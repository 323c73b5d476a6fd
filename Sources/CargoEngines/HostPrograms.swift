internal import CargoArtifact
internal import FoundationEssentials
internal import Glibc
internal import SystemPackage

/// Programs of this host that engines can stand on, as `cargo-run engines list` shows them.
public struct HostProgram: Hashable, Sendable, Codable {
    /// The name that an engine's template asks for.
    public var name: String
    public var path: String
    /// How it was built or which version it is, where it says.
    public var build: String?
    /// Folders with libraries of its own, which an engine that stands on it must see too.
    public var visible: [String]

    /// The names that are looked for on PATH.
    static let names = ["llama-server", "wasmkit", "wasmtime", "ollama"]

    /// - Parameter path: folders as in PATH, which nil takes.
    public static func found(path: String? = nil) -> [HostProgram] {
        names.compactMap { name -> HostProgram? in
            guard let file = find(name, path: path) else { return nil }
            let program = FilePath(file)
            return HostProgram(
                name: name, path: file, build: name == "llama-server" ? llamaBuild(beside: program) : nil,
                visible: libraries(of: program))
        }
    }

    /// The real path of a program on PATH.
    public static func find(_ name: String, path: String? = nil) -> String? {
        let path = path ?? getenv("PATH").map { String(cString: $0) } ?? ""
        for folder in path.split(separator: ":") where folder.hasPrefix("/") {
            let file = "\(folder)/\(name)"
            guard access(file, X_OK) == 0, let real = realpath(file, nil) else { continue }
            defer { free(real) }
            return String(cString: real)
        }
        return nil
    }

    /// What a `llama-server` can compute with, told by the backends that lie beside it or in its library folder; nothing of it is run.
    static func llamaBuild(beside program: FilePath) -> String {
        let folder = program.removingLastComponent()
        let folders = [folder, folder.removingLastComponent().appending("lib")]
        let names = folders.flatMap { (try? FileManager.default.contentsOfDirectory(atPath: $0.string)) ?? [] }
        return llamaBuild(files: names)
    }

    /// By the names of ggml's backends.
    static func llamaBuild(files: [String]) -> String {
        for (word, build) in [("cuda", "CUDA"), ("hip", "ROCm"), ("vulkan", "Vulkan"), ("metal", "Metal"), ("sycl", "SYCL")]
        where files.contains(where: { $0.hasPrefix("libggml-\(word)") }) { return build }
        return "CPU"
    }

    /// The library folders of a program that lies outside of `/usr`, as its toolchain arranges them.
    static func libraries(of program: FilePath) -> [String] {
        guard !program.starts(with: "/usr") else { return [] }
        let folder = program.removingLastComponent()
        return [
            folder, folder.removingLastComponent().appending("lib/swift/linux"), folder.removingLastComponent().appending("lib"),
        ]
        .filter(hasLibraries).prefix(2).map(\.string)
    }

    private static func hasLibraries(_ folder: FilePath) -> Bool {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.string)) ?? []
        return names.contains { $0.hasSuffix(".so") || $0.contains(".so.") }
    }
}
