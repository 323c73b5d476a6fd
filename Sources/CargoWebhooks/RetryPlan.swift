public import CargoQueue

/// What came of one attempt.
public enum DeliveryResult: Hashable, Sendable {
    /// - Parameter retryAfter: seconds, when the receiver named them.
    case answered(status: Int, retryAfter: Int?)
    /// No answer: no address, no connection, no time left.
    case unreachable(String)
    /// We ourselves will not dial it.
    case refused(String)
}

/// When a message is tried again, as a pure function.
///
/// | result | fate |
/// |---|---|
/// | answered 2xx | delivered |
/// | answered 410, refused | abandoned at once |
/// | anything else, a redirect too | again after 5 s, 15 s, 45 s … at most 4 h, each ± a quarter, until 24 h are over |
/// | `Retry-After` on 429 or 503 | not before that, within the 24 h |
public struct RetryPlan: Hashable, Sendable {
    public var firstSeconds = 5.0
    public var factor = 3.0
    public var longestSeconds = 4 * 3600.0
    public var windowSeconds = 24 * 3600.0

    public init() {}

    /// - Parameters:
    ///   - attempts: made before this one.
    ///   - since: when the message was first due.
    ///   - random: in 0..<1.
    public func fate(
        after result: DeliveryResult, attempts: Int, since: Timestamp, now: Timestamp, random: Double
    ) -> WebhookFate {
        var notBefore = 0.0
        switch result {
        case .answered(200..<300, _): return .delivered
        case .answered(410, _), .refused: return .abandoned
        case .answered(let status, let retryAfter?) where status == 429 || status == 503: notBefore = Double(max(0, retryAfter))
        case .answered, .unreachable: break
        }
        let end = since.advanced(bySeconds: windowSeconds)
        guard now < end else { return .abandoned }
        let next = now.advanced(bySeconds: min(windowSeconds, max(notBefore, wait(after: attempts, random: random))))
        if next < end { return .again(at: next) }
        // The last try stands at the window's end, so that a receiver has the whole of it to come back.
        return .again(at: end)
    }

    private func wait(after attempts: Int, random: Double) -> Double {
        var seconds = firstSeconds
        for _ in 0..<min(attempts, 64) where seconds < longestSeconds { seconds *= factor }
        return min(seconds, longestSeconds) * (0.75 + random / 2)
    }
}

extension DeliveryResult {
    /// The line of the log.
    func attempt(at: Timestamp, milliseconds: Int64) -> WebhookAttempt {
        switch self {
        case .answered(let status, _):
            WebhookAttempt(at: at, answer: status, milliseconds: milliseconds, problem: Self.problem(of: status))
        case .unreachable(let reason), .refused(let reason):
            WebhookAttempt(at: at, answer: nil, milliseconds: milliseconds, problem: reason)
        }
    }

    private static func problem(of status: Int) -> String? {
        switch status {
        case 200..<300: nil
        case 300..<400: "the receiver answered \(status); redirects are not followed, so give its final URL"
        case 410: "the receiver answered 410: it wants no more of this message"
        default: "the receiver answered \(status)"
        }
    }
}
