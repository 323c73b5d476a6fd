import CargoArtifact
import CargoDocker
import CargoFiles
import Foundation
import Synchronization
import SystemPackage
import Testing

/// Runs containers in tests and keeps what they said.
final class ContainerHarness: Sendable {
    struct Said: Sendable {
        var stdout: [UInt8] = []
        var stderr: [UInt8] = []
        var events: [String] = []
        var output: String { String(decoding: stdout, as: UTF8.self) }
    }

    let engine: Engine
    let runner: ContainerRunner
    let folder: FilePath
    let image: BundledImage
    let said = Mutex(Said())

    init(_ kind: Engine.Kind, config: [String: JSONValue] = [:]) async throws {
        engine = try await TestEngine.shared(kind).connect()
        folder = try TestFolder.make("run", in: TestEngine.shared(kind).folder)
        image = try config.isEmpty ? ContainerHarness.plain(kind) : BusyboxImage(in: folder, config: config).bundle
        let images = ContainerImages(engine: engine, index: ImageCacheIndex(folder: folder), trust: .owner)
        runner = try await ContainerRunner(engine: engine, images: images)
    }

    /// One image for all tests that wish nothing of it; it goes with its engine's folder.
    private static func plain(_ kind: Engine.Kind) throws -> BundledImage {
        try made.withLock { made in
            if let image = made[kind] { return image }
            let folder = try TestFolder.make("image", in: TestEngine.shared(kind).folder)
            let image = try BusyboxImage(in: folder, tmp: kind == .podman ? "1777" : "755").bundle
            made[kind] = image
            return image
        }
    }
    private static let made = Mutex<[Engine.Kind: BundledImage]>([:])

    deinit { try? shell("rm -rf \(folder)") }

    static func profile() throws -> [UInt8] {
        let root = FilePath(#filePath).removingLastComponent().removingLastComponent().removingLastComponent()
        return try File.contents(of: root.appending("sandbox-profiles/inference.json"), limit: 1 << 20)
    }

    func job(_ command: [String]) throws -> ContainerJob {
        let control = folder.appending("control-\(UInt32.random(in: .min ... .max))")
        _ = try Folder.open(control, create: 0o755)
        var job = ContainerJob(
            image: .bundled(image), id: "job-1", agent: "agent-tests", profile: try ContainerHarness.profile(), control: control)
        job.command = command
        job.limits.memory = 64 << 20
        job.limits.processes = 64
        job.limits.temporaryBytes = 16 << 20
        job.grace = 0.5
        return job
    }

    func run(_ command: String, _ change: (inout ContainerJob) -> Void = { _ in }) async throws -> ContainerOutcome {
        var job = try job(["sh", "-c", command])
        change(&job)
        return try await run(job)
    }

    func run(_ job: ContainerJob) async throws -> ContainerOutcome {
        try await runner.run(job) { event in
            self.said.withLock { said in
                switch event {
                case .progress(let progress): said.events.append(progress.phase)
                case .started: said.events.append("started")
                case .log(.stdout, let bytes): said.stdout += bytes
                case .log(.stderr, let bytes): said.stderr += bytes
                }
            }
        }
    }

    /// Starts a run and returns when its command began; throws what it throws when it never does.
    func start(_ job: ContainerJob) async throws -> Task<ContainerOutcome, any Error> {
        let (started, continuation) = AsyncStream.makeStream(of: Void.self)
        let running = Task {
            defer { continuation.finish() }
            return try await self.runner.run(job) { event in
                if case .log(_, let bytes) = event {
                    self.said.withLock { $0.stdout += bytes }
                    continuation.yield()
                }
            }
        }
        for await _ in started { return running }
        _ = try await running.value
        return running
    }

    var heard: Said { said.withLock { $0 } }
}
