import ArgumentParser
import CargoArtifact
import CargoClient
import CargoEndpoints
import CargoEngines
import CargoFiles
import CargoSigning
import CargoStore
import FoundationEssentials
import Glibc
import SystemPackage

/// What runs models and modules on this host.
struct EnginesCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "engines",
        abstract: "Show, add and check what runs models and modules here.",
        discussion: """
            An engine is a cargo of kind 'engine': a command template and what it serves. What of this host it may see is \
            granted here, by its owner, and never asked for by a cargo. The list is engines.json in $LONGSHORE_CONFIG.
            """,
        subcommands: [List.self, Add.self, Remove.self, Check.self])

    /// The owner's list.
    static func file() -> FilePath { ClientSettings.trustFile().removingLastComponent().appending("engines.json") }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "list", abstract: "List the engines that were added, and programs found on PATH that one could stand on."
        )
        @Flag(help: "Print one JSON object a line.") var json = false

        private struct Line: Encodable {
            var engine: String?
            var ready: Bool?
            var kinds: [CargoKind]?
            var reason: String?
            var url: String?
            var program: HostProgram?
        }

        func run() async throws {
            let store = try CacheCommand.open()
            let set = await EngineSet.load(store: store, list: EnginesCommand.file())
            if json {
                for engine in set.ready {
                    try CacheCommand.print(Line(engine: engine.entry.name, ready: true, kinds: engine.manifest.kinds))
                }
                for server in set.servers {
                    try CacheCommand.print(Line(engine: server.entry.name, ready: true, url: "\(server.server.address)"))
                }
                for refused in set.refused {
                    try CacheCommand.print(Line(engine: refused.name, ready: false, reason: refused.reason))
                }
                for program in HostProgram.found() { try CacheCommand.print(Line(program: program)) }
                return
            }
            for engine in set.ready {
                let kinds = engine.manifest.kinds.map(\.rawValue).joined(separator: ", ")
                let grants = engine.entry.grants.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
                print("\(engine.entry.name)  ready  runs \(kinds)  \(grants.joined(separator: " "))")
            }
            for server in set.servers { print("\(server.entry.name)  ready  server at \(server.server.address)") }
            for refused in set.refused { print("\(refused.name)  cannot be used: \(refused.reason)") }
            for program in HostProgram.found() {
                print("found \(program.name) at \(program.path)\(program.build.map { " (\($0))" } ?? "")")
            }
            if set.ready.isEmpty, set.servers.isEmpty, set.refused.isEmpty {
                say("no engine was added yet; see 'cargo-run engines add --help'")
            }
        }
    }

    struct Add: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "add", abstract: "Add an engine, and grant it what it may see of this host.",
            discussion: """
                cargo-run engines add cargos/engines/llama-cpp --grant llama-server
                cargo-run engines add llama-cpp-1.0.0.cargo --grant xllamacpp=/opt/venv

                cargo-run engines add cargos/engines/endpoint --url http://127.0.0.1:8000

                A folder is packed with 'longshore pack' first; as its owner you need not sign it. '--grant NAME' alone takes the \
                program of that name on PATH.
                """)

        @Argument(help: "A .cargo file, a folder with cargo.yaml, or the digest of a stored cargo.") var engine: String

        @Option(
            name: .customLong("grant"),
            help: ArgumentHelp("A path of this host for a name in the engine's command template.", valueName: "name[=path]"))
        var grants: [String] = []

        @Option(name: .customLong("visible"), help: ArgumentHelp("A further file or folder that it may read.", valueName: "path"))
        var visible: [String] = []

        @Option(help: "Where the server listens, of an engine that runs already; a folder of one's own may say it itself.")
        var url: String?
        @Option(name: .customLong("gpu"), help: "A GPU that it may use, numbered from 0.") var gpus: [Int] = []
        @Option(help: "Requests of one model at once.") var slots: Int?
        @Flag(help: "Let one instance serve several accounts, where the engine says that it takes data alone.") var trusted =
            false
        @Option(help: "The trust file. Default: trust.json in $LONGSHORE_CONFIG (~/.config/longshore).") var trust: String?
        @Flag(help: "Do not ask for a signature of a .cargo file.") var unsigned = false

        func run() async throws {
            do {
                try await add()
            } catch let refusal as Refusal {
                say("cargo-run engines: \(refusal)")
                throw ExitCode(ProgramExit.refused)
            } catch let code as ExitCode {
                throw code
            } catch {
                say("cargo-run engines: \(error)")
                throw ExitCode(ProgramExit.failed)
            }
        }

        private func add() async throws {
            let store = try CacheCommand.open()
            let cargo = try await stored(in: store)
            var entry = EngineList.Entry(name: cargo.config.name, digest: cargo.digest)
            var seen = visible
            for grant in grants {
                let parts = grant.split(separator: "=", maxSplits: 1).map(String.init)
                guard let name = parts.first, EngineManifest.isName(name) else {
                    throw Refusal("grant", "'\(grant)' is not NAME or NAME=PATH")
                }
                guard let path = parts.count == 2 ? EngineSet.absolute(parts[1]) : HostProgram.find(name) else {
                    throw Refusal("grant", "'\(parts.last ?? name)' is not there; give its path with --grant \(name)=PATH")
                }
                entry.grants[name] = path
                if parts.count == 1 { seen += HostProgram.found().first { $0.name == name }?.visible ?? [] }
            }
            entry.visible = seen.isEmpty ? nil : seen
            entry.gpus = gpus.isEmpty ? nil : gpus
            entry.slots = slots
            entry.trusted = trusted ? true : nil
            if let server = cargo.config.engineManifest?.server {
                entry.url = url ?? (isOwnFolder ? server.url : nil)
                _ = try ServerEngine(entry, cargo: cargo)
            } else {
                if url != nil { throw Refusal("url", "\(entry.name) is started here; --url is for a server that runs already") }
                _ = try ReadyEngine(entry, cargo: cargo)
            }
            var list = try EngineList(contentsOf: EnginesCommand.file())
            list.add(entry)
            try list.write(to: EnginesCommand.file())
            try store.pin(cargo.digest)
            print("\(cargo.config.name) \(cargo.digest)")
        }

        /// A folder of one's own, whose word is its owner's.
        private var isOwnFolder: Bool {
            var isFolder = false
            return FileManager.default.fileExists(atPath: engine, isDirectory: &isFolder) && isFolder
        }

        private func stored(in store: CargoStore) async throws -> StoredCargo {
            if let digest = Digest(engine) { return try await store.cargo(digest, policy: try policy()) }
            guard FileManager.default.fileExists(atPath: engine) else {
                throw Refusal("engine", "there is no file or folder '\(engine)'")
            }
            guard isOwnFolder else { return try store.ingest(archive: FilePath(engine), policy: try policy()) }
            let archive = store.root.appending("engine-\(getpid()).cargo")
            defer { unlink(archive.string) }
            try PackProgram.pack(engine, to: archive)
            // One's own folder: whoever may write engines.json may vouch for it.
            return try store.ingest(archive: archive, policy: .integrityOnly)
        }

        private func policy() throws -> VerificationPolicy {
            if unsigned { return .integrityOnly }
            return .trusted(try TrustPolicy(contentsOf: trust.map { FilePath($0) } ?? ClientSettings.trustFile()))
        }
    }

    struct Remove: ParsableCommand {
        static let configuration = CommandConfiguration(commandName: "rm", abstract: "Remove an engine from the list.")
        @Argument(help: "publisher/name of the engine.") var name: String

        func run() throws {
            var list = try EngineList(contentsOf: EnginesCommand.file())
            guard let entry = list.engines.first(where: { $0.name == name }) else {
                say("cargo-run engines: no engine '\(name)' was added")
                throw ExitCode(ProgramExit.failed)
            }
            list.engines.removeAll { $0.name == name }
            try list.write(to: EnginesCommand.file())
            try? CacheCommand.open().unpin(entry.digest)
        }
    }

    struct Check: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "check", abstract: "Start each engine confined with a model of this host's store and ask it something.",
            discussion:
                "An engine with no model in the store is only started as far as its grants go. Exit 1 when one does not work.")
        @Flag(help: "Print one JSON object a line.") var json = false

        private struct Line: Encodable {
            var engine: String
            var works: Bool
            var message: String
        }

        func run() async throws {
            let store = try CacheCommand.open()
            var isGood = true
            for finding in await EngineCheck(store: store, list: EnginesCommand.file()).run() {
                isGood = isGood && finding.works
                if json {
                    try CacheCommand.print(Line(engine: finding.engine, works: finding.works, message: finding.message))
                } else {
                    print("\(finding.engine)  \(finding.works ? "works" : "does not work"): \(finding.message)")
                }
            }
            if !isGood { throw ExitCode(ProgramExit.failed) }
        }
    }
}

/// `longshore pack`, the only program that reads YAML.
private enum PackProgram {
    static func pack(_ folder: String, to archive: FilePath) throws {
        let own = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        let beside = own.map { FilePath($0).removingLastComponent().appending("longshore").string }
        let program = beside.flatMap { access($0, X_OK) == 0 ? $0 : nil } ?? "longshore"
        let words: [String] = [program, "pack", folder, "-o", archive.string, "--json"]
        var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
        defer { for argument in arguments { free(argument) } }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0)
        var process: pid_t = 0
        guard posix_spawnp(&process, program, &actions, nil, &arguments, environ) == 0 else {
            throw Refusal(
                "pack", "'longshore' is not beside cargo-run and not on PATH; pack the folder elsewhere and add the .cargo file")
        }
        var status: Int32 = 0
        while waitpid(process, &status, 0) < 0, errno == EINTR {}
        guard status == 0 else { throw Refusal("pack", "'\(folder)' cannot be packed; see above") }
    }
}
