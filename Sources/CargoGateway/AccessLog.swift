import CargoArtifact
import CargoFiles
import CargoQueue
import CargoWire
import Synchronization
public import SystemPackage

/// One JSON line for each request, written apart from the requests: a slow disk loses lines, which are counted, and holds up
/// nobody.
///
/// A line names the route as it is declared, never the path or the query: links and searches carry secrets. Of the caller it says
/// the key's id.
public final class AccessLog: Sendable {
    struct Entry: Sendable {
        var at: Timestamp
        var method: String
        /// As declared, `/jobs/:id`; nil where no route answered.
        var route: String?
        var status: Int
        /// From the request's head to the last byte of the answer.
        var milliseconds: Double
        /// Of the answer's body.
        var bytes: Int
        /// The client left, or the answer broke, before its end.
        var isCut = false
        var key: String?
        var request: String
        var job: String?
        var trace: String?
    }

    private struct State {
        var waiting: [UInt8] = []
        var dropped = 0
        var isClosed = false
    }

    /// Bytes that wait to be written at most.
    private static let mostWaiting = 4 << 20
    private static let interval = Duration.milliseconds(100)

    private let state = Mutex(State())
    private let file: FileDescriptor

    /// Appends to a file, which only this user may read; `-` is standard output.
    public init(to path: FilePath) throws {
        file =
            path == "-"
            ? .standardOutput
            : try FileDescriptor.open(
                path, .writeOnly, options: [.append, .create, .closeOnExec], permissions: .ownerReadWrite)
    }

    func note(_ entry: Entry) {
        let line = AccessLog.line(entry)
        state.withLock { state in
            guard !state.isClosed, state.waiting.count + line.count <= AccessLog.mostWaiting else {
                state.dropped += 1
                return
            }
            state.waiting += line
        }
    }

    static func line(_ entry: Entry) -> [UInt8] {
        var writer = JSONWriter(capacity: 320)
        writer.beginObject()
        writer.field("time", entry.at.text)
        writer.field("method", String(entry.method.prefix(32)))
        if let route = entry.route { writer.field("route", route) }
        writer.field("status", entry.status)
        writer.key("ms")
        writer.value((entry.milliseconds * 1000).rounded() / 1000)
        writer.field("bytes", entry.bytes)
        if entry.isCut {
            writer.key("cut")
            writer.value(true)
        }
        if let key = entry.key { writer.field("key", key) }
        writer.field("request", entry.request)
        if let job = entry.job { writer.field("job", job) }
        if let trace = entry.trace { writer.field("trace", trace) }
        writer.endObject()
        return writer.bytes + [10]
    }

    /// Writes until its task is cancelled.
    public func run() async {
        while (try? await Task.sleep(for: AccessLog.interval)) != nil { await write() }
    }

    /// Writes what is left, and takes nothing more. Blocks.
    public func close() {
        let rest = state.withLock { state in
            state.isClosed = true
            defer { state.waiting = [] }
            return state.waiting
        }
        _ = try? file.writeAll(rest)
        if file != .standardOutput { try? file.close() }
    }

    private func write() async {
        let (lines, dropped) = state.withLock { state in
            defer { (state.waiting, state.dropped) = ([], 0) }
            return (state.waiting, state.dropped)
        }
        guard !lines.isEmpty || dropped > 0 else { return }
        let file = file
        try? await blocking {
            _ = try file.writeAll(lines)
            if dropped > 0 { _ = try file.writeAll(Array(#"{"dropped":\#(dropped)}"#.utf8) + [10]) }
        }
    }
}
