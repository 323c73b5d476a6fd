import ArgumentParser
import CargoArtifact
import CargoClient
import CargoCommands
import CargoEngines
import CargoFiles
import CargoRunner
import CargoSigning
import CargoStore
import CargoWire
import Dispatch
import FoundationEssentials
import Glibc
import Synchronization
import SystemPackage

/// Runs one cargo here, in the foreground.
struct RunCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run",
        abstract: "Run one cargo here and now (the default).",
        discussion: """
            The cargo's standard output and error become this program's own; a short outcome follows on standard error. \
            With --json every event is one JSON object a line on standard output, the last one the outcome.

            Outputs that the cargo leaves in /job/output go to --output DIR; without it they are kept in ./NAME-output \
            (NAME-output-2 … when that exists), and no folder is made when there are none.

            SIGINT and SIGTERM stop the job within its grace; a second SIGINT ends at once.
            """)

    enum Backend: String, ExpressibleByArgument, CaseIterable { case sandbox, docker, auto }

    @Argument(
        help:
            "A .cargo file, - for one from the standard input, or publisher/name:version of the coordinator that 'longshore login' names."
    )
    var cargo: String

    @Option(help: "The trust file. Default: trust.json in $LONGSHORE_CONFIG (~/.config/longshore).")
    var trust: String?

    @Flag(help: "Run it without asking for a signature: only for what you made yourself. A trust file in audit mode is heard.")
    var unsigned = false

    @Option(name: .customLong("param"), help: ArgumentHelp("A parameter; JSON where it parses, else text.", valueName: "k=v"))
    var parameters: [ParameterPair] = []

    @Option(name: .customLong("env"), help: ArgumentHelp("A variable that the cargo allows (job-env).", valueName: "k=v"))
    var environment: [TextPair] = []

    @Option(
        name: .customLong("input"),
        help: ArgumentHelp("A file, or a folder of files, that appears below /job/input.", valueName: "path[=name]"))
    var inputs: [String] = []

    @Option(help: ArgumentHelp("Where output files go.", valueName: "dir"))
    var output: String?

    @Option(help: "Most run time, e.g. 10s or 5m; never more than the cargo's own.")
    var time: Seconds?

    @Option(help: "Most memory, e.g. 1GiB; never more than the cargo's own.")
    var memory: ByteCount?

    @Option(name: .customLong("cpu-time"), help: "Most processor time, e.g. 30s; never more than the cargo's own.")
    var cpuTime: Seconds?

    @OptionGroup var hostLimits: HostLimits

    @Option(help: "How it is confined.")
    var backend: Backend = .auto

    @Option(
        name: .customLong("registry-config"),
        help: ArgumentHelp("Pull container images with the logins of this config.json ('docker login').", valueName: "file"))
    var registryConfig: String?

    @Option(
        name: .customLong("allow-missing"),
        help: ArgumentHelp("Run though this host lacks the mechanism (cgroup, landlock …).", valueName: "name"))
    var allowMissing: [String] = []

    @Option(help: ArgumentHelp("Seconds between SIGTERM and SIGKILL.", valueName: "seconds"))
    var grace: Double = 5

    @Flag(
        name: .customLong("seccomp-trace"),
        help: "List the system calls that the sandbox denied, by name and count, on standard error. The job is slower for it.")
    var seccompTrace = false

    @Flag(help: "Print one JSON object a line.")
    var json = false

    @Argument(parsing: .postTerminator, help: "Appended to the cargo's command.")
    var arguments: [String] = []

    func run() async throws {
        throw ExitCode(await code())
    }

    /// Never throws: every end has its code and its sentence.
    private func code() async -> Int32 {
        do {
            return try await runCargo()
        } catch let refusal as Refusal {
            say("cargo-run: \(refusal)")
            return ProgramExit.refused
        } catch let failure as RunFailure {
            say("cargo-run: \(failure)")
            return failure.exitCode
        } catch is CancellationError {
            return 130
        } catch {
            say("cargo-run: \(error)")
            return ProgramExit.runtimeFailed
        }
    }

    private func runCargo() async throws -> Int32 {
        let store = try CargoStore(root: CargoStore.defaultRoot())
        let stored = try await ingest(into: store)
        let place = try OutputPlace(asked: output, name: CargoName(stored.config.name))
        var request = RunRequest(cargo: stored, jobID: UUIDv7.make(), output: place.folder)
        request.arguments = arguments
        request.parameters = Dictionary(parameters.map { ($0.name, $0.value) }, uniquingKeysWith: { $1 })
        request.environment = Dictionary(environment.map { ($0.name, $0.value) }, uniquingKeysWith: { $1 })
        request.limits = Resources(memory: memory, time: time, cpuTime: cpuTime)
        request.allowMissing = Set(allowMissing)
        request.grace = grace
        request.logLimits = hostLimits.log
        request.diskRate = hostLimits.diskRate?.bytes
        request.backend = RunBackend(rawValue: backend.rawValue) ?? .auto
        request.containers = ContainerSettings(
            agent: "cargo-run", trust: .owner(credentials: registryConfig.map { FilePath($0) }))
        request.tracesCalls = seccompTrace
        let outcome: RunOutcome
        do {
            request.inputs = try InputFiles.expand(inputs)
            outcome = try await supervise(request, store)
        } catch {
            place.abandon()
            throw error
        }
        let folder = try place.settle(outcome.outputs)
        if seccompTrace {
            let denied = outcome.deniedCalls.sorted { $0.key < $1.key }.map { "  \($0.key) \($0.value)" }
            say(
                (["the sandbox denied \(denied.isEmpty ? "no system call" : "these system calls:")"] + denied).joined(
                    separator: "\n"))
        }
        if json {
            try? await StandardOutput().write(try RunReport.line(for: outcome, folder: folder), to: STDOUT_FILENO)
        } else {
            say(RunReport.text(for: outcome, folder: folder))
        }
        return ProgramExit.code(of: RunReport.exit(of: outcome), limit: outcome.limit != nil)
    }

    private func ingest(into store: CargoStore) async throws -> StoredCargo {
        let policy = try policy()
        if cargo == "-" || FileManager.default.fileExists(atPath: cargo) {
            return try store.ingest(archive: try File.openOrStandardInput(FilePath(cargo)), policy: policy)
        }
        guard let reference = CargoReference(cargo) else {
            throw ClientError(
                status: 0, code: "no_cargo",
                message: "there is no file '\(cargo)', and it is no publisher/name:version either")
        }
        let registry = RegistryClient(try ClientSettings.load().client(), name: reference.name)
        let digest: Digest
        var isTag = false
        switch reference.selector {
        case .digest(let exact): digest = exact
        case .version:
            digest = Digest(of: try await registry.manifest(reference.tagOrDigest))
            isTag = true
        }
        let exact = CargoReference(name: reference.name, selector: .digest(digest))
        let meter = TransferMeter()
        defer { meter.end() }
        let origin = RegistryOrigin(registry, reference: exact) { meter.show(RegistryOrigin.name(of: $0), $1) }
        // Whoever names a digest has chosen; a tag may be led back to what was replaced.
        return try await store.ingest(from: origin, digest: digest, as: reference, policy: policy, guardingRollback: isTag)
    }

    /// With `--unsigned` a signature is not asked for, but a trust file in audit mode says what it would have refused.
    private func policy() throws -> VerificationPolicy {
        guard unsigned else { return .trusted(try loadTrust()) }
        // A file that cannot be read forbids nothing to who asked for no check.
        guard let policy = try? loadTrust(), policy.mode == .audit else { return .integrityOnly }
        return .audited(policy) { say("cargo-run: audit: without --unsigned this would be \($0)") }
    }

    /// Without a trust file no signature is trusted, which the store then says in its own words.
    private func loadTrust() throws -> TrustPolicy {
        if let trust { return try TrustPolicy(contentsOf: FilePath(trust)) }
        do {
            return try TrustPolicy(contentsOf: ClientSettings.trustFile())
        } catch let failure as FileFailure where failure.errno == .noSuchFileOrDirectory {
            return TrustPolicy()
        }
    }

    /// Runs while passing events on; a signal, or a reader that is gone, stops the job.
    private func supervise(_ request: RunRequest, _ store: CargoStore) async throws -> RunOutcome {
        let output = StandardOutput()
        let shown = ShownLog()
        let json = json
        let stopper = Stopper()
        let signals = Signals { number in
            if stopper.stop() > 1, number == SIGINT { Glibc.exit(130) }
        }
        defer { withExtendedLifetime(signals) {} }
        let memory = Int64(sysconf(Int32(_SC_PHYS_PAGES))) * Int64(sysconf(Int32(_SC_PAGESIZE)))
        let models = EngineRunner.Models.stored(try policy(), memory: memory / 4 * 3)
        return try await withThrowingTaskGroup(of: RunOutcome?.self) { group in
            group.addTask {
                try await EngineRunner(store: store, list: EnginesCommand.file(), models: models).run(request) { event in
                    do {
                        switch event {
                        case _ where json:
                            guard let line = try? RunReport.line(for: event) else { return }
                            try await output.write(line, to: STDOUT_FILENO)
                        case .provisioning, .started: break
                        case .log(.event, _, let bytes):
                            for said in shown.said(bytes) {
                                try await output.write(said.text, to: said.isOutput ? STDOUT_FILENO : STDERR_FILENO)
                            }
                        case .log(let stream, _, let bytes):
                            let text = shown.text(bytes, of: stream)
                            try await output.write(text, to: stream == .stdout ? STDOUT_FILENO : STDERR_FILENO)
                        }
                    } catch {
                        stopper.stop()
                    }
                }
            }
            group.addTask {
                await stopper.wait()
                return nil
            }
            var outcome: RunOutcome?
            while let ended = try await group.next() {
                if let ended { outcome = ended }
                group.cancelAll()
            }
            guard let outcome else { throw CancellationError() }
            return outcome
        }
    }
}

/// What of a job's log this program's own streams may show.
private final class ShownLog: Sendable {
    private let streams = Mutex(
        (out: TerminalText(isTerminal: isatty(STDOUT_FILENO) == 1), error: TerminalText(isTerminal: isatty(STDERR_FILENO) == 1)))

    private let events = Mutex(EventText())

    /// The events of a cargo that speaks in them, for a person.
    func said(_ bytes: [UInt8]) -> [(isOutput: Bool, text: [UInt8])] {
        events.withLock { $0.take(bytes) }.map { ($0.isOutput, text($0.text, of: $0.isOutput ? .stdout : .stderr)) }
    }

    func text(_ bytes: [UInt8], of stream: RunEvent.Stream) -> [UInt8] {
        streams.withLock { stream == .stdout ? $0.out.shown(bytes) : $0.error.shown(bytes) }
    }
}

/// A stop that was asked for, from a signal handler's queue or from the run itself.
final class Stopper: Sendable {
    private struct State {
        var asked = 0
        var waiter: CheckedContinuation<Void, Never>?
    }

    private let state = Mutex(State())

    /// How often it was asked for by now.
    @discardableResult
    func stop() -> Int {
        let (waiter, asked) = state.withLock { state in
            state.asked += 1
            defer { state.waiter = nil }
            return (state.waiter, state.asked)
        }
        waiter?.resume()
        return asked
    }

    /// Returns when a stop is asked for or the task is cancelled. One waiter.
    func wait() async {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let through = state.withLock { state in
                    if state.asked > 0 || Task.isCancelled { return true }
                    state.waiter = continuation
                    return false
                }
                if through { continuation.resume() }
            }
        } onCancel: {
            let waiter = state.withLock { state in
                defer { state.waiter = nil }
                return state.waiter
            }
            waiter?.resume()
        }
    }
}
