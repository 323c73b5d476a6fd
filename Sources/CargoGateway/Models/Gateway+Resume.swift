import CargoQueue
import CargoWire
import FoundationEssentials
import HTTPTypes
import Hummingbird

/// Who was cut off comes back with the job's id (`Longshore-Job`) and reads the answer from where it stopped.
extension Gateway {
    func addResume(to router: Router<GatewayContext>) {
        router.get("/jobs/:id/answer") { request, context in
            let principal = try caller(request, .read)
            let key = try key(context, principal)
            let text = request.headers[GatewayHeader.lastEventID] ?? request.uri.queryParameters["after"].map(String.init)
            guard let events = Int(text ?? "0"), events >= 0 else {
                throw GatewayError(400, "invalid_header", "Last-Event-ID is the number of events that arrived.")
            }
            let (record, _, _) = try await queue.store.job(key)
            guard record.requirement.kind == Requirement.request else {
                throw GatewayError(409, "no_request", "This job is no request to a model; GET /jobs/{id}/events follows it.")
            }
            let asked = Asked(
                key: key, source: .job(AnswerFeed(queue, key)), reader: principal.keyID,
                deadline: .now + .seconds(try ModelAsk.patience(request)),
                cancels: false)
            return try await answer(asked, context, as: Resumed(after: events))
        }
    }
}

/// The events of a stream behind those that its reader has; an event ends with an empty line.
struct Resumed: AnswerShape {
    /// Events that are still left out.
    private var left: Int
    private var newlines = 0

    init(after events: Int) { left = events }

    mutating func translate(_ bytes: [UInt8]) -> [UInt8] {
        guard left > 0 else { return bytes }
        for (index, byte) in bytes.enumerated() where byte != 13 {
            newlines = byte == 10 ? newlines + 1 : 0
            guard newlines == 2 else { continue }
            newlines = 0
            left -= 1
            if left == 0 { return Array(bytes[(index + 1)...]) }
        }
        return []
    }

    mutating func finish() -> [UInt8] { [] }
    var passesRefusals: Bool { true }
    func failure(_ error: GatewayError) -> [UInt8] { Verbatim().failure(error) }
}
