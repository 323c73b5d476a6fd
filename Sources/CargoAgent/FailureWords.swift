import CargoArtifact
import CargoClient
import CargoRunner
import CargoWire

extension RunEvent.Stream {
    var onTheWire: LogChunk.Stream {
        switch self {
        case .stdout: .stdout
        case .stderr: .stderr
        case .event: .event
        }
    }
}

/// What this host's errors and outcomes are in the words of the wire.
enum FailureWords {
    /// Why nothing ran.
    static func failed(for error: any Error) -> Provisioning.Failed {
        switch error {
        case let failed as Provisioning.Failed: failed
        case let refusal as Refusal where refusal.rule == "image_refused":
            Provisioning.Failed(.imageRefused, refusal.message, retryable: false)
        case let refusal as Refusal: Provisioning.Failed(.refused, "\(refusal.rule): \(refusal.message)", retryable: false)
        case let failure as RunFailure:
            switch failure.kind {
            case .commandNotFound: Provisioning.Failed(.commandNotFound, failure.message, retryable: false)
            case .imageNotFound: Provisioning.Failed(.imageNotFound, failure.message, retryable: false)
            case .provisioningFailed: Provisioning.Failed(.provisioningFailed, failure.message, retryable: true)
            case .interrupted: Provisioning.Failed(.hostLost, failure.message, retryable: true)
            case .runtime: Provisioning.Failed(.internalError, failure.message, retryable: true)
            }
        case let error as ClientError:
            Provisioning.Failed(.provisioningFailed, error.message, retryable: error.isTransient)
        case is CancellationError: Provisioning.Failed(.cancelled, "stopped before it ran", retryable: true)
        default: Provisioning.Failed(.provisioningFailed, "\(error)", retryable: true)
        }
    }

    /// What a run came to, as the coordinator wants to hear it.
    static func completion(of run: RunOutcome, lease: Lease) -> Completion {
        let exit = ExitReport(
            exitCode: run.exitCode, signal: run.signal, timedOut: run.timedOut, oomKilled: run.oomKilled,
            wallSeconds: run.wallSeconds, cpuSeconds: run.cpuSeconds, maxRSSBytes: run.maxRSSBytes)
        let outputs = run.outputs.map { OutputFile(path: $0.path, size: $0.size, sha256: $0.digest.hex) }
        var completion = Completion(lease: lease, exit: exit, outputs: outputs)
        completion.logBytes = run.logBytes
        completion.logSHA256 = run.logDigest.hex
        completion.logTruncated = run.logTruncated
        if run.logLinesSplit > 0 { completion.logLinesSplit = run.logLinesSplit }
        if run.logPausedSeconds > 0 { completion.logPausedSeconds = run.logPausedSeconds }
        if let limit = run.limit { completion.error = JobError(code: limit.rule, message: limit.message) }
        return completion
    }
}
