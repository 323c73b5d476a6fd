internal import CargoArtifact
public import CargoStore
internal import Glibc
public import SystemPackage

/// The program that runs a cargo's model or module where the cargo brings none itself.
///
/// The cargo's own files stay at `/cargo`; the engine's are at `/engine`. Of this host it sees what its owner granted.
public struct EngineUse: Sendable {
    /// Where the engine's own files are.
    public static let folder = "/engine"
    /// Where it listens.
    public static let socket = JobEnvironment.socket
    /// Where models of the host are asked.
    public static let models = "/job/models/" + modelSocketName
    static let modelSocketName = "models.sock"
    /// Stands for the job's environment in a command.
    public static let environmentWord = "{" + EngineManifest.Word.environment.rawValue + "}"

    public var cargo: StoredCargo
    /// The whole command, paths as they are inside; the element `{environment}` becomes `--env NAME=VALUE` for each name.
    public var command: [String]
    /// Files and folders of this host that are visible read-only at their own paths: the owner's word, never a cargo's.
    public var grants: [FilePath]

    public init(cargo: StoredCargo, command: [String], grants: [FilePath] = []) {
        self.cargo = cargo
        self.command = command
        self.grants = grants
    }

    /// Paths of a host that no engine gets, and places that mean something else inside.
    private static let reserved = ["/proc", "/sys", "/dev", "/run", "/job", "/cargo", "/engine", "/tmp", "/etc"]

    /// Refuses a grant that would hide or open what a job may not have.
    public static func check(_ path: FilePath) throws {
        let text = path.lexicallyNormalized().string
        guard path.isAbsolute, text == path.string, text != "/",
            !reserved.contains(where: { text == $0 || text.hasPrefix($0 + "/") })
        else {
            throw Refusal(
                "grant",
                "'\(path)' cannot be granted to an engine; grant an absolute path outside of \(reserved.joined(separator: " "))")
        }
    }

    /// What is bound for the grants; what lies below `/usr` is visible anyway.
    func shares() throws -> [(path: FilePath, isFolder: Bool)] {
        var taken: [FilePath] = []
        for path in grants.sorted(by: { $0.string < $1.string }) where !path.starts(with: "/usr") {
            try EngineUse.check(path)
            // One that lies in another is there already.
            if !taken.contains(where: { path.starts(with: $0) }) { taken.append(path) }
        }
        return try taken.map { path in
            var status = stat()
            guard stat(path.string, &status) == 0 else {
                throw Refusal("grant", "'\(path)', which was granted to the engine, is not there; run 'cargo-run engines check'")
            }
            return (path, status.st_mode & S_IFMT == S_IFDIR)
        }
    }

    /// The command with the environment spelled out where it is asked for.
    func command(environment: [(name: String, value: String)]) -> [String] {
        command.flatMap { element in
            element == EngineUse.environmentWord ? environment.flatMap { ["--env", "\($0.name)=\($0.value)"] } : [element]
        }
    }
}
