import CargoArtifact
import CargoQueue
import CargoWire
import FoundationEssentials
import Synchronization

/// A batch as OpenAI's clients see it.
struct Batch: Codable, Sendable {
    struct Counts: Codable, Sendable {
        var total = 0
        var completed = 0
        var failed = 0
    }

    struct Errors: Codable, Sendable {
        struct Entry: Codable, Sendable {
            var code: String
            var message: String
            var line: Int?
        }
        var object = "list"
        var data: [Entry]
    }

    enum Status: String, Codable, Sendable {
        case validating, failed, finalizing, completed, expired, cancelling, cancelled
        case inProgress = "in_progress"
    }

    var id: String
    var object = "batch"
    var endpoint: String
    var inputFileID: String
    var completionWindow: String
    var status = Status.validating
    var errors: Errors?
    var outputFileID: String?
    var errorFileID: String?
    var createdAt: Int64
    var expiresAt: Int64
    var inProgressAt: Int64?
    var finalizingAt: Int64?
    var completedAt: Int64?
    var failedAt: Int64?
    var expiredAt: Int64?
    var cancellingAt: Int64?
    var cancelledAt: Int64?
    var requestCounts = Counts()
    var metadata: JSONValue?

    var hasEnded: Bool { [.failed, .completed, .expired, .cancelled].contains(status) }

    enum CodingKeys: String, CodingKey {
        case id, object, endpoint, status, errors, metadata
        case inputFileID = "input_file_id"
        case completionWindow = "completion_window"
        case outputFileID = "output_file_id"
        case errorFileID = "error_file_id"
        case createdAt = "created_at"
        case expiresAt = "expires_at"
        case inProgressAt = "in_progress_at"
        case finalizingAt = "finalizing_at"
        case completedAt = "completed_at"
        case failedAt = "failed_at"
        case expiredAt = "expired_at"
        case cancellingAt = "cancelling_at"
        case cancelledAt = "cancelled_at"
        case requestCounts = "request_counts"
    }
}

/// A batch with where it stands: lines that are done, and how long their results are on disk.
struct StoredBatch: Codable, Sendable {
    var batch: Batch
    var account: Int64
    var keyID: String
    /// The key's limits when the batch was made.
    var policy: KeyPolicy
    var done = 0
    var outputBytes: Int64 = 0
    var errorBytes: Int64 = 0
}

/// One line of a batch's input.
struct BatchLine: Sendable {
    var customID: String
    var body: [String: JSONValue]

    /// Lines of a batch, and bytes of one, at most.
    static let most = 50_000
    static let largest = 16 << 20

    /// The endpoints that a batch can be for, without `/v1/`.
    static let operations: [ModelRequest.Operation] = [.chat, .completions, .embeddings, .images]

    /// Throws a sentence about the line.
    init(_ bytes: [UInt8], endpoint: String) throws(BatchProblem) {
        let value: JSONValue
        do { value = try StrictJSON.parse(bytes, limit: BatchLine.largest) } catch {
            throw BatchProblem(code: "invalid_json_line", message: "This line is not JSON: \(error.reason).")
        }
        guard case .object(let fields) = value, case .string(let id)? = fields["custom_id"], !id.isEmpty, id.utf8.count <= 512
        else {
            throw BatchProblem(code: "missing_required_parameter", message: "'custom_id' names each line, in at most 512 bytes.")
        }
        guard fields["method"] == .string("POST"), fields["url"] == .string(endpoint) else {
            throw BatchProblem(
                code: "mismatched_endpoint", message: "'method' is POST and 'url' the batch's endpoint, \(endpoint).")
        }
        guard case .object(var body)? = fields["body"] else {
            throw BatchProblem(code: "missing_required_parameter", message: "'body' is the request, an object.")
        }
        (body["stream"], body["stream_options"]) = (nil, nil)
        self.customID = id
        self.body = body
    }
}

struct BatchProblem: Error, Hashable, Sendable {
    var code: String
    var message: String
}

/// Lines of a file, one in memory at a time.
struct FileLines {
    private let read: (Int64, Int) throws -> [UInt8]
    private let size: Int64
    private var offset: Int64 = 0
    private var buffer: [UInt8] = []
    private var start = 0

    /// - Parameter read: bytes at an offset, exactly so many.
    init(size: Int64, read: @escaping (Int64, Int) throws -> [UInt8]) {
        self.size = size
        self.read = read
    }

    /// The next line that is not empty; nil at the end.
    mutating func next() throws -> [UInt8]? {
        while true {
            if let end = buffer[start...].firstIndex(of: 10) {
                let line = buffer[start..<end].filter { $0 != 13 }
                start = end + 1
                if !line.isEmpty { return Array(line) }
                continue
            }
            guard offset < size else {
                defer { (buffer, start) = ([], 0) }
                return start < buffer.count ? Array(buffer[start...]) : nil
            }
            buffer.removeFirst(start)
            start = 0
            guard buffer.count <= BatchLine.largest else {
                throw BatchProblem(code: "line_too_long", message: "A line has at most \(BatchLine.largest) bytes.")
            }
            let count = Int(min(1 << 18, size - offset))
            buffer += try read(offset, count)
            offset += Int64(count)
        }
    }
}

/// Which batches are to be worked on, and which of them to stop.
public final class BatchBoard: Sendable {
    private struct State {
        var waiting: [(id: String, account: Int64)] = []
        var stops: [String: Doorbell] = [:]
        var cancelled: Set<String> = []
    }

    private let state = Mutex(State())
    let bell = Doorbell()
    private let begun = ContinuousClock.now
    /// How long hosts have to say what they serve to a coordinator that was just started; they do each ten seconds.
    private static let introduction: Duration = .seconds(15)

    public init() {}

    /// Whether a model that nobody serves may only not have been named yet.
    var isYoung: Bool { ContinuousClock.now - begun < BatchBoard.introduction }

    func add(_ id: String, account: Int64) {
        state.withLock { $0.waiting.append((id, account)) }
        bell.ring(.work)
    }

    func take() -> (id: String, account: Int64)? { state.withLock { $0.waiting.isEmpty ? nil : $0.waiting.removeFirst() } }

    /// The bell that rings when the batch is to be cancelled.
    func begin(_ id: String) -> Doorbell {
        state.withLock { state in
            let bell = Doorbell()
            state.stops[id] = bell
            return bell
        }
    }

    func end(_ id: String) {
        state.withLock { state in
            state.stops[id] = nil
            state.cancelled.remove(id)
        }
    }

    /// Whether its owner asked for its end: a coordinator that goes down leaves its requests as they are.
    func isCancelled(_ id: String) -> Bool { state.withLock { $0.cancelled.contains(id) } }

    func cancel(_ id: String) {
        let bell = state.withLock { state in
            if state.stops[id] != nil { state.cancelled.insert(id) }
            return state.stops[id]
        }
        bell?.ring(.rows)
    }
}
