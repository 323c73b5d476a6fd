internal import CargoArtifact
internal import CargoSandbox
internal import CargoStore
internal import Synchronization
internal import SystemPackage

/// The one sandbox of this process: what every launch shares is prepared at the first job.
enum SharedSandbox {
    private static let made = Mutex<Sandbox?>(nil)

    static func get(_ store: CargoStore) throws -> Sandbox {
        try made.withLock { made in
            if let made { return made }
            do throws(SandboxError) {
                let sandbox = try Sandbox(cache: store.root.appending("filters"))
                made = sandbox
                return sandbox
            } catch {
                throw explain(error)
            }
        }
    }

    /// The same sentence as an error of this room.
    static func explain(_ error: SandboxError) -> any Error {
        switch error.code {
        case .refused: Refusal(error.mechanism ?? "sandbox", error.message)
        case .commandNotFound, .commandNotExecutable: RunFailure(.commandNotFound, error.message)
        case .failed: RunFailure(.runtime, error.message)
        }
    }
}
