internal import FoundationEssentials

/// How far an image is on its way here.
public struct PullProgress: Hashable, Sendable {
    /// `pulling`, `extracting` or `loading`.
    public var phase: String
    /// Bytes here, of those announced so far.
    public var current: Int64
    public var total: Int64

    public init(phase: String, current: Int64, total: Int64) {
        self.phase = phase
        self.current = current
        self.total = total
    }
}

/// Adds up the progress lines of a pull or a load (Engine API, ImageCreate): JSON objects, one after another.
struct PullReader {
    private struct Line: Decodable {
        struct Detail: Decodable {
            var current: Int64?
            var total: Int64?
        }
        struct Failure: Decodable {
            var message: String?
        }
        var status: String?
        var id: String?
        var stream: String?
        var progressDetail: Detail?
        var error: String?
        var errorDetail: Failure?
    }

    /// A line without an end is not held beyond this.
    static let maximumLine = 1 << 20
    /// Layers that are followed; more are not counted.
    static let maximumLayers = 4096

    private var rest: [UInt8] = []
    private var layers: [String: (current: Int64, total: Int64)] = [:]
    private(set) var progress = PullProgress(phase: "pulling", current: 0, total: 0)
    /// What the engine says went wrong.
    private(set) var failure: String?
    /// Image ids that a load named.
    private(set) var loaded: [String] = []

    /// Takes bytes as they come; true when the progress changed.
    mutating func take(_ bytes: some Sequence<UInt8>) -> Bool {
        var changed = false
        for byte in bytes {
            if byte == 0x0A {
                changed = line() || changed
            } else if rest.count < PullReader.maximumLine {
                rest.append(byte)
            }
        }
        return changed
    }

    /// The stream ended.
    mutating func finish() { _ = line() }

    private mutating func line() -> Bool {
        defer { rest.removeAll(keepingCapacity: true) }
        guard let line = try? JSONDecoder().decode(Line.self, from: Data(rest)) else { return false }
        if let error = line.errorDetail?.message ?? line.error { failure = failure ?? String(error.prefix(1000)) }
        if let stream = line.stream, let range = stream.firstRange(of: "sha256:") {
            let id = stream[range.lowerBound...].prefix { !$0.isWhitespace }
            if loaded.count < 64 { loaded.append(String(id)) }
        }
        guard let id = line.id, let detail = line.progressDetail, let current = detail.current else { return false }
        guard layers[id] != nil || layers.count < PullReader.maximumLayers else { return false }
        if line.status == "Extracting" { progress.phase = "extracting" }
        // Extracting counts the same bytes again.
        guard line.status != "Extracting" else { return true }
        layers[id] = (max(0, current), max(detail.total ?? 0, layers[id]?.total ?? 0))
        progress.current = layers.values.reduce(0) { $0 &+ $1.current }
        progress.total = layers.values.reduce(0) { $0 &+ $1.total }
        return true
    }
}
