/// What the header lines of an answer say about the bytes that follow. Pure.
struct AnswerHead: Equatable, Sendable {
    private(set) var status = 0
    /// Where the bytes lie: `Content-Range` of RFC 9110, section 14.4.
    private(set) var range: ClosedRange<Int64>?
    /// Bytes of the whole, from `Content-Range`; nil where it says `*`.
    private(set) var total: Int64?
    private(set) var length: Int64?
    private(set) var isEncoded = false
    private(set) var retryAfter: Duration?

    /// Takes one line; a status line begins anew, as after an interim answer.
    mutating func take(line: String) {
        let line = line.utf8.last == 10 ? String(line.dropLast(1)) : line
        if line.hasPrefix("HTTP/") {
            self = AnswerHead()
            let words = line.split(separator: " ")
            status = words.count > 1 ? Int(words[1]) ?? 0 : 0
            return
        }
        guard let colon = line.firstIndex(of: ":") else { return }
        let value = line[line.index(after: colon)...].filter { !$0.isWhitespace }
        switch line[..<colon].lowercased() {
        case "content-length": length = Int64(value)
        case "content-encoding": isEncoded = value.lowercased() != "identity"
        case "retry-after": retryAfter = Int64(value).map { .seconds(max(0, $0)) }
        case "content-range": takeRange(value)
        default: break
        }
    }

    private mutating func takeRange(_ value: String) {
        guard value.lowercased().hasPrefix("bytes") else { return }
        let halves = value.dropFirst(5).split(separator: "/", omittingEmptySubsequences: false)
        guard halves.count == 2 else { return }
        total = Int64(halves[1])
        let ends = halves[0].split(separator: "-", omittingEmptySubsequences: false)
        guard ends.count == 2, let first = Int64(ends[0]), let last = Int64(ends[1]), first >= 0, first <= last else { return }
        range = first...last
    }

    /// Where the body's first byte lies in the blob, or what is wrong with the answer.
    func start(asked: ClosedRange<Int64>, size: Int64) throws(TransferFailure) -> Int64 {
        guard !isEncoded else { throw TransferFailure(.answer, "the server compressed the blob, which nobody asked for") }
        if status == 206 {
            guard let range, range.lowerBound == asked.lowerBound, range.upperBound <= asked.upperBound, total ?? size == size
            else { throw TransferFailure(.answer, "the server answered with another range, or has a blob of another size") }
            return range.lowerBound
        }
        guard length ?? size == size else {
            throw TransferFailure(.answer, "the server has \(length ?? 0) bytes under this name where \(size) belong there")
        }
        return 0
    }
}
