import CargoArtifact
import CargoWire
import Foundation

/// One step of the state machine as the rows that a store has to write for it: no store decides anything itself.
struct StepPlan {
    let next: JobRecord
    let transition: Transition
    let actions: [JobAction]
    /// The job's row of results after the step; nil when it stays as it is.
    let result: (exit: String?, error: String?, outputs: String?)?

    /// - Parameters:
    ///   - new: the record with what the caller itself changes; its state is replaced by the step's.
    ///   - random: in 0..<1, for the backoff's jitter.
    /// - Returns: nil when the input changes nothing.
    static func make(
        _ machine: JobMachine, from old: JobRecord, to new: JobRecord, _ input: JobInput, actor: String, end: AttemptEnd,
        now: Timestamp,
        random: Double
    ) throws(StaleInput) -> StepPlan? {
        let step = try machine.step(old.state, settled(input, of: old))
        guard let asked = step.record else { return nil }
        var next = new
        next.state = step.state
        if step.state.status == .processing, next.startedAt == nil { next.startedAt = now }
        let ended = old.state.status.isFinal
        next.finishedAt = step.state.status.isFinal ? (ended ? old.finishedAt : now) : nil
        next.notBefore = nil
        // Somebody waits for the answer of a request: another host is asked at once.
        for case .enqueue(let failure) in step.actions where failure > 0 && old.requirement.model == nil {
            next.notBefore = now.advanced(bySeconds: Backoff.seconds(failure: failure, random: random))
        }
        let accepted = step.state.status.isFinal && !ended
        var detail = TransitionDetail()
        detail.exit = asked.exit
        detail.error = asked.error
        detail.note = asked.note
        detail.logBytes = end.logBytes
        detail.logSHA256 = end.logSHA256
        detail.outputs = accepted && !end.outputs.isEmpty ? end.outputs : nil
        detail.outcome = end.outcome
        detail.answer = end.answer
        detail.usage = end.usage
        var transition = Transition(
            sequence: old.sequence + 1, at: now, actor: actor, status: asked.status, attempt: asked.attempt, host: asked.host,
            detail: detail.json, hash: Data())
        transition.hash = AuditChain.hash(transition, of: old.key.id, after: old.head)
        next.sequence = transition.sequence
        next.head = transition.hash
        let hasResult = asked.exit != nil || asked.error != nil || accepted
        return StepPlan(
            next: next, transition: transition, actions: step.actions,
            result: hasResult
                ? (
                    asked.exit.map { exit in text { exit.write(into: &$0) } },
                    asked.error.map { error in text { error.write(into: &$0) } },
                    accepted ? text { end.outputs.write(into: &$0) } : nil
                ) : nil)
    }

    /// A request to a model is `processing` from its answer's first byte on. Whoever reads it has those bytes, so another
    /// attempt could only contradict them: it ends as it is.
    private static func settled(_ input: JobInput, of old: JobRecord) -> JobInput {
        guard old.requirement.model != nil, old.state.status == .processing, !old.state.cancelRequested else { return input }
        switch input {
        case .hostLost:
            return .failed(JobError(.hostLost, "The host was lost while it answered; ask again."), retryable: false)
        case .failed(let error, _): return .failed(error, retryable: false)
        default: return input
        }
    }

    private static func text(_ write: (inout JSONWriter) -> Void) -> String {
        var writer = JSONWriter(capacity: 256)
        write(&writer)
        return String(decoding: writer.bytes, as: UTF8.self)
    }
}
