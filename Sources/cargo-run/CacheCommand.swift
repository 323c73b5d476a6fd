import ArgumentParser
import CargoArtifact
import CargoClient
import CargoCommands
import CargoFiles
import CargoRunner
import CargoSigning
import CargoStore
import FoundationEssentials
import Glibc
import SystemPackage

/// What is stored on this machine, and what may go.
struct CacheCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cache",
        abstract: "Show and tend the cargos stored on this machine.",
        subcommands: [Add.self, Prefetch.self, List.self, Use.self, Collect.self, Pin.self, Unpin.self, Check.self, Remove.self])

    static func open() throws -> CargoStore { try CargoStore(root: CargoStore.defaultRoot()) }

    static func print(_ value: some Encodable) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        Swift.print(String(decoding: try encoder.encode(value), as: UTF8.self))
    }

    /// A digest as written or by the start of its hexadecimal digits, or `publisher/name:version`.
    static func digest(_ text: String, in store: CargoStore) throws -> Digest {
        if let digest = Digest(text) { return digest }
        let found = try store.entries().filter { entry in
            "\(entry.name):\(entry.version)" == text || (text.utf8.count >= 6 && entry.digest.hex.hasPrefix(text))
        }
        guard let first = found.first else {
            throw Refusal("not-stored", "'\(text)' is not in the store; see 'cargo-run cache ls'")
        }
        guard found.count == 1 else {
            throw Refusal("ambiguous", "'\(text)' fits \(found.count) cargos; write more of the digest")
        }
        return first.digest
    }

    struct Add: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "add", abstract: "Verify a .cargo file and store it, without running it.")
        @Argument(help: "A .cargo file; - reads one from the standard input.") var file: String
        @Option(help: "The trust file. Default: trust.json in $LONGSHORE_CONFIG (~/.config/longshore).") var trust: String?
        @Flag(help: "Do not ask for a signature.") var unsigned = false
        @Flag(help: "Print JSON.") var json = false

        func run() throws {
            var policy = VerificationPolicy.integrityOnly
            if !unsigned {
                policy = .trusted(try TrustPolicy(contentsOf: trust.map { FilePath($0) } ?? ClientSettings.trustFile()))
            }
            do {
                let stored = try CacheCommand.open().ingest(
                    archive: try File.openOrStandardInput(FilePath(file)), policy: policy)
                if json { return try CacheCommand.print(["digest": stored.digest.description]) }
                Swift.print("\(stored.digest)")
            } catch let refusal as Refusal {
                say("\(refusal)")
                throw ExitCode(ProgramExit.refused)
            }
        }
    }

    struct Prefetch: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "prefetch", abstract: "Pull a container image ahead of its first job; prints its id.",
            discussion: """
                Pulled without any login, unless --registry-config names one, it is this host's own to offer to jobs and, over \
                the agent's image budget, to remove. What a login was needed for stays the owner's alone.
                """)
        @Argument(help: "NAME[:TAG] or NAME@sha256:DIGEST.") var image: String
        @Option(
            name: .customLong("registry-config"),
            help: ArgumentHelp("Pull with the logins of this config.json ('docker login').", valueName: "file"))
        var registryConfig: String?
        @Flag(help: "Print JSON.") var json = false

        func run() async throws {
            let settings = ContainerSettings(
                agent: "cargo-run", trust: .owner(credentials: registryConfig.map { FilePath($0) }))
            let isTerminal = isatty(STDERR_FILENO) == 1
            do {
                let id = try await settings.prefetch(image, store: try CacheCommand.open()) { progress in
                    if isTerminal { say("\(progress.phase) \(progress.current >> 20) of \(progress.total >> 20) MiB") }
                }
                if json { return try CacheCommand.print(["id": "\(id)"]) }
                Swift.print(id)
            } catch let refusal as Refusal {
                say("\(refusal)")
                throw ExitCode(ProgramExit.refused)
            } catch let failure as RunFailure {
                say("\(failure)")
                throw ExitCode(ProgramExit.failed)
            }
        }
    }

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "ls", abstract: "List the stored cargos, the least recently used first.")
        @Flag(help: "Print one JSON object a line.") var json = false

        func run() throws {
            for entry in try CacheCommand.open().entries() {
                if json {
                    try CacheCommand.print(entry)
                } else {
                    let marks = (entry.pinned ? " pinned" : "") + (entry.inUse ? " in use" : "")
                    Swift.print("\(entry.digest.hex.prefix(12))  \(entry.size)  \(entry.name):\(entry.version)\(marks)")
                }
            }
        }
    }

    struct Use: ParsableCommand {
        static let configuration = CommandConfiguration(commandName: "du", abstract: "Show the bytes on disk.")
        @Flag(help: "Print JSON.") var json = false

        private struct Answer: Encodable {
            var blobs, trees, temporary, partial, total: Int64

            init(_ use: CacheUse) {
                (blobs, trees, temporary, partial) = (use.blobs, use.trees, use.temporary, use.partial)
                total = use.total
            }
        }

        func run() throws {
            let use = try CacheCommand.open().diskUse()
            if json { return try CacheCommand.print(Answer(use)) }
            let rows = [("blobs", use.blobs), ("trees", use.trees), ("temporary", use.temporary), ("partial", use.partial)]
            for (name, bytes) in rows + [("total", use.total)] { Swift.print("\(name) \(bytes)") }
        }
    }

    struct Collect: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "gc", abstract: "Remove what no cargo needs, and the least recently used cargos over a budget.",
            discussion: """
                Pinned cargos and ones in use stay. A transfer that broke off goes after a week, over the budget at once.
                """)
        @Option(help: "Bytes that may stay, such as 50GiB. Default: no cargo is evicted.") var maxBytes: ByteCount?
        @Flag(help: "Print JSON.") var json = false

        func run() throws {
            let result = try CacheCommand.open().collect(budget: maxBytes?.bytes ?? .max)
            if json { return try CacheCommand.print(result) }
            for digest in result.evicted { Swift.print("evicted \(digest)") }
            Swift.print("\(result.before - result.after) bytes freed, \(result.after) left")
        }
    }

    struct Pin: ParsableCommand {
        static let configuration = CommandConfiguration(commandName: "pin", abstract: "Keep a cargo until it is unpinned.")
        @Argument(help: "A digest, the start of one, or publisher/name:version.") var cargo: String

        func run() throws {
            let store = try CacheCommand.open()
            try store.pin(try CacheCommand.digest(cargo, in: store))
        }
    }

    struct Unpin: ParsableCommand {
        static let configuration = CommandConfiguration(commandName: "unpin", abstract: "Let a pinned cargo be evicted again.")
        @Argument(help: "A digest, the start of one, or publisher/name:version.") var cargo: String

        func run() throws {
            let store = try CacheCommand.open()
            try store.unpin(try CacheCommand.digest(cargo, in: store))
        }
    }

    struct Check: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "verify", abstract: "Hash everything again; what is damaged is removed and named (exit 1).")
        @Flag(help: "Print one JSON object a line.") var json = false

        func run() throws {
            let defects = try CacheCommand.open().check()
            for defect in defects {
                if json {
                    try CacheCommand.print(defect)
                } else {
                    Swift.print("\(defect.kind) \(defect.digest): \(defect.message)")
                }
            }
            if !defects.isEmpty { throw ExitCode(1) }
            if !json { Swift.print("nothing is damaged") }
        }
    }

    struct Remove: ParsableCommand {
        static let configuration = CommandConfiguration(commandName: "rm", abstract: "Remove a cargo and what only it needed.")
        @Argument(help: "A digest, the start of one, or publisher/name:version.") var cargo: String

        func run() throws {
            let store = try CacheCommand.open()
            try store.remove(try CacheCommand.digest(cargo, in: store))
        }
    }
}
